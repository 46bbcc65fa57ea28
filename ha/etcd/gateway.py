"""The transport over etcd's JSON gateway, with aiohttp.

Not promised: that a request was executed at most once. See `luigi_ha.ha.etcd.transport`.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

import aiohttp

from luigi_ha.ha.errors import Unknown
from luigi_ha.ha.etcd import wire
from luigi_ha.ha.etcd.config import EtcdConfig
from luigi_ha.ha.etcd.endpoints import Endpoints
from luigi_ha.ha.etcd.failures import LeaseNotFound, TokenRefused, of_exception
from luigi_ha.ha.etcd.gateway_stream import GatewayStream
from luigi_ha.ha.etcd.handshake import refusal
from luigi_ha.ha.etcd.spread import Status, spread
from luigi_ha.ha.etcd.tokens import Tokens
from luigi_ha.ha.etcd.transport import Change, Guard, Listing, Outcome

_Value = TypeVar("_Value")


class Gateway:
    """See `luigi_ha.ha.etcd.transport.Transport`. Belongs to one event loop."""

    def __init__(self, config: EtcdConfig) -> None:
        self.config = config
        self.endpoints = Endpoints(config)
        self.tokens = Tokens(config, self._authenticate)
        self._tls = config.tls()
        self._session: aiohttp.ClientSession | None = None

    async def read(self, prefix: str, budget: float) -> Listing:
        return await self._call("/v3/kv/range", wire.prefix_range(prefix), budget, self._fresh(wire.listing))

    async def txn(self, guards: Sequence[Guard], changes: Sequence[Change], budget: float) -> Outcome:
        body = wire.transaction(guards, changes)
        return await self._call("/v3/kv/txn", body, budget, self._fresh(wire.outcome))

    async def grant(self, lease: int, ttl: int, budget: float) -> float:
        body = {"ID": str(lease), "TTL": str(ttl)}
        return await self._call("/v3/lease/grant", body, budget, lambda reply: float(reply["TTL"]))

    async def keep_alive(self, lease: int, budget: float) -> float:
        def ttl(reply: wire.Json) -> float:
            return float(reply["result"].get("TTL", 0))

        return await self._call("/v3/lease/keepalive", {"ID": str(lease)}, budget, ttl)

    async def revoke(self, lease: int, budget: float) -> None:
        try:
            await self._call("/v3/lease/revoke", {"ID": str(lease)}, budget, wire.header)
        except LeaseNotFound:
            return

    async def stream(self, prefix: str, revision: int, budget: float) -> GatewayStream:
        return await self.endpoints.open(lambda endpoint: GatewayStream(self, endpoint, prefix, revision), budget)

    async def spread(self, shun: Collection[str], budget: float) -> str | None:
        own, seconds = self.config.own_endpoint, min(budget, self.config.attempt_timeout)
        if own is None:
            return None

        async def status(endpoint: str) -> Status:
            return await self.ask(endpoint, "/v3/maintenance/status", {}, wire.status, seconds)

        async def move(endpoint: str, member: int) -> None:
            body = {"targetID": str(member)}
            await self.ask(endpoint, "/v3/maintenance/transfer-leadership", body, lambda _reply: None, budget)

        return await spread(own, [each for each in self.config.endpoints if each != own], shun, status, move)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _call(self, path: str, body: wire.Json, budget: float, parse: Callable[[wire.Json], _Value]) -> _Value:
        return await self.endpoints.ask(
            lambda endpoint, seconds: self.ask(endpoint, path, body, parse, seconds), budget
        )

    def _fresh(self, parse: Callable[[wire.Json], _Value]) -> Callable[[wire.Json], _Value]:
        """`parse`, refusing what is older than anything seen when the call began."""
        before = self.endpoints.seen

        def checked(reply: wire.Json) -> _Value:
            self.endpoints.accept(wire.header(reply), before)
            return parse(reply)

        return checked

    # ----------------------------------------------------------------------------------------------------- one endpoint

    async def ask(
        self, endpoint: str, path: str, body: wire.Json, parse: Callable[[wire.Json], _Value], seconds: float
    ) -> _Value:
        """One question to one endpoint, with a new token if the old one was refused."""
        try:
            async with asyncio.timeout(seconds):
                token = await self.tokens.get(endpoint)
                try:
                    return parse(await self.post(endpoint, path, body, token))
                except TokenRefused:
                    self.tokens.forget(token)
                    return parse(await self.post(endpoint, path, body, await self.tokens.get(endpoint)))
        except TimeoutError:
            raise Unknown(f"no answer within {seconds:.3g} s") from None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Unknown(f"an answer that is not etcd's: {error!r}") from error

    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(ssl=self._tls if self._tls is not None else True, limit=0)
            # No timeouts of aiohttp's: every use is under asyncio.timeout, with the budget that is left.
            self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None))
        return self._session

    async def post(self, endpoint: str, path: str, body: wire.Json, token: str | None) -> wire.Json:
        """One request, without a time limit."""
        headers = {"Authorization": token} if token else {}
        try:
            async with self.session().post(endpoint + path, json=body, headers=headers) as reply:
                raw = await reply.read()
        except (aiohttp.ClientError, OSError) as error:
            await self.explain(endpoint, error)
            raise of_exception(error) from error
        return wire.understood(reply.status, raw)

    async def explain(self, endpoint: str, error: Exception) -> None:
        """Raises Fatal if TLS is the reason for this failure of a connection."""
        if self._tls is not None and isinstance(of_exception(error), Unknown):
            reason = await refusal(endpoint, self._tls)
            if reason is not None:
                raise reason from error

    async def _authenticate(self, endpoint: str, user: str, password: str) -> str:
        reply = await self.post(endpoint, "/v3/auth/authenticate", {"name": user, "password": password}, None)
        return str(reply["token"])
