"""The fast lane: a plain `POST /api/<method>` form, answered without a framework, a task or a timer.

An add_task through a full HTTP framework costs about 140 us of processor time, of which the scheduler needs 30. What
luigi's clients send is always the same shape, so a connection starts here; its first request that is anything else
(another method or path, chunked, HTTP/1.0, malformed, a large body) moves the whole connection over to aiohttp, with
every byte it has sent. That is for good: a connection never comes back.

Invariant: whatever is answered here would have been understood in the same way by aiohttp. In doubt, move over.

Request heads repeat, byte for byte, for as long as a client lives: their parsed form is cached.
"""

import asyncio
import re
from collections.abc import Callable
from email.utils import formatdate
from functools import lru_cache
from typing import NamedTuple, cast

from appliance import clock
from appliance.api import wire
from appliance.api.access_tokens import Credential
from appliance.api.calls import MAX_KEY, Admit, Call, Terms
from appliance.api.dispatch import Dispatcher
from appliance.api.errors import CHALLENGE, NotReady, Refusal, Reply
from appliance.api.executor import METHODS
from appliance.clock import monotonic
from appliance.engine import SLICED_VIEWS

MAX_HEAD = 16_384  # bytes; aiohttp refuses longer ones with words of its own
MAX_FAST_BODY = 1 << 20  # bytes; larger ones are read by aiohttp, which minds the limit
_CACHED_HEAD = 2_048
_PAUSE_READING = 1 << 16  # bytes a client may send ahead of its replies
_REQUEST_LINE = re.compile(rb"POST /api/([a-z_]{1,64}) HTTP/1\.1\r\n")
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t\x20-\x7e]*)")
RELAYED = b"luigi-ha-relayed"
_DIGITS = re.compile(rb"[0-9]{1,9}")
_FORM = b"application/x-www-form-urlencoded"
_MOVES_OVER = frozenset({b"transfer-encoding", b"expect", b"upgrade", b"content-encoding", b"origin"})
_STOCK_AGENTS = (b"python-requests/", b"python-urllib/")
REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    413: "Content Too Large",
    421: "Misdirected Request",
    422: "Unprocessable Content",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class Head(NamedTuple):
    """What matters of a request's head."""

    method: str
    length: int
    close: bool  # the connection ends with the reply: the client asked, or is a stock client
    terms: Terms


def is_stock_agent(agent: str) -> bool:
    """Whether this User-Agent is luigi's own client: it must not keep a pooled socket to a node that may die."""
    return agent.lower().encode("ascii", "replace").startswith(_STOCK_AGENTS)


def parse_head(head: bytes) -> Head | None:
    """The head of a request that belongs in the fast lane (without the empty line); None: move over."""
    line = _REQUEST_LINE.match(head)
    method = "" if line is None else line[1].decode("ascii")
    if line is None or method not in METHODS or method in SLICED_VIEWS:
        return None
    fields = _fields(head[line.end() :])
    if fields is None or not _MOVES_OVER.isdisjoint(fields):
        return None
    length, connection = fields.get(b"content-length", b""), fields.get(b"connection", b"keep-alive").lower()
    form = fields.get(b"content-type", b"").split(b";")[0].strip().lower() == _FORM
    if not form or b"host" not in fields or _DIGITS.fullmatch(length) is None or int(length) > MAX_FAST_BODY:
        return None
    if connection not in (b"close", b"keep-alive"):
        return None
    close = connection == b"close" or fields.get(b"user-agent", b"").lower().startswith(_STOCK_AGENTS)
    key, left = fields.get(b"idempotency-key"), fields.get(RELAYED, b"")
    if key is not None and (not 0 < len(key) <= MAX_KEY or b"\t" in key):
        return None
    terms = Terms(
        None if key is None else key.decode("ascii"),
        int(left) if _DIGITS.fullmatch(left) else None,
        Credential(fields.get(b"authorization", b"")),
    )
    return Head(method, int(length), close, terms)


def _fields(lines: bytes) -> dict[bytes, bytes] | None:
    """Header fields by lower-case name; None if one is malformed or comes twice."""
    fields: dict[bytes, bytes] = {}
    for text in lines.split(b"\r\n"):
        field = _FIELD.fullmatch(text)
        if field is None:
            return None
        name = field[1].lower()
        if name in fields:
            return None
        fields[name] = field[2].strip()
    return fields


_cached_head = lru_cache(maxsize=4096)(parse_head)


class ReplyHead:
    """The beginnings of replies, with a Date that is renewed once a second."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._second = 0
        self._heads: dict[tuple[int, bool], bytes] = {}

    def __call__(self, status: int, close: bool) -> bytes:
        second = int(clock.wall())
        if second != self._second:
            self._second = second
            self._heads.clear()
        head = self._heads.get((status, close))
        if head is None:
            connection = "Connection: close\r\n" if close else ""
            challenge = f"WWW-Authenticate: {CHALLENGE}\r\n" if status == 401 else ""
            head = self._heads[status, close] = (
                f"HTTP/1.1 {status} {REASONS.get(status, 'Error')}\r\n"
                "Content-Type: application/json; charset=UTF-8\r\n"
                f"Date: {formatdate(second, usegmt=True)}\r\n"
                f"Server: {self._server}\r\n{challenge}{connection}Content-Length: "
            ).encode("ascii")
        return head


class FastLane(asyncio.Protocol):
    """One connection, until it moves over. It is its own `Caller`: one call at a time."""

    __slots__ = (
        "_admit",
        "_buffer",
        "_busy",
        "_close",
        "_connections",
        "_dispatcher",
        "_heads",
        "_other_lane",
        "_transport",
        "served",
        "used",
    )

    def __init__(
        self,
        dispatcher: Dispatcher,
        heads: ReplyHead,
        connections: "set[FastLane]",
        other_lane: Callable[[], asyncio.Protocol],
        admit: Admit,
    ) -> None:
        self._dispatcher = dispatcher
        self._admit = admit
        self._heads = heads
        self._connections = connections
        self._other_lane = other_lane
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._busy = False
        self._close = False
        self.used = 0.0  # monotonic time of the last sign of life
        self.served = False  # whether a request has been answered: if not, one may be on its way

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._connections.add(self)
        self.used = monotonic()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._transport = None
        self._buffer = b""
        self._connections.discard(self)

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if self._busy:
            if len(self._buffer) > _PAUSE_READING and self._transport is not None:
                self._transport.pause_reading()
            return
        self._next()

    def _next(self) -> None:
        """Take the next request out of the buffer, if it is complete."""
        data = self._buffer
        end = data.find(b"\r\n\r\n")
        if end < 0:
            # Even what is not ours stays here until its head is whole: idle connections are closed here.
            if len(data) > MAX_HEAD:
                self._move_over()
            return
        raw = data[:end]
        head = _cached_head(raw) if end <= _CACHED_HEAD else parse_head(raw)
        if head is None:
            self._move_over()
            return
        stop = end + 4 + head.length
        if len(data) < stop:
            return
        self._buffer = data[stop:] if len(data) > stop else b""
        self._busy = True
        self._close = head.close
        self.used = arrived = monotonic()
        terms = head.terms
        try:
            actor = self._admit("POST", f"/api/{head.method}", terms.authorization)
            text = wire.form_data(data[end + 4 : stop])
        except NotReady:  # the other lane can wait
            self._buffer, self._busy = data, False
            self._move_over()
            return
        except Refusal as refusal:
            self._dispatcher.metrics.call(head.method, refusal.status, 0.0)
            self.answer(refusal.reply())
            return
        if actor is not None:
            terms = terms._replace(actor=actor)
        self._dispatcher.submit(Call(head.method, "{}" if text is None else text, self, arrived, terms))

    def _move_over(self) -> None:
        transport, data = self._transport, self._buffer
        self._connections.discard(self)
        self._transport = None
        self._buffer = b""
        if transport is None or transport.is_closing():
            return
        lane = self._other_lane()
        transport.set_protocol(lane)
        lane.connection_made(transport)
        if data:
            lane.data_received(data)

    # -- Caller ------------------------------------------------------------------------------------------------

    def gone(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def answer(self, reply: Reply) -> None:
        transport = self._transport
        self._busy = False
        self.served = True
        if transport is None or transport.is_closing():
            return
        head = self._heads(reply.status, self._close)
        if reply.retry_after is None:
            transport.write(b"%b%d\r\n\r\n%b" % (head, len(reply.body), reply.body))
        else:
            after = b"%d\r\nRetry-After: %d" % (len(reply.body), reply.retry_after)
            transport.write(b"%b%b\r\n\r\n%b" % (head, after, reply.body))
        if self._close:
            transport.close()
        elif self._buffer:
            # Not at once: a client that sends many requests ahead must not hold the loop, nor deepen the stack.
            asyncio.get_running_loop().call_soon(self._resume)

    def _resume(self) -> None:
        if self._transport is not None and not self._busy and self._buffer:
            if len(self._buffer) <= _PAUSE_READING:
                self._transport.resume_reading()
            self._next()

    # -- for the server ----------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a call of this connection is being done or waits."""
        return self._busy

    def shut(self, reply: Reply | None = None) -> None:
        """Close when idle (or at once with this reply, if a call waits); otherwise after the reply."""
        if self._transport is None:
            return
        self._close = True
        if not self._busy:
            self._transport.close()
        elif reply is not None:
            self.answer(reply)
