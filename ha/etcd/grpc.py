"""The transport over gRPC: for clusters whose gateway is off, or whose roles go by the names in client certificates.

The package etcd3 gives the messages (`luigi_ha.ha.etcd.grpc_library`); endpoints, budgets, tokens and watches are those
of the gateway. Not promised: that a request was executed at most once. See `luigi_ha.ha.etcd.transport`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, TypeVar

from luigi_ha.ha.errors import HaError, Unknown
from luigi_ha.ha.etcd import messages
from luigi_ha.ha.etcd.channels import Channels
from luigi_ha.ha.etcd.config import EtcdConfig
from luigi_ha.ha.etcd.endpoints import Endpoints
from luigi_ha.ha.etcd.failures import LeaseNotFound, TokenRefused, of_status
from luigi_ha.ha.etcd.grpc_library import library
from luigi_ha.ha.etcd.grpc_stream import GrpcStream
from luigi_ha.ha.etcd.handshake import refusal
from luigi_ha.ha.etcd.spread import Status, spread
from luigi_ha.ha.etcd.tokens import Tokens
from luigi_ha.ha.etcd.transport import Change, Guard, Listing, Outcome

_Value = TypeVar("_Value")

Metadata = tuple[tuple[str, str], ...]
Call = Callable[[Any, Metadata, float], Awaitable[Any]]
"""One call on a channel, with metadata and seconds."""


class Grpc:
    """See `luigi_ha.ha.etcd.transport.Transport`. Belongs to one event loop. Fatal if the library cannot be loaded."""

    def __init__(self, config: EtcdConfig) -> None:
        self.config = config
        self.endpoints = Endpoints(config)
        self.tokens = Tokens(config, self._authenticate)
        self._rpc = library().rpc
        self.channels = Channels(config)

    async def read(self, prefix: str, budget: float) -> Listing:
        request = self._rpc.RangeRequest(**messages.prefix_range(prefix))
        return await self._call(self._unary("KVStub", "Range", request), budget, self._fresh(messages.listing))

    async def txn(self, guards: Sequence[Guard], changes: Sequence[Change], budget: float) -> Outcome:
        request = messages.transaction(guards, changes)
        return await self._call(self._unary("KVStub", "Txn", request), budget, self._fresh(messages.outcome))

    async def grant(self, lease: int, ttl: int, budget: float) -> float:
        request = self._rpc.LeaseGrantRequest(ID=lease, TTL=ttl)
        return await self._call(self._unary("LeaseStub", "LeaseGrant", request), budget, lambda reply: float(reply.TTL))

    async def keep_alive(self, lease: int, budget: float) -> float:
        request = self._rpc.LeaseKeepAliveRequest(ID=lease)

        async def keep(channel: Any, metadata: Metadata, seconds: float) -> Any:
            call = self._rpc.LeaseStub(channel).LeaseKeepAlive(metadata=metadata, timeout=seconds)
            try:
                await call.write(request)
                reply = await call.read()
            finally:
                call.cancel()
            if reply is library().aio.EOF:
                raise Unknown("a stream that ended without an answer")
            return reply

        return await self._call(keep, budget, lambda reply: float(reply.TTL))

    async def revoke(self, lease: int, budget: float) -> None:
        request = self._rpc.LeaseRevokeRequest(ID=lease)
        try:
            await self._call(self._unary("LeaseStub", "LeaseRevoke", request), budget, messages.header)
        except LeaseNotFound:
            return

    async def stream(self, prefix: str, revision: int, budget: float) -> GrpcStream:
        return await self.endpoints.open(lambda endpoint: GrpcStream(self, endpoint, prefix, revision), budget)

    async def spread(self, shun: Collection[str], budget: float) -> str | None:
        own, seconds = self.config.own_endpoint, min(budget, self.config.attempt_timeout)
        if own is None:
            return None

        async def status(endpoint: str) -> Status:
            question = self._unary("MaintenanceStub", "Status", self._rpc.StatusRequest())
            return await self.ask(endpoint, question, messages.status, seconds)

        async def move(endpoint: str, member: int) -> None:
            request = self._rpc.MoveLeaderRequest(targetID=member)
            question = self._unary("MaintenanceStub", "MoveLeader", request)
            await self.ask(endpoint, question, lambda _reply: None, budget)

        return await spread(own, [each for each in self.config.endpoints if each != own], shun, status, move)

    async def close(self) -> None:
        await self.channels.close()

    async def _call(self, call: Call, budget: float, parse: Callable[[Any], _Value]) -> _Value:
        return await self.endpoints.ask(lambda endpoint, seconds: self.ask(endpoint, call, parse, seconds), budget)

    def _unary(self, stub: str, method: str, request: Any) -> Call:
        def call(channel: Any, metadata: Metadata, seconds: float) -> Awaitable[Any]:
            made: Awaitable[Any] = getattr(getattr(self._rpc, stub)(channel), method)(
                request, metadata=metadata, timeout=seconds
            )
            return made

        return call

    def _fresh(self, parse: Callable[[Any], _Value]) -> Callable[[Any], _Value]:
        """`parse`, refusing what is older than anything seen when the call began."""
        before = self.endpoints.seen

        def checked(reply: Any) -> _Value:
            self.endpoints.accept(messages.header(reply), before)
            return parse(reply)

        return checked

    # ----------------------------------------------------------------------------------------------------- one endpoint

    async def ask(self, endpoint: str, call: Call, parse: Callable[[Any], _Value], seconds: float) -> _Value:
        """One question to one endpoint, with a new token if the old one was refused."""
        channel = self.channels.to(endpoint)
        try:
            async with asyncio.timeout(seconds):
                token = await self.tokens.get(endpoint)
                try:
                    return parse(await self.execute(endpoint, channel, call, token, seconds))
                except TokenRefused:
                    self.tokens.forget(token)
                    again = await self.tokens.get(endpoint)
                    return parse(await self.execute(endpoint, channel, call, again, seconds))
        except TimeoutError:
            self.channels.replace(endpoint, channel)
            raise Unknown(f"no answer within {seconds:.3g} s") from None

    async def execute(self, endpoint: str, channel: Any, call: Call, token: str | None, seconds: float) -> Any:
        """One call. TimeoutError, or the error that its status is."""
        try:
            return await call(channel, (("token", token),) if token else (), seconds)
        except library().aio.AioRpcError as error:
            raise await self.failure(endpoint, error) from error

    async def failure(self, endpoint: str, error: Any) -> HaError | TimeoutError:
        """What the status of a call means; asks TLS itself if the endpoint is said to be unavailable."""
        code = error.code()
        if code is library().grpc.StatusCode.DEADLINE_EXCEEDED:
            return TimeoutError()
        if code is library().grpc.StatusCode.UNAVAILABLE and self.channels.tls is not None:
            reason = await refusal(endpoint, self.channels.tls)
            if reason is not None:
                return reason
        return of_status(int(code.value[0]), str(error.details()))

    async def _authenticate(self, endpoint: str, user: str, password: str) -> str:
        question = self._unary("AuthStub", "Authenticate", self._rpc.AuthenticateRequest(name=user, password=password))
        seconds = self.config.attempt_timeout
        reply = await self.execute(endpoint, self.channels.to(endpoint), question, None, seconds)
        return str(reply.token)
