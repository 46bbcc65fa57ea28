"""One watch over the JSON gateway, at one endpoint. It ends with the connection; `ha.etcd.watch` resumes."""

import asyncio
import json
from typing import TYPE_CHECKING, Any

import aiohttp

from ha.errors import HaError, Unknown
from ha.etcd import wire
from ha.etcd.failures import TokenRefused, of_exception, of_status, of_text
from ha.etcd.transport import Batch, Compacted, Listing

if TYPE_CHECKING:
    from ha.etcd.gateway import Gateway

# Without it a member that is cut off from the majority keeps the stream open and says nothing (etcd#10819).
REQUIRE_LEADER = {"Grpc-Metadata-hasleader": "true"}


class GatewayStream:
    """A task reads the connection, because cancelling a half-read line would lose it; `next` takes from its queue."""

    def __init__(self, gateway: "Gateway", endpoint: str, prefix: str, revision: int) -> None:
        self._gateway = gateway
        self._endpoint = endpoint
        self._prefix = prefix
        self._revision = revision
        self._arrived: asyncio.Queue[Batch | HaError] = asyncio.Queue()
        self._created: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reader: asyncio.Task[None] | None = None
        self._ended: HaError | None = None

    async def open(self, seconds: float) -> None:
        """Return when the endpoint has confirmed the watch."""
        self._reader = asyncio.create_task(self._read(), name=f"watch {self._endpoint}")
        try:
            async with asyncio.timeout(seconds):
                await asyncio.shield(self._created)
        except TimeoutError:
            raise Unknown(f"no answer to a watch within {seconds:.3g} s") from None

    async def next(self, seconds: float) -> Batch | None:
        if self._ended is not None:
            raise self._ended
        try:
            async with asyncio.timeout(seconds):
                arrived = await self._arrived.get()
        except TimeoutError:
            return None
        if isinstance(arrived, HaError):
            self._ended = arrived
            raise arrived
        return arrived

    async def probe(self, budget: float) -> Listing:
        def parse(reply: wire.Json) -> Listing:
            self._gateway.accept(wire.header(reply))
            return wire.listing(reply)

        return await self._gateway.ask(self._endpoint, "/v3/kv/range", wire.prefix_range(self._prefix), parse, budget)

    async def close(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader])
        if self._created.done() and not self._created.cancelled():
            self._created.exception()  # it has been raised by `open`, or nobody waits for it any more
        self._created.cancel()

    async def _read(self) -> None:
        """Ends with the stream; its end is an error in the queue."""
        try:
            await self._messages()
            error: HaError = Unknown("the stream ended")
        except HaError as found:
            error = found
        except (aiohttp.ClientError, OSError) as found:
            error = of_exception(found)
        except (KeyError, TypeError, ValueError, AttributeError) as found:
            error = Unknown(f"a message that is not etcd's: {found!r}")
        if not self._created.done():
            self._created.set_exception(error)
        self._arrived.put_nowait(error)

    async def _messages(self) -> None:
        token = await self._gateway.token(self._endpoint)
        headers = REQUIRE_LEADER | ({"Authorization": token} if token else {})
        body = {"create_request": wire.prefix_range(self._prefix) | {"start_revision": str(self._revision)}}
        session = self._gateway.session()
        async with session.post(f"{self._endpoint}/v3/watch", json=body, headers=headers) as reply:
            if reply.status != 200:
                wire.understood(reply.status, await reply.read())
            rest = b""
            async for chunk in reply.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line.strip():
                        self._message(json.loads(line), token)
            if rest.strip():
                self._message(json.loads(rest), token)

    def _message(self, message: Any, token: str | None) -> None:
        if "error" in message:
            error = message["error"]
            if isinstance(error, dict):
                raise of_status(int(error.get("grpc_code", 2)), str(error.get("message")))
            raise of_status(int(message.get("code", 2)), str(error))
        result = message["result"]
        if int(result.get("compact_revision", 0)):
            raise Compacted(f"events before revision {result['compact_revision']} are gone")
        if result.get("canceled"):
            refused = of_text(str(result.get("cancel_reason", "cancelled by etcd")))
            if isinstance(refused, TokenRefused):
                self._gateway.forget(token)
            raise refused
        if result.get("created") and not self._created.done():
            self._created.set_result(None)
        if result.get("events"):
            self._arrived.put_nowait(wire.batch(result))
