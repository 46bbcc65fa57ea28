"""A member that answers every read from the past, over each transport."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass

from aiohttp import web

from luigi_ha.ha.etcd.grpc_library import library
from luigi_ha.ha.etcd.transport import Header


@dataclass
class Stale:
    endpoint: str = ""
    asked: int = 0


@asynccontextmanager
async def stale_member(via: str, past: Header) -> AsyncIterator[Stale]:
    """Serves on a port of the loopback."""
    member = Stale()
    names = {"cluster": "cluster_id", "member": "member_id", "revision": "revision", "term": "raft_term"}
    header = {names[name]: value for name, value in asdict(past).items()}
    async with (_over_http if via == "gateway" else _over_grpc)(member, header):
        yield member


@asynccontextmanager
async def _over_http(member: Stale, header: dict[str, int]) -> AsyncIterator[None]:
    async def answer(request: web.Request) -> web.Response:
        member.asked += 1
        return web.json_response({"header": {name: str(value) for name, value in header.items()}})

    app = web.Application()
    app.router.add_post("/v3/kv/range", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    member.endpoint = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _over_grpc(member: Stale, header: dict[str, int]) -> AsyncIterator[None]:
    rpc = library().rpc

    class Past(rpc.KVServicer):  # type: ignore[misc, name-defined]
        async def Range(self, request: object, context: object) -> object:  # noqa: N802 - the service's name
            member.asked += 1
            return rpc.RangeResponse(header=rpc.ResponseHeader(**header))

    server = library().aio.server()
    rpc.add_KVServicer_to_server(Past(), server)
    member.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield
    finally:
        await server.stop(None)
