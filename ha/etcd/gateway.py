"""The transport over etcd's JSON gateway, with aiohttp: several endpoints, one budget.

A call goes to the endpoint that answered last. One that does not answer within `attempt_timeout`, or says that it
cannot, is left for the next, and so on round and round until the budget is used up. So a dead member costs one
`attempt_timeout`, once (a black-holed one hung other clients for 15 minutes: etcd#7321, vip-manager#194).

Replies to reads and transactions from an older state than one already seen are refused: a member that was cut off
and answers from the past must not depose the present leader (patroni#3314, patroni#3359).

Not promised: that a request was executed at most once. See `ha.etcd.transport`.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import aiohttp

from ha.errors import Fatal, HaError, Unknown
from ha.etcd import wire
from ha.etcd.config import EtcdConfig
from ha.etcd.failures import AuthNotEnabled, LeaseNotFound, TokenRefused, of_exception
from ha.etcd.spread import Status, spread
from ha.etcd.stream import GatewayStream
from ha.etcd.transport import Change, Guard, Header, Listing, Outcome
from ha.log import Events

FIRST_PAUSE = 0.02  # s, after all endpoints have failed; doubles with each round, up to
LONGEST_PAUSE = 0.2

_log = Events("etcd")
_Value = TypeVar("_Value")


class _Seen(NamedTuple):
    """The newest state that anybody has shown us."""

    revision: int = 0
    term: int = 0
    cluster: int = 0


class Gateway:
    """See `ha.etcd.transport.Transport`. Belongs to one event loop."""

    def __init__(self, config: EtcdConfig) -> None:
        self.config = config
        self._tls = config.tls()
        self._session: aiohttp.ClientSession | None = None
        self._current = 0
        self._healthy = True
        self._seen = _Seen()
        self._token: str | None = None
        self._authenticating = asyncio.Lock()

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
        loop = asyncio.get_running_loop()
        deadline = loop.time() + budget
        failures: list[tuple[str, HaError]] = []
        renewed = False
        while len(failures) < len(self.config.endpoints) and (left := deadline - loop.time()) > 0:
            index = self._current
            endpoint = self.config.endpoints[index]
            stream = GatewayStream(self, endpoint, prefix, revision)
            try:
                await stream.open(min(left, self.config.attempt_timeout))
            except (Unknown, Fatal) as error:
                await stream.close()
                if isinstance(error, TokenRefused) and not renewed:
                    renewed = True  # it has been forgotten: once more, with a new one
                    continue
                failures.append((endpoint, error))
                self._leave(index, error)
            except BaseException:
                await stream.close()
                raise
            else:
                return stream
        raise _given_up(failures)

    async def spread(self, budget: float) -> str | None:
        own, seconds = self.config.own_endpoint, min(budget, self.config.attempt_timeout)
        if own is None:
            return None

        async def status(endpoint: str) -> Status:
            return await self.ask(endpoint, "/v3/maintenance/status", {}, wire.status, seconds)

        async def move(endpoint: str, member: int) -> None:
            body = {"targetID": str(member)}
            await self.ask(endpoint, "/v3/maintenance/transfer-leadership", body, wire.header, budget)

        return await spread(own, [each for each in self.config.endpoints if each != own], status, move)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    # ------------------------------------------------------------------------------------------ endpoints and budget

    async def _call(self, path: str, body: wire.Json, budget: float, parse: Callable[[wire.Json], _Value]) -> _Value:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + budget
        failures: list[tuple[str, HaError]] = []
        pause = FIRST_PAUSE
        while (left := deadline - loop.time()) > 0:
            index = self._current
            endpoint = self.config.endpoints[index]
            try:
                value = await self.ask(endpoint, path, body, parse, min(left, self.config.attempt_timeout))
            except (Unknown, Fatal) as error:
                failures.append((endpoint, error))
                self._leave(index, error)
            else:
                self._healthy = True
                return value
            if len(failures) % len(self.config.endpoints) == 0:
                if all(isinstance(error, Fatal) for _, error in failures[-len(self.config.endpoints) :]):
                    break
                await asyncio.sleep(min(pause, max(0.0, deadline - loop.time())))
                pause = min(2 * pause, LONGEST_PAUSE)
        raise _given_up(failures)

    def _leave(self, index: int, error: HaError) -> None:
        if self._current == index:  # somebody else may have left it already
            self._current = (index + 1) % len(self.config.endpoints)
            if self._healthy:  # once until somebody answers again, or a long outage fills the log
                _log.warning("endpoint_left", endpoint=self.config.endpoints[index], error=str(error))
            self._healthy = False

    async def ask(
        self, endpoint: str, path: str, body: wire.Json, parse: Callable[[wire.Json], _Value], seconds: float
    ) -> _Value:
        """One question to one endpoint, with a new token if the old one was refused."""
        try:
            async with asyncio.timeout(seconds):
                token = await self.token(endpoint)
                try:
                    return parse(await self._post(endpoint, path, body, token))
                except TokenRefused:
                    self.forget(token)
                    return parse(await self._post(endpoint, path, body, await self.token(endpoint)))
        except TimeoutError:
            raise Unknown(f"no answer within {seconds:.3g} s") from None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Unknown(f"an answer that is not etcd's: {error!r}") from error

    # ----------------------------------------------------------------------------------------------------- one request

    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(ssl=self._tls if self._tls is not None else True, limit=0)
            # No timeouts of aiohttp's: every use is under asyncio.timeout, with the budget that is left.
            self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None))
        return self._session

    async def _post(self, endpoint: str, path: str, body: wire.Json, token: str | None) -> wire.Json:
        headers = {"Authorization": token} if token else {}
        try:
            async with self.session().post(endpoint + path, json=body, headers=headers) as reply:
                raw = await reply.read()
        except (aiohttp.ClientError, OSError) as error:
            raise of_exception(error) from error
        return wire.understood(reply.status, raw)

    async def token(self, endpoint: str) -> str | None:
        """The auth token; None without users. One authentication at a time."""
        if self.config.user is None or self._token is not None:
            return self._token or None
        async with self._authenticating:
            if self._token is None:
                who = {"name": self.config.user, "password": self.config.password}
                try:
                    reply = await self._post(endpoint, "/v3/auth/authenticate", who, None)
                    self._token = str(reply["token"])
                except AuthNotEnabled:
                    _log.warning("auth_not_enabled", user=self.config.user)
                    self._token = ""
            return self._token or None

    def forget(self, token: str | None) -> None:
        """This token was refused; the next use authenticates."""
        if (self._token or None) == token:
            self._token = None

    # ------------------------------------------------------------------------------------------------ never backwards

    def _fresh(self, parse: Callable[[wire.Json], _Value]) -> Callable[[wire.Json], _Value]:
        """`parse`, refusing what is older than anything seen when the call began."""
        before = self._seen

        def checked(reply: wire.Json) -> _Value:
            self.accept(wire.header(reply), before)
            return parse(reply)

        return checked

    def accept(self, header: Header, before: _Seen | None = None) -> None:
        """Take note of the state behind a linearizable reply; Unknown if it is older than what was seen `before`."""
        floor = self._seen if before is None else before
        if floor.cluster and header.cluster != floor.cluster:
            raise Fatal(f"member {header.member:x} is of cluster {header.cluster:x}, expected {floor.cluster:x}")
        if header.revision < floor.revision or header.term < floor.term:
            raise Unknown(
                f"member {header.member:x} answers from the past: revision {header.revision} term {header.term}, "
                f"seen before: revision {floor.revision} term {floor.term}"
            )
        self._seen = _Seen(max(header.revision, self._seen.revision), max(header.term, self._seen.term), header.cluster)


def _given_up(failures: Sequence[tuple[str, HaError]]) -> HaError:
    last = dict(failures)
    said = "; ".join(f"{endpoint}: {error}" for endpoint, error in last.items()) or "no time left to ask"
    # Fatal only if everybody says so: one member with a bad certificate is that member's trouble.
    kind = Fatal if last and all(isinstance(error, Fatal) for error in last.values()) else Unknown
    return kind(said)
