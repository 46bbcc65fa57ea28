"""Everything that is not the fast lane, on aiohttp's low-level server: one handler, one table of paths.

    /                          302 to the visualiser; HEAD 204
    /api/<rpc>                 Luigi's calls, GET and POST
    /api/cluster               what `luigi-ha status` shows; /api/cluster/failovers: who led when, and why
    /api/task/<id>/history     the log of one task's state changes
    /api/task/<id>/why         why it is not running
    /health /ready /metrics    for supervisors, load balancers and Prometheus
    /leader /standby           200 if this node is that, and can work; else 503
    /static/...                Luigi's visualiser

Every answer that is not good has a JSON body that says what was wrong, where, and what would be right.
Body size is checked before and while reading; nothing larger than the limit is ever held.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from appliance import log
from appliance.api import wire
from appliance.api.calls import FutureCaller
from appliance.api.cors import Cors
from appliance.api.dispatch import Dispatcher
from appliance.api.errors import BadRequest, MethodNotAllowed, NotFound, Refusal, Reply, TooLarge
from appliance.api.fastlane import RELAYED, is_stock_agent
from appliance.api.files import static_file
from appliance.api.views import Views
from appliance.clock import monotonic
from appliance.engine import RPC_METHODS, SLICED_VIEWS

JSON = "application/json; charset=UTF-8"
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
MONITORED = ("/health", "/ready", "/leader", "/standby", "/metrics")
BODY_TIMEOUT = 60.0  # s for a client to send its body
REPLY_TIMEOUT = 300.0  # s for a client to take a large reply
GZIP_MAGIC = b"\x1f\x8b"
_HISTORY = "the command `luigi-ha history TASK_ID`, or GET /api/task/<TASK_ID>/history"
_log = log.get("api")

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Operations:
    """What the node tells about itself and its tasks. `history` and `why` raise KeyError for an unknown task."""

    health: Callable[[], JsonObject]
    cluster: Callable[[], Awaitable[JsonObject]]
    history: Callable[[str, int], Awaitable[list[JsonObject]]]
    why: Callable[[str], Awaitable[JsonObject]]
    failovers: Callable[[int], Awaitable[list[JsonObject]]]


class Routes:
    """The handler of aiohttp's low-level server."""

    def __init__(self, dispatcher: Dispatcher, views: Views, operations: Operations, cors: Cors, server: str) -> None:
        self._dispatcher = dispatcher
        self._views = views
        self._operations = operations
        self._cors = cors
        self._server = server

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; never raises for what a client did."""
        try:
            response = await self._route(request)
        except Refusal as refusal:
            response = _plain(refusal.reply())
            if isinstance(refusal, TooLarge):
                response.force_close()
        if is_stock_agent(request.headers.get("User-Agent", "")):
            response.force_close()
        if not response.prepared:
            response.headers["Server"] = self._server
        return response

    async def monitor(self, request: web.BaseRequest) -> web.StreamResponse:
        """The handler of the metrics port: nothing that costs the scheduler anything."""
        try:
            if request.path in MONITORED and request.method in ("GET", "HEAD"):
                return self._monitored(request.path)
            raise NotFound("no such path", where=request.path, expected="/metrics, /health or /ready")
        except Refusal as refusal:
            return _plain(refusal.reply())

    async def _route(self, request: web.BaseRequest) -> web.StreamResponse:
        path, method = request.path, request.method
        if path.startswith("/api/"):
            return await self._api(request, request.rel_url.raw_path.removeprefix("/api/"))
        if path == "/" and method == "HEAD":
            return web.Response(status=204)
        if method not in ("GET", "HEAD"):
            raise _not_allowed(request, "GET")
        if path == "/":
            return web.Response(status=302, headers={"Location": "static/visualiser/index.html"})
        if path.startswith("/static/"):
            return web.FileResponse(static_file(request.rel_url.raw_path.removeprefix("/static/")))
        if path in MONITORED:
            return self._monitored(path)
        if path.split("/")[1] in ("history", "tasklist"):
            raise NotFound("luigid's history pages are not served here", where=path, expected=_HISTORY)
        raise NotFound("no such path", where=path, expected="/, /api/<method>, /health, /ready or /metrics")

    def _monitored(self, path: str) -> web.Response:
        if path == "/metrics":
            return web.Response(body=self._dispatcher.metrics.render(), headers={"Content-Type": PROMETHEUS})
        health = self._operations.health()
        good = {
            "/health": True,
            "/ready": bool(health.get("ready")),
            "/leader": bool(health.get("leading") and health.get("ready")),
            "/standby": health.get("state") == "standby" and bool(health.get("ready")),
        }
        return _json(health, 200 if good[path] else 503)

    async def _api(self, request: web.BaseRequest, name: str) -> web.StreamResponse:
        origin = request.headers.get("Origin")
        if request.method == "OPTIONS":
            return web.Response(status=204, headers=self._cors.preflight(origin))
        if name not in RPC_METHODS:
            return await self._operation(request, name)
        if request.method not in ("GET", "POST"):
            raise _not_allowed(request, "GET, POST")
        arrived = monotonic()
        try:
            response = await self._call(request, name, arrived)
        except Refusal as refusal:
            self._dispatcher.metrics.call(name, refusal.status, monotonic() - arrived)
            raise
        if not response.prepared:
            response.headers.update(self._cors.headers(origin))
        return response

    async def _call(self, request: web.BaseRequest, name: str, arrived: float) -> web.StreamResponse:
        data = await self._data(request)
        caller = FutureCaller(lambda: request.transport is None or request.transport.is_closing())
        if name not in SLICED_VIEWS:
            left = request.headers.get(RELAYED.decode(), "")
            self._dispatcher.submit(name, data, caller, monotonic(), left=int(left) if left.isdecimal() else None)
            return _plain(await caller.reply)
        compress = "gzip" in request.headers.get("Accept-Encoding", "")
        pieces = await self._views.fetch(name, data, caller, arrived, compress=compress)
        response = web.StreamResponse(headers={"Content-Type": JSON, "Server": self._server})
        response.headers.update(self._cors.headers(request.headers.get("Origin")))
        if self._dispatcher.mirror is not None:  # shown by a node that does not lead
            response.headers["Luigi-HA-Mirror-Age"] = f"{self._dispatcher.mirror.age:.3f}"
        response.content_length = sum(map(len, pieces))
        if pieces[0].startswith(GZIP_MAGIC):
            response.headers["Content-Encoding"] = "gzip"
            response.headers["Vary"] = "Accept-Encoding"
        if is_stock_agent(request.headers.get("User-Agent", "")):
            response.force_close()
        try:
            async with asyncio.timeout(REPLY_TIMEOUT):
                await response.prepare(request)
                for piece in pieces:
                    await response.write(piece)
        except (ConnectionError, TimeoutError) as error:
            _log.debug("client_gone", method=name, error=type(error).__name__)
            if request.transport is not None:
                request.transport.close()
        self._dispatcher.metrics.call(name, 200, monotonic() - arrived)
        return response

    async def _data(self, request: web.BaseRequest) -> str:
        """The `data` argument: of the form if it has one, else of the URL, else an empty object."""
        limit = self._dispatcher.limits.max_body
        body = await read_body(request, limit)
        data = None
        if body:
            kind = request.content_type
            if kind == "application/x-www-form-urlencoded":
                data = wire.form_data(body)
            else:
                raise wire.wrong_body(request.headers.get("Content-Type", ""))
        if data is None:
            query = request.rel_url.raw_query_string.encode("utf-8", "surrogateescape")
            data = wire.form_data(query) if query else None
        return "{}" if data is None else data

    async def _operation(self, request: web.BaseRequest, name: str) -> web.StreamResponse:
        parts = [unquote(part) for part in name.split("/")]
        match parts:
            case ["cluster"]:
                handler: Callable[[], Awaitable[Any]] = self._operations.cluster
            case ["cluster", "failovers"]:
                most = _limit(request.rel_url.query.get("limit", "20"))

                async def handler() -> Any:
                    return {"failovers": await self._operations.failovers(most)}
            case ["task", task_id, "history"]:
                limit = _limit(request.rel_url.query.get("limit", "1000"))

                async def handler() -> Any:
                    return {"task_id": task_id, "history": await self._operations.history(task_id, limit)}
            case ["task", task_id, "why"]:

                async def handler() -> Any:
                    return await self._operations.why(task_id)
            case _:
                expected = "one of " + ", ".join(sorted(RPC_METHODS))
                raise NotFound(f"no method {name[:100]!r}", where="/api/", expected=expected)
        if request.method not in ("GET", "HEAD"):
            raise _not_allowed(request, "GET")
        try:
            return _json(await handler())
        except KeyError:
            raise NotFound(
                "no such task", where=request.path, expected="the id of a task the scheduler knows"
            ) from None


async def read_body(request: web.BaseRequest, limit: int) -> bytes:
    """The request's body; TooLarge before it is read when it says so itself, else as soon as it shows."""
    too_large = TooLarge(
        f"a body of more than {limit} bytes",
        where="Content-Length",
        expected=f"at most {limit} bytes (option max_body of luigi-ha serve)",
    )
    if (request.content_length or 0) > limit:
        raise too_large
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the reply has not begun
    pieces, size = [], 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            async for piece in request.content.iter_any():
                size += len(piece)
                if size > limit:
                    raise too_large
                pieces.append(piece)
    except TimeoutError as error:
        raise BadRequest(
            f"the body took more than {BODY_TIMEOUT:g} s", where="body", expected="a whole body"
        ) from error
    except web.RequestPayloadError as error:
        raise BadRequest("the body ended early or is malformed", where="body", expected="a whole body") from error
    return b"".join(pieces)


def _plain(reply: Reply) -> web.Response:
    headers = {"Content-Type": JSON}
    if reply.retry_after is not None:
        headers["Retry-After"] = str(reply.retry_after)
    return web.Response(status=reply.status, body=reply.body, headers=headers)


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(status=status, body=wire.encode_value(value).encode("ascii"), headers={"Content-Type": JSON})


def _not_allowed(request: web.BaseRequest, allowed: str) -> MethodNotAllowed:
    return MethodNotAllowed(f"{request.method} is not allowed here", where=request.path, expected=allowed)


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text[:9]) <= 100_000):
        raise BadRequest(f"{text[:20]!r}", where="limit", expected="a whole number from 1 to 100000")
    return int(text)
