"""A watch over gRPC, on a connection of its own."""

import asyncio
from typing import TYPE_CHECKING, Any

from luigi_ha.ha.errors import HaError, Unknown
from luigi_ha.ha.etcd import messages
from luigi_ha.ha.etcd.grpc_library import library
from luigi_ha.ha.etcd.stream import ReadStream
from luigi_ha.ha.etcd.transport import Listing

if TYPE_CHECKING:
    from luigi_ha.ha.etcd.grpc import Grpc

# Without it a member that is cut off from the majority keeps the stream open and says nothing (etcd#10819).
REQUIRE_LEADER = (("hasleader", "true"),)


class GrpcStream(ReadStream):
    """See `ReadStream`."""

    def __init__(self, owner: "Grpc", endpoint: str, prefix: str, revision: int) -> None:
        super().__init__(owner, endpoint)
        self._grpc = owner
        self._range = messages.prefix_range(prefix)
        self._revision = revision
        self._channel = owner.channels.new(endpoint)

    async def ask(self, budget: float) -> Listing:
        rpc = library().rpc
        token = await self._grpc.tokens.get(self.endpoint)

        async def read(channel: Any, metadata: Any, seconds: float) -> Any:
            return await rpc.KVStub(channel).Range(rpc.RangeRequest(**self._range), metadata=metadata, timeout=seconds)

        try:
            async with asyncio.timeout(budget):
                reply = await self._grpc.execute(self.endpoint, self._channel, read, token, budget)
        except TimeoutError:
            raise Unknown(f"no answer within {budget:.3g} s") from None
        return messages.listing(reply)

    async def close(self) -> None:
        await super().close()
        await self._channel.close()

    async def messages(self) -> None:
        rpc, aio = library().rpc, library().aio
        try:
            token = await self._grpc.tokens.get(self.endpoint)
            metadata = REQUIRE_LEADER + ((("token", token),) if token else ())
            call = rpc.WatchStub(self._channel).Watch(metadata=metadata)
            try:
                create = rpc.WatchCreateRequest(**self._range, start_revision=self._revision)
                await call.write(rpc.WatchRequest(create_request=create))
                while (message := await call.read()) is not aio.EOF:
                    self._message(message, token)
                code, details = await call.code(), await call.details()
                raise Unknown(f"the stream ended: {code.name} {details}")
            finally:
                call.cancel()
        except aio.AioRpcError as error:
            found = await self._grpc.failure(self.endpoint, error)
            raise found if isinstance(found, HaError) else Unknown("the stream timed out") from error
        except asyncio.InvalidStateError as error:  # written to a stream that had ended already
            raise Unknown(f"the stream ended: {error}") from error

    def _message(self, message: Any, token: str | None) -> None:
        if message.canceled or message.compact_revision:
            raise self.cancelled(message.cancel_reason, message.compact_revision, token)
        if message.created:
            self.confirmed()
        self.arrived(messages.batch(message))
