"""The heads of requests and replies in the fast lane.

Invariant: a head that is understood here would have been understood in the same way by aiohttp. In doubt: None.
"""

import re
from email.utils import formatdate
from functools import lru_cache
from typing import NamedTuple

from luigi_ha.appliance import clock
from luigi_ha.appliance.api.access_tokens import Credential
from luigi_ha.appliance.api.calls import MAX_KEY, Terms
from luigi_ha.appliance.api.errors import CHALLENGE
from luigi_ha.appliance.api.hardening import API_HEADERS
from luigi_ha.appliance.engine import RPC_METHODS, SLICED_VIEWS

MAX_HEAD = 16_384  # bytes; aiohttp refuses longer ones
MAX_FAST_BODY = 1 << 18  # bytes; larger ones are read by aiohttp, and decoded beside other calls
RELAYED = b"luigi-ha-relayed"
_CACHED_HEAD = 2_048
_REQUEST_LINE = re.compile(rb"POST /api/([a-z_]{1,64}) HTTP/1\.1\r\n")
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t\x20-\x7e]*)")
_DIGITS = re.compile(rb"[0-9]{1,9}")
_FORM = b"application/x-www-form-urlencoded"
_MOVES_OVER = frozenset(
    {b"transfer-encoding", b"expect", b"upgrade", b"content-encoding", b"origin", b"sec-fetch-site", b"referer"}
)
_OURS = RPC_METHODS - SLICED_VIEWS
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
    host: bytes
    terms: Terms


def is_stock_agent(agent: str) -> bool:
    """Whether this User-Agent is luigi's own client: it must not keep a pooled socket to a node that may die."""
    return agent.lower().encode("ascii", "replace").startswith(_STOCK_AGENTS)


def head_of(raw: bytes) -> Head | None:
    """Return the head of a request that belongs in the fast lane (without the empty line); None: move over.

    Heads repeat, byte for byte, for as long as a client lives: their parsed form is cached.
    """
    return _cached(raw) if len(raw) <= _CACHED_HEAD else _parse(raw)


def _parse(head: bytes) -> Head | None:
    line = _REQUEST_LINE.match(head)
    method = "" if line is None else line[1].decode("ascii")
    fields = None if line is None else _fields(head[line.end() :])
    if method not in _OURS or fields is None or not _MOVES_OVER.isdisjoint(fields) or b"host" not in fields:
        return None
    length, connection = fields.get(b"content-length", b""), fields.get(b"connection", b"keep-alive").lower()
    form = fields.get(b"content-type", b"").split(b";")[0].strip().lower() == _FORM
    if connection not in (b"close", b"keep-alive") or not form:
        return None
    if _DIGITS.fullmatch(length) is None or int(length) > MAX_FAST_BODY:
        return None
    close = connection == b"close" or fields.get(b"user-agent", b"").lower().startswith(_STOCK_AGENTS)
    key, left = fields.get(b"idempotency-key"), fields.get(RELAYED)
    bad_key = key is not None and (not 0 < len(key) <= MAX_KEY or b"\t" in key)
    if bad_key or (left is not None and _DIGITS.fullmatch(left) is None):
        return None
    terms = Terms(
        None if key is None else key.decode("ascii"),
        None if left is None else int(left),
        Credential(fields.get(b"authorization", b"")),
    )
    return Head(method, int(length), close, fields[b"host"], terms)


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


_cached = lru_cache(maxsize=4096)(_parse)


class ReplyHead:
    """The beginnings of replies, with a Date that is renewed once a second."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._second = 0
        self._heads: dict[tuple[int, bool], bytes] = {}
        self._hardening = "".join(f"{name}: {value}\r\n" for name, value in API_HEADERS.items())

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
                f"Server: {self._server}\r\n{self._hardening}{challenge}{connection}Content-Length: "
            ).encode("ascii")
        return head
