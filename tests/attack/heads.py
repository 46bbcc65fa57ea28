"""Malformed, ambiguous and absurd requests: each is answered with a 4xx that has a JSON body, or closed."""

import random
from collections.abc import Iterator

_BODY = b"data=%7B%22worker%22%3A%20%22w%22%7D"
_FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"


def _post(path: bytes, *lines: bytes, body: bytes = _BODY) -> bytes:
    head = b"".join(line + b"\r\n" for line in lines)
    return b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\n%bContent-Length: %d\r\n%b\r\n%b" % (
        path, _FORM, len(body), head, body,
    )  # fmt: skip


def _get(target: bytes, *lines: bytes, version: bytes = b"HTTP/1.1", host: bytes = b"127.0.0.1") -> bytes:
    return b"GET %b %b\r\nHost: %b\r\n%b\r\n" % (target, version, host, b"".join(line + b"\r\n" for line in lines))


# Each must be refused with a 4xx.
REFUSED: dict[str, bytes] = {
    "two Authorization": _post(b"/api/ping", b"Authorization: Bearer a", b"Authorization: Bearer b"),
    "two Authorization, one empty": _post(b"/api/ping", b"Authorization: Bearer a", b"authorization:"),
    "two Host": _get(b"/api/is_paused", b"Host: other"),
    "two Idempotency-Key": _post(b"/api/ping", b"Idempotency-Key: a", b"Idempotency-Key: b"),
    "two Content-Type": _post(b"/api/ping", b"Content-Type: text/plain"),
    "two Content-Length": _post(b"/api/ping", b"Content-Length: 3"),
    "length and chunked": _post(b"/api/ping", b"Transfer-Encoding: chunked"),
    "two relay marks": _post(b"/api/ping", b"luigi-ha-relayed: 3", b"luigi-ha-relayed: 9"),
    "relay mark of no number": _post(b"/api/ping", b"luigi-ha-relayed: soon"),
    "relay mark of 5000 digits": _post(b"/api/ping", b"luigi-ha-relayed: " + b"9" * 5000),
    "relay mark of other digits": _post(b"/api/ping", "luigi-ha-relayed: ٣".encode()),
    "relay mark below zero": _post(b"/api/ping", b"luigi-ha-relayed: -1"),
    "target without a path": _get(b"api/is_paused"),
    "target of a query alone": _get(b"?data={}"),
    "asterisk": b"OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "target of an authority": b"CONNECT 127.0.0.1:8082 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "NUL in a static path": _get(b"/static/visualiser/%00index.html"),
    "line end in a static path": _get(b"/static/visualiser/%0d%0aX: y"),
    "static path of 30,000 characters": _get(b"/static/" + b"a" * 30_000),
    "static path of 300 characters": _get(b"/static/" + b"a" * 300),
    "static path out of its directory": _get(b"/static/%2e%2e/%2e%2e/etc/passwd"),
    "static path not UTF-8": _get(b"/static/%ff%fe"),
    "NUL in a task id": _get(b"/api/task/%00"),
    "task id not UTF-8": _get(b"/api/task/%ff"),
    "task id of 5000 characters": _get(b"/api/task/" + b"a" * 5000),
    "limit of 4400 digits": _get(b"/api/task?limit=" + b"9" * 4400),
    "after of 400 digits": _get(b"/api/task?after=" + b"9" * 400),
    "unknown query": _get(b"/api/task?nothing=1"),
    "query of 1000 fields": _get(b"/api/task?" + b"limit=1&" * 1000),
    "path of slashes": _get(b"/" + b"/" * 1000),
    "double slash": _get(b"//api/is_paused"),
    "dot segments": _get(b"/api/../api/nothing"),
    "backslash": _get(b"\\api\\ping"),
    "absolute target elsewhere": _get(b"http://elsewhere/nothing"),
    "absolute target with a broken port": _get(b"http://127.0.0.1:99999999/api/is_paused"),
    "absolute target with an open bracket": _get(b"http://[::1/api/is_paused"),
    "control character in a value": _get(b"/api/nothing", b"X: a\x01b"),
    "space before the colon": _get(b"/api/nothing", b"X : a"),
    "no colon": _get(b"/api/nothing", b"nothing"),
    "folded header": _get(b"/api/nothing", b"X: a\r\n b"),
    "header of 20,000 bytes": _get(b"/api/is_paused", b"X: " + b"a" * 20_000),
    "1,000 headers": _get(b"/api/is_paused", *(b"X-%d: a" % n for n in range(1_000))),
    "line of 70,000 bytes": _get(b"/api/is_paused?data=" + b"a" * 70_000),
    "length of no number": b"POST /api/ping HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: x\r\n\r\n",
    "length below zero": b"POST /api/ping HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
    "length with a sign": b"POST /api/ping HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: +3\r\n\r\nabc",
    "length of 30 digits": b"POST /api/ping HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\n",
    "chunk size of no number": _get(b"/api/nothing", b"Transfer-Encoding: chunked") + b"zz\r\n\r\n",
    "unknown coding": _post(b"/api/ping", b"Content-Encoding: nothing"),
    "gzip that is none": _post(b"/api/ping", b"Content-Encoding: gzip"),
    "method of symbols": b"@@@ /api/ping HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "HTTP/3.7": _get(b"/api/nothing", version=b"HTTP/3.7"),
    "no version": b"GET /api/nothing\r\n\r\n",
    "not HTTP": b"\x16\x03\x01\x00\x05hello\r\n\r\n",
    "foreign Host": _get(b"/api/is_paused", host=b"evil.example"),
    "Host of many colons": _get(b"/api/is_paused", host=b"127.0.0.1:80:90"),
    "Host with a user": _get(b"/api/is_paused", host=b"127.0.0.1@evil.example"),
    "empty Host": _get(b"/api/is_paused", host=b""),
    "Idempotency-Key of 300 characters": _post(b"/api/ping", b"Idempotency-Key: " + b"k" * 300),
    "empty Idempotency-Key": _post(b"/api/ping", b"Idempotency-Key:"),
    "internal name": _get(b"/api/rest_tasks?data={}"),
    "internal name by POST": _post(b"/api/rest_take"),
    "internal name with a mark and bad arguments": _post(
        b"/api/rest_tasks", b"luigi-ha-relayed: 5", body=b"data=%7B%22status%22%3A%20%5B%5D%7D"
    ),
    "body that is no form": _post(b"/api/ping", body=b"\xff\xfe"),
    "data that is not JSON": _post(b"/api/ping", body=b"data=%7B"),
    "100 fields": _post(b"/api/ping", body=b"&".join(b"a%d=1" % n for n in range(100))),
}

_PIECES = (
    b"\x00", b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b"%", b"%00", b"%zz", b"\xff", b"\xc3\x28", b"..", b"//",
    b"?", b"#", b"@", b"[", b"]", b"*", b"HTTP/9.9", b"9" * 40, b"-1", b"a" * 9000, b"chunked", b"Content-Length: 5",
    b"Host: x", b"Authorization: Basic !!!!", b"Expect: 100-continue", b"Upgrade: websocket\r\nConnection: upgrade",
    b"\x7f", b"\xe2\x80\xae",
)  # fmt: skip


def mutated(count: int, seed: int) -> Iterator[bytes]:
    """So many heads, each made of a sound or unsound one by a few random changes."""
    chance = random.Random(seed)
    whole = [_get(b"/api/is_paused"), _post(b"/api/ping"), _get(b"/health"), *REFUSED.values()]
    for _ in range(count):
        raw = bytearray(chance.choice(whole))
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(min(len(raw), 300) or 1)
            kind = chance.random()
            if kind < 0.6:
                raw[at:at] = chance.choice(_PIECES)
            elif kind < 0.8:
                del raw[at : at + chance.randint(1, 20)]
            else:
                raw[at] = chance.randrange(256)
        yield bytes(raw)
