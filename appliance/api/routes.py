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

from luigi_ha.appliance import log
from luigi_ha.appliance.api import large_text, wire
from luigi_ha.appliance.api.access_browser import Browsers
from luigi_ha.appliance.api.access_roles import needed
from luigi_ha.appliance.api.access_tokens import Credential
from luigi_ha.appliance.api.body import read_body
from luigi_ha.appliance.api.calls import Admit, Call, FutureCaller, Terms, checked_key
from luigi_ha.appliance.api.checked_head import check_head, relayed_with
from luigi_ha.appliance.api.cors import Cors
from luigi_ha.appliance.api.dispatch import Dispatcher
from luigi_ha.appliance.api.errors import (
    CHALLENGE,
    BadRequest,
    MethodNotAllowed,
    NotFound,
    NotReady,
    Refusal,
    Reply,
    TooLarge,
)
from luigi_ha.appliance.api.executor import INTERNAL
from luigi_ha.appliance.api.files import as_text, page_of, static_file
from luigi_ha.appliance.api.hardening import API_HEADERS
from luigi_ha.appliance.api.heads import is_stock_agent
from luigi_ha.appliance.api.operations import Operations
from luigi_ha.appliance.api.rest import Rest
from luigi_ha.appliance.api.rest.internal import checked
from luigi_ha.appliance.api.traffic import FREE, FULL, Share, Traffic
from luigi_ha.appliance.api.views import Views
from luigi_ha.appliance.clock import monotonic
from luigi_ha.appliance.engine import RPC_METHODS, SLICED_VIEWS

JSON = "application/json; charset=UTF-8"
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
MONITORED = ("/health", "/ready", "/leader", "/standby", "/metrics")
GZIP_MAGIC = b"\x1f\x8b"
READY_EVERY = 0.02  # s between two attempts to say who calls, while a node starts
REPLY_TIMEOUT = 300.0  # s for a client to take a large reply
_HISTORY = "the command `luigi-ha history TASK_ID`, or GET /api/task/<TASK_ID>/history"
_log = log.get("api")


class Routes:
    """The handler of aiohttp's low-level server."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        operations: Operations,
        rest: Rest,
        cors: Cors,
        server: str,
        admit: Admit,
        browsers: Browsers,
        traffic: Traffic,
    ) -> None:
        self._dispatcher = dispatcher
        self._browsers = browsers
        self._traffic = traffic
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
            self._harden(response)
            if response.status == 401:  # also where the leader said so
                response.headers["WWW-Authenticate"] = CHALLENGE
            await self._send_large(request, response)
        return response

    def _harden(self, response: web.StreamResponse) -> None:
        """Say what every answer says."""
        response.headers["Server"] = self._server
        for name, value in API_HEADERS.items():
            response.headers.setdefault(name, value)

    async def _send_large(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        """Send a large body here, where its bytes are counted until the client has taken them."""
        body = response.body if isinstance(response, web.Response) else None
        if not isinstance(body, bytes) or len(body) <= FREE or request.method == "HEAD":
            return
        share = self._traffic.share()
        if not share.hold(len(body), known="Authorization" in request.headers):
            assert isinstance(response, web.Response)  # noqa: S101 - it has a body
            response.force_close()
            response.body = FULL.body
            response.set_status(FULL.status)
            return
        try:
            async with asyncio.timeout(REPLY_TIMEOUT):
                await response.prepare(request)
                await response.write_eof()
        except (ConnectionError, TimeoutError) as error:
            _log.debug("client_gone", path=request.path[:200], error=type(error).__name__)
            if request.transport is not None:
                request.transport.abort()
        finally:
            share.close()

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
        check_head(request, self._browsers)
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
            file = static_file(request.rel_url.raw_path.removeprefix("/static/"))
            script = as_text(file)
            if script is not None:
                return web.Response(body=script, headers={"Content-Type": "text/javascript; charset=UTF-8"})
            return web.FileResponse(file, headers=page_of(file))
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
                self._browsers.require_own_page(request.headers, needed(method, path))
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
            relayed = relayed_with(request)
            if name in RPC_METHODS or (name in INTERNAL and relayed is not None):
                if request.method not in ("GET", "POST"):
                    raise _not_allowed(request, "GET, POST")
                response = await self._call(request, name, arrived, terms._replace(left=relayed))
            elif self._rest.knows(request):
                response = await self._rest.answer(request, terms)
            else:
                expected = "one of " + ", ".join(sorted(RPC_METHODS)) + "; or a path of /api/docs"
                raise NotFound(f"no method {name[:100]!r}", where="/api/", expected=expected)
        except Refusal as refusal:
            if name in RPC_METHODS:
                self._dispatcher.metrics.call(name, refusal.status, monotonic() - arrived)
            raise
        if not response.prepared:
            response.headers.update(self._cors.headers(origin))
        return response

    async def _call(self, request: web.BaseRequest, name: str, arrived: float, terms: Terms) -> web.StreamResponse:
        share = self._traffic.share()
        try:
            return await self._called(request, name, arrived, terms, share)
        finally:
            share.close()

    async def _called(
        self, request: web.BaseRequest, name: str, arrived: float, terms: Terms, share: Share
    ) -> web.StreamResponse:
        data = await self._data(request, name, share, known=terms.actor is not None)
        caller = FutureCaller(lambda: request.transport is None or request.transport.is_closing())
        if name not in SLICED_VIEWS:
            arguments = checked(name, await large_text.arguments(data)) if name in INTERNAL else None
            self._dispatcher.submit(Call(name, data, caller, monotonic(), terms), arguments)
            return _plain(await caller.reply)
        compress = "gzip" in request.headers.get("Accept-Encoding", "")
        pieces = await self._views.fetch(name, data, caller, arrived, terms, compress=compress)
        if isinstance(pieces, Reply):
            return _plain(pieces)
        if not share.hold(sum(map(len, pieces)), known=terms.actor is not None):
            return _plain(FULL)
        response = web.StreamResponse(headers={"Content-Type": JSON})
        self._harden(response)
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

    async def _data(self, request: web.BaseRequest, name: str, share: Share, known: bool) -> str:
        """The `data` argument: of the form if it has one, else of the URL, else an empty object."""
        body = await read_body(request, self._dispatcher.limits.body_of(name), share, known)
        data = None
        if body:
            kind = request.content_type
            if kind == "application/x-www-form-urlencoded":
                data = await _form_text(body)
            elif kind == "multipart/form-data":
                if len(body) > large_text.LARGE:
                    what, most = f"a multipart form of {len(body)} bytes", large_text.LARGE
                    raise BadRequest(what, where="body", expected=f"at most {most}, or a form that is urlencoded")
                data = wire.multipart_data(request.headers["Content-Type"], body)
            else:
                raise wire.wrong_body(request.headers.get("Content-Type", ""))
        if data is None:
            query = request.rel_url.raw_query_string.encode("utf-8", "surrogateescape")
            data = wire.form_data(query) if query else None
        return "{}" if data is None else data


async def _form_text(body: bytes) -> str | None:
    """The text of the field `data`; a large one is decoded by and by."""
    if len(body) <= large_text.LARGE:
        return wire.form_data(body)
    value = wire.form_value(body)
    return None if value is None else await large_text.by_and_by(large_text.unquoted(value))


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
