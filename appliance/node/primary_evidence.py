"""What speaks for it that the host of the database's primary is dead.

Pure but for `answers`, which opens connections. Nothing here decides; `primary_watch` does.
"""

import asyncio
import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from luigi_ha.ha.primary import Server

ANSWER_WITHIN = 0.5  # s for a server to take a connection
SILENT_FOR = 1.0  # s for which the primary's host must have answered nobody; two questions
UNWITNESSED_FOR = 5.0  # s, if its node was not there when it fell silent, or a present node does not say what it sees


class Hosts:
    """Which of our nodes is on which host, also while it is gone."""

    def __init__(self) -> None:
        self._nodes: dict[str, str] = {}

    def update(self, known: Mapping[str, Mapping[str, str]]) -> None:
        """What the nodes that are present say of themselves."""
        for name, about in known.items():
            for host in (name, about.get("host"), _host_of(about.get("address", ""))):
                if host:
                    self._nodes[plain(host)] = name

    def node_on(self, server: Server) -> str | None:
        """The node on this server's host; None: none of ours, as far as is known."""
        return self._nodes.get(plain(server.host))


class Silence:
    """Since when the primary's host answers this node no more."""

    def __init__(self) -> None:
        self.since: float | None = None
        self._witnessed = False

    def broken(self, *, witnessed: bool) -> None:
        """It has answered; `witnessed`: its node was present then."""
        self.since, self._witnessed = None, witnessed

    def lasts(self, begun: float) -> None:
        """It has not answered a question that was begun then."""
        if self.since is None:
            self.since = begun

    def over(self) -> None:
        """There is nobody to be silent, or somebody else."""
        self.since = None

    def seconds(self, now: float) -> float:
        return now - self.since if self.since is not None else 0.0

    def long_enough(self, now: float) -> bool:
        """Whether it is no matter of one lost packet, or of a node that was stopped in order before."""
        return self.seconds(now) >= (SILENT_FOR if self._witnessed else UNWITNESSED_FOR)


def all_silent(primary: str, said: Iterable[Mapping[str, Any] | None], seconds: float) -> bool:
    """Whether no other node is answered by the primary's host: `said` is what each present one says (/health); None: it
    does not answer. `seconds`: for how long this node has not been answered."""
    for health in said:
        found = (health or {}).get("database_failover") or {}
        if found.get("primary") != primary:  # it does not say, or knows another
            if seconds < UNWITNESSED_FOR:
                return False
        elif found.get("primary_silent_for") is None:
            return False
    return True


def plain(host: str) -> str:
    """A host's name or address in one spelling."""
    try:
        return str(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return host.rstrip(".").lower()


async def answers(server: Server) -> bool:
    """Whether PostgreSQL or its manager on this server takes a connection."""
    api = urlsplit(server.api)
    places = [(server.host, server.port)]
    if api.hostname:
        places.append((api.hostname, api.port or (443 if api.scheme == "https" else 80)))
    tries = [asyncio.ensure_future(_connects(host, port)) for host, port in places]
    try:
        for each in asyncio.as_completed(tries):
            if await each:
                return True
    finally:
        for one in tries:
            one.cancel()
    return False


def _host_of(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


async def _connects(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(ANSWER_WITHIN):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError, ValueError):  # the last: a name that is none
        return False
    writer.close()
    return True
