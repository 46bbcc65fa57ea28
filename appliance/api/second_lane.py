"""aiohttp's connections: what its parser refuses is answered and logged as everything else is.

aiohttp answers what it cannot parse with a page of text, and logs it where nobody looks. Here it is a JSON body that
says what was wrong, and a line of the log; a defect of ours is one with its traceback.
"""

import asyncio
from typing import Any

from aiohttp import web

from luigi_ha.appliance import log
from luigi_ha.appliance.api.errors import BadRequest, Failed
from luigi_ha.appliance.api.hardening import API_HEADERS
from luigi_ha.appliance.api.traffic import Traffic

JSON = "application/json; charset=UTF-8"
READ_WITHIN = 30.0  # s in which a client reads something of what waits for it
_log = log.get("api")


class SecondLane(web.RequestHandler):
    """One connection."""

    __slots__ = ("_seldom",)

    def __init__(self, manager: "SecondLanes", seldom: log.Seldom, **options: Any) -> None:
        super().__init__(manager, loop=asyncio.get_running_loop(), **options)
        self._seldom = seldom

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what could not be parsed (4xx), or what failed inside (500)."""
        if status < 500:
            what = str(message or exc or "malformed").splitlines()[0][:200]
            self._seldom.warning("bad_request", "not HTTP", error=what)
            reply = BadRequest(what, where="request", expected="a well-formed HTTP/1.1 request").reply()
        else:
            where = f"{request.method[:20]} {request.path[:200]}"
            if exc is not None:
                _log.exception_of(exc, "request_failed", where=where, error=f"{type(exc).__name__}: {exc}"[:500])
            reply = Failed(
                f"failed inside the scheduler ({type(exc).__name__})",
                where=where,
                expected="an answer; please report the traceback in the scheduler's log",
            ).reply()
        response = web.Response(status=reply.status, body=reply.body, headers={"Content-Type": JSON, **API_HEADERS})
        response.force_close()
        return response


class SecondLanes(web.Server):
    """All connections in aiohttp's lane."""

    def __init__(self, handler: Any, traffic: Traffic, **options: Any) -> None:
        super().__init__(handler)
        self._options = options
        self._traffic = traffic
        self._seldom = log.Seldom(_log)
        self._unread: dict[asyncio.Transport, tuple[int, float]] = {}  # bytes left when it last read, and when

    def __call__(self) -> web.RequestHandler:
        return SecondLane(self, self._seldom, **self._options)

    @property
    def count(self) -> int:
        """Connections open now."""
        return len(self._connections)

    def close_unread(self, now: float) -> None:
        """Close those whose clients have read nothing for READ_WITHIN seconds."""
        before, self._unread = self._unread, {}
        for transport in list(self._connections.values()):
            size = transport.get_write_buffer_size()
            if not size:
                continue
            had, since = before.get(transport, (size + 1, now))
            if size < had:
                since = now
            if now - since > READ_WITHIN:
                self._traffic.slow_reader(size, now - since)
                transport.abort()
            else:
                self._unread[transport] = (size, since)


