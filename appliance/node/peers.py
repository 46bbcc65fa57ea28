"""The other nodes: who is present, and how each of them is."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import aiohttp

from luigi_ha.appliance.api.relay import trust
from luigi_ha.appliance.node.evidence import reaches
from luigi_ha.appliance.tls import Tls

ANSWER_WITHIN = 1.0  # s for a node to say how it is


class Peers:
    """Who is present, as the keeper tells; asks them over HTTP."""

    def __init__(self, own_name: str, tls: Tls | None = None) -> None:
        self._tls = tls
        self.known: dict[str, dict[str, str]] = {}  # what each says of itself, ours included
        self._own_name = own_name

    def update(self, members: Mapping[str, Mapping[str, str]]) -> None:
        """These are present now."""
        self.known = {name: dict(about) for name, about in members.items()}

    async def health(self) -> dict[str, dict[str, Any] | None]:
        """What each of the others answers to GET /health, asked all at once; None: it does not answer."""
        others = [name for name in sorted(self.known) if name != self._own_name]
        answers = await asyncio.gather(*(self.ask(self.known[name].get("address", "")) for name in others))
        return dict(zip(others, answers, strict=True))

    async def reaching(self) -> list[str]:
        """Which of the others could lead and reach the database, as they say at this moment."""
        answers = await self.health()
        able = [name for name in answers if self.known.get(name, {}).get("able") == "yes"]
        return [name for name in able if reaches(answers[name])]

    async def ask(self, address: str, within: float = ANSWER_WITHIN) -> dict[str, Any] | None:
        """What the node at this address answers to GET /health; None: it does not, within so many seconds."""
        path = address.removeprefix("unix:")
        unix = path != address
        timeout = aiohttp.ClientTimeout(total=within)
        connector = aiohttp.UnixConnector(path) if unix else aiohttp.TCPConnector()
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
                session.get(f"{'http://localhost' if unix else address}/health", ssl=trust(self._tls)) as reply,
            ):
                found = json.loads(await reply.read())
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            return None
        return found if isinstance(found, dict) else None
