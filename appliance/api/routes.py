"""Everything that is not the fast lane, on aiohttp's low-level server: one handler, one table of paths.

    /                          302 to the visualiser; HEAD 204
    /api/<rpc>                 Luigi's calls, GET and POST
    /api/...                   the REST API (appliance.api.rest)
    /health /ready /metrics    for supervisors, load balancers and Prometheus
    /leader /standby           200 if this node is that, and can work; else 503
    /static/...                Luigi's visualiser

Every answer that is not good has a JSON body that says what was wrong, where, and what would be right.
"""

import asyncio
from typing import Any

from aiohttp import web

from appliance import log
from appliance.api import wire
from appliance.api.access_browser import require_own_page
from appliance.api.access_roles import needed
from appliance.api.access_tokens import Credential
from appliance.api.body import read_body
from appliance.api.calls import Admit, Call, FutureCaller, Terms, checked_key
from appliance.api.cors import Cors
from appliance.api.dispatch import Dispatcher
from appliance.api.errors import CHALLENGE, MethodNotAllowed, NotFound, NotReady, Refusal, Reply, TooLarge
from appliance.api.executor import METHODS
from appliance.api.fastlane import RELAYED, is_stock_agent
from appliance.api.files import static_file
from appliance.api.operations import Operations
from appliance.api.rest import Rest
from appliance.api.views import Views
from appliance.clock import monotonic
from appliance.engine import RPC_METHODS, SLICED_VIEWS

JSON = "application/json; charset=UTF-8"
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
MONITORED = ("/health", "/ready", "/leader", "/standby", "/metrics")
READY_EVERY = 0.02  # s between two attempts to say who calls, while a node starts
REPLY_TIMEOUT = 300.0  # s for a client to take a large reply
GZIP_MAGIC = b"\x1f\x8b"
_HISTORY = "the command `luigi-ha history TASK_ID`, or GET /api/task/<TASK_ID>/history"
_log = log.get("api")


class Routes:
    """The handler of aiohttp's low-level server."""

    def __init__(
        self, dispatcher: Dispatcher, operations: Operations, rest: Rest, cors: Cors, server: str, admit: Admit
    ) -> None:
        self._dispatcher = dispatcher
        self._views = Views(dispatcher)
        self._operations = operations
        self._rest = rest
        self._cors = cors
        self._server = server
        self._admit = admit

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; never raises for what a client did."""
        try:
            response = await self._route(request)
        except Refusal as refusal:
            response = self._rest.refuse(refusal) if self._rest.knows(request) else _refused(refusal)
            if isinstance(refusal, TooLarge):
                response.force_close()
        if is_stock_agent(request.headers.get("User-Agent", "")):
            response.force_close()
        if not response.prepared:
            response.headers["Server"] = self._server
            if response.status == 401:  # also where the leader said so
                response.headers["WWW-Authenticate"] = CHALLENGE
        return response

    async def monitor(self, request: web.BaseRequest) -> web.StreamResponse:
        """The handler of the metrics port: nothing that costs the scheduler anything."""
        try:
            if request.path in MONITORED and request.method in ("GET", "HEAD"):
                return self._monitored(request.path)
            raise NotFound("no such path", where=request.path, expected="/metrics, /health or /ready")
        except Refusal as refusal:
            return _refused(refusal)

    async def _route(self, request: web.BaseRequest) -> web.StreamResponse:
        path, method = request.path, request.method
        authorization = Credential(request.headers.get("Authorization", "").encode("utf-8", "surrogateescape"))
        terms = Terms(None, None, authorization, await self._admitted(request, authorization))
        if path.startswith("/api/"):
            return await self._api(request, request.rel_url.raw_path.removeprefix("/api/"), terms)
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

    async def _admitted(self, request: web.BaseRequest, authorization: Credential) -> str | None:
        """Who calls. Before that can be said, the call waits, as at the gate."""
        until = monotonic() + self._dispatcher.limits.budget
        method, path = request.method, request.rel_url.raw_path
        while True:
            try:
                actor = self._admit(method, path, authorization)
            except NotReady:
                if monotonic() > until:
                    raise
                await asyncio.sleep(READY_EVERY)
            else:
                if actor is not None:
                    require_own_page(request.headers, needed(method, path), self._cors)
                return actor

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

    async def _api(self, request: web.BaseRequest, name: str, terms: Terms) -> web.StreamResponse:
        origin = request.headers.get("Origin")
        if request.method == "OPTIONS":
            return web.Response(status=204, headers=self._cors.preflight(origin))
        arrived = monotonic()
        try:
            terms = terms._replace(key=checked_key(request.headers.get("Idempotency-Key")))
            if name in METHODS:
                if request.method not in ("GET", "POST"):
                    raise _not_allowed(request, "GET, POST")
                response = await self._call(request, name, arrived, terms)
            elif self._rest.knows(request):
                response = await self._rest.answer(request, terms)
            else:
                expected = "one of " + ", ".join(sorted(RPC_METHODS)) + "; or a path of /api/docs"
                raise NotFound(f"no method {name[:100]!r}", where="/api/", expected=expected)
        except Refusal as refusal:
            if name in METHODS:
                self._dispatcher.metrics.call(name, refusal.status, monotonic() - arrived)
            raise
        if not response.prepared:
            response.headers.update(self._cors.headers(origin))
        return response

    async def _call(self, request: web.BaseRequest, name: str, arrived: float, terms: Terms) -> web.StreamResponse:
        data = await self._data(request)
        caller = FutureCaller(lambda: request.transport is None or request.transport.is_closing())
        if name not in SLICED_VIEWS:
            left = request.headers.get(RELAYED.decode(), "")
            terms = terms._replace(left=int(left) if left.isdecimal() else None)
            self._dispatcher.submit(Call(name, data, caller, monotonic(), terms))
            return _plain(await caller.reply)
        compress = "gzip" in request.headers.get("Accept-Encoding", "")
        pieces = await self._views.fetch(name, data, caller, arrived, compress=compress)
        response = web.StreamResponse(headers={"Content-Type": JSON, "Server": self._server})
        response.headers.update(self._cors.headers(request.headers.get("Origin")))
        mirror = self._dispatcher.executor.mirror
        if mirror is not None:  # shown by a node that does not lead
            response.headers["Luigi-HA-Mirror-Age"] = f"{mirror.age:.3f}"
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


def _plain(reply: Reply) -> web.Response:
    headers = {"Content-Type": JSON}
    if reply.retry_after is not None:
        headers["Retry-After"] = str(reply.retry_after)
    return web.Response(status=reply.status, body=reply.body, headers=headers)


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(status=status, body=wire.encode_value(value).encode("ascii"), headers={"Content-Type": JSON})


def _refused(refusal: Refusal) -> web.Response:
    response = _plain(refusal.reply())
    response.headers.update(refusal.headers)
    return response


def _not_allowed(request: web.BaseRequest, allowed: str) -> MethodNotAllowed:
    return MethodNotAllowed(f"{request.method} is not allowed here", where=request.path, expected=allowed)
