"""A watch over the JSON gateway: a reply that does not end, one JSON object a line."""

import json
from typing import TYPE_CHECKING, Any

import aiohttp

from luigi_ha.ha.etcd import wire
from luigi_ha.ha.etcd.failures import of_exception, of_status
from luigi_ha.ha.etcd.stream import ReadStream
from luigi_ha.ha.etcd.transport import Listing

if TYPE_CHECKING:
    from luigi_ha.ha.etcd.gateway import Gateway

# Without it a member that is cut off from the majority keeps the stream open and says nothing (etcd#10819).
REQUIRE_LEADER = {"Grpc-Metadata-hasleader": "true"}


class GatewayStream(ReadStream):
    """See `ReadStream`."""

    def __init__(self, gateway: "Gateway", endpoint: str, prefix: str, revision: int) -> None:
        super().__init__(gateway, endpoint)
        self._gateway = gateway
        self._range = wire.prefix_range(prefix)
        self._revision = revision

    async def ask(self, budget: float) -> Listing:
        return await self._gateway.ask(self.endpoint, "/v3/kv/range", self._range, wire.listing, budget)

    async def messages(self) -> None:
        token = await self._gateway.tokens.get(self.endpoint)
        headers = REQUIRE_LEADER | ({"Authorization": token} if token else {})
        body = {"create_request": self._range | {"start_revision": str(self._revision)}}
        session = self._gateway.session()
        try:
            async with session.post(f"{self.endpoint}/v3/watch", json=body, headers=headers) as reply:
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
        except (aiohttp.ClientError, OSError) as error:
            await self._gateway.explain(self.endpoint, error)
            raise of_exception(error) from error

    def _message(self, message: Any, token: str | None) -> None:
        if "error" in message:
            error = message["error"]
            if isinstance(error, dict):
                raise of_status(int(error.get("grpc_code", 2)), str(error.get("message")))
            raise of_status(int(message.get("code", 2)), str(error))
        result = message["result"]
        compacted = int(result.get("compact_revision", 0))
        if result.get("canceled") or compacted:
            raise self.cancelled(str(result.get("cancel_reason", "")), compacted, token)
        if result.get("created"):
            self.confirmed()
        self.arrived(wire.batch(result))
