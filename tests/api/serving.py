"""A whole node in the test's own event loop, and small clients for it."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import uvloop

from luigi_ha.appliance.config import load
from luigi_ha.appliance.node import ExitCode, Node, NodeOptions
from tests.support.patience import patient

T = TypeVar("T")


def run(scenario: Coroutine[Any, Any, T], seconds: float = 60.0) -> T:
    """Run an async test on the loop that production uses."""

    async def bounded() -> T:
        async with asyncio.timeout(patient(seconds)):
            return await scenario

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(bounded())


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def response(self) -> Any:
        return self.json["response"]

    @property
    def error(self) -> Any:
        """What was wrong, in the words of Luigi's calls or of the REST API."""
        said = self.json
        return said.get("error") or {"what": said["detail"], "where": said["where"], "expected": said["expected"]}


@dataclass
class Served:
    node: Node
    port: int
    ending: "asyncio.Task[ExitCode]"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def call(self, method: str, **arguments: Any) -> Any:
        """A good call's response; fails the test otherwise."""
        reply = await self.post(method, arguments)
        assert reply.status == 200, reply
        return reply.response

    async def post(self, method: str, arguments: Any, headers: Mapping[str, str] | None = None) -> Reply:
        if method.startswith("rest_"):  # as another node passes it on: else these names mean nothing
            headers = {"luigi-ha-relayed": "9", **(headers or {})}
        return await request(self.port, "POST", f"/api/{method}", form(arguments), headers)

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> Reply:
        return await request(self.port, "GET", path, None, headers)

    async def add_task(self, task_id: str, worker: str = "w", **more: Any) -> Any:
        return await self.call(
            "add_task", task_id=task_id, worker=worker, family=task_id.split("_", maxsplit=1)[0], **more
        )


@asynccontextmanager
async def serving(
    directory: Path,
    *,
    database: str = "",
    scheduler: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    **serve: Any,
) -> AsyncIterator[Served]:
    """A node that leads, on a free port of the loopback address."""
    url = database or f"sqlite:///{directory}/luigi.db"
    loaded = load({"database": url, "host": "127.0.0.1", "port": 0, **serve}, None, environment or {})
    options = replace(loaded.options, scheduler=replace(loaded.options.scheduler, **(scheduler or {})))
    node = Node(NodeOptions(options, url))
    leading = asyncio.Event()
    ending = asyncio.create_task(node.run(lambda _node: leading.set()))
    waiting = asyncio.create_task(leading.wait())
    await asyncio.wait((ending, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    assert not ending.done(), ending.result()
    try:
        yield Served(node, int(node.api.addresses[0].rpartition(":")[2]), ending)
    finally:
        if not ending.done():
            node.stop("test")
        await ending


def form(arguments: Any) -> bytes:
    return urlencode({"data": arguments if isinstance(arguments, str) else json.dumps(arguments)}).encode()


def head(method: str, path: str, headers: Mapping[str, str]) -> bytes:
    given = {"Host": "127.0.0.1", **headers}
    lines = [f"{method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in given.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def whole(method: str, path: str, body: bytes | None, headers: Mapping[str, str] | None = None) -> bytes:
    """A request as bytes."""
    given = dict(headers or {})
    if body is not None:
        given.setdefault("Content-Type", "application/x-www-form-urlencoded")
        given.setdefault("Content-Length", str(len(body)))
    return head(method, path, given) + (body or b"")


async def request(
    port: int, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> Reply:
    """One request on a connection of its own."""
    return await send(port, whole(method, path, body, headers), method)


async def send(port: int, raw: bytes, method: str = "POST") -> Reply:
    """Send these bytes; read one reply."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(raw)
        return await read_reply(reader, method)
    finally:
        writer.close()


async def read_reply(reader: asyncio.StreamReader, method: str = "POST") -> Reply:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:] if line)}
    status = int(lines[0].split()[1])
    length = 0 if method == "HEAD" or status == 204 else int(headers.get("content-length", "0"))
    return Reply(status, headers, await reader.readexactly(length))


async def eventually(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait until it holds; fail the test if it does not within `seconds`."""
    async with asyncio.timeout(patient(seconds)):
        while not condition():  # noqa: ASYNC110 - the conditions have no events of their own
            await asyncio.sleep(0.005)


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with a reset, as a killed client's machine does."""
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    writer.close()
