"""Luigi's wire format: a form field `data` holding a JSON object, and `{"response": ...}` back.

JSON here is Python's: Infinity, NaN, escaped NULs and lone surrogates travel both ways. What is decoded is a dict of
keyword arguments, nested at most MAX_DEPTH deep so that nothing later can run out of stack.

Replies are byte for byte luigid's (tornado writes `</` as `<\\/`).
"""

import json
import re
from typing import Any
from urllib.parse import parse_qs

from luigi_ha.appliance.api.errors import BadRequest

MAX_DEPTH = 100
MOST_PARTS = 64  # of a multipart form
LONGEST_PART_HEAD = 1_000  # bytes
_BOUNDARY = re.compile(r'(?i)boundary=(?:"([^"]{1,70})"|([^\s;,"]{1,70}))')
_NAMED_DATA = re.compile(rb'(?i)content-disposition:[^\r\n]*;[ \t]*name="?data"?[ \t]*(?:;|\r|$)')
_BARE = re.compile(rb"%(?![0-9a-fA-F]{2})")
_EXPECTED_FORM = "application/x-www-form-urlencoded with one field: data=<JSON object of the method's arguments>"
_EXPECTED_OBJECT = 'a JSON object of the method\'s arguments, such as {"task_id": "..."}'

_encode = json.JSONEncoder().encode
_scan = json.JSONDecoder().raw_decode


def unescaped(value: bytes) -> bytes:
    """The bytes of one urlencoded value. A percent sign that is no escape is kept as it stands, as on all the web."""
    value = value.replace(b"+", b" ")
    if b"\\" in value:  # never raw in what a client encoded
        value = value.replace(b"\\", b"%5C")
    try:
        # Ten times quicker than urllib's, in C: each %XX becomes \\xXX.
        return value.replace(b"%", b"\\x").decode("unicode_escape").encode("latin-1")
    except ValueError:
        return _BARE.sub(b"%25", value).replace(b"%", b"\\x").decode("unicode_escape").encode("latin-1")


def unquote_form(value: bytes) -> str:
    """The text of one urlencoded value; BadRequest if it is not UTF-8."""
    try:
        return unescaped(value).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest(f"not UTF-8: {error.reason}", where="data", expected="percent-encoded UTF-8") from error


def escaped(text: str) -> bytes:
    """A value for a form: only what would be understood differently is escaped, in C, for it may be long."""
    value = text.encode("utf-8").replace(b"%", b"%25").replace(b"&", b"%26").replace(b"+", b"%2B")
    return value.replace(b" ", b"+").replace(b"\\", b"%5C")


def form_value(body: bytes) -> bytes | None:
    """The value, as it is encoded, of the last field `data` of a large form; None if it has none."""
    if body.startswith(b"data=") and b"&" not in body:
        return body[5:]
    fields = [part for part in body.split(b"&", 16) if part.startswith(b"data=")]
    return fields[-1][5:] if fields else None


def form_data(body: bytes) -> str | None:
    """The text of the (last) field `data` of an urlencoded form or query; None if it has none."""
    if body.startswith(b"data=") and b"&" not in body:
        return unquote_form(body[5:])
    try:
        found = parse_qs(body, keep_blank_values=True, max_num_fields=64).get(b"data")
    except ValueError as error:
        raise BadRequest("too many fields", where="body", expected=_EXPECTED_FORM) from error
    if found is None:
        return None
    try:
        return found[-1].decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest(f"not UTF-8: {error.reason}", where="data", expected="percent-encoded UTF-8") from error


def multipart_data(content_type: str, body: bytes) -> str | None:
    """Return the field `data` of a multipart form, as `curl -F` sends it; None if it has none. Nothing is nested."""
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise BadRequest("a multipart form without a boundary", where="Content-Type", expected=_EXPECTED_FORM)
    boundary = b"--" + (found[1] or found[2]).encode("latin-1", "replace")
    for part in (b"\r\n" + body).split(b"\r\n" + boundary, MOST_PARTS)[1:]:
        head, blank, value = part.partition(b"\r\n\r\n")
        if blank and len(head) <= LONGEST_PART_HEAD and _NAMED_DATA.search(head):
            try:
                return value.decode("utf-8")
            except UnicodeDecodeError as error:
                raise BadRequest(f"not UTF-8: {error.reason}", where="data", expected="UTF-8") from error
    return None


def wrong_body(content_type: str) -> BadRequest:
    """The refusal for a POST whose body is no form."""
    return BadRequest(f"a body of type {content_type or 'unknown'}", where="Content-Type", expected=_EXPECTED_FORM)


def decode_arguments(text: str) -> dict[str, Any]:
    """The keyword arguments in `data`."""
    try:
        # An object is all there is, or else the general way: it allows white space, and words its errors.
        arguments, end = _scan(text) if text.startswith("{") else (None, -1)
        if end != len(text):
            arguments = json.loads(text)
    except ValueError as error:
        raise BadRequest(f"not JSON: {error}", where="data", expected=_EXPECTED_OBJECT) from error
    except RecursionError as error:
        raise too_deep("data") from error
    if type(arguments) is not dict:
        kind = type(arguments).__name__
        raise BadRequest(f"JSON, but a {kind}, not an object", where="data", expected=_EXPECTED_OBJECT)
    check_depth(text, arguments, "data")
    return arguments


def check_depth(text: str, value: Any, where: str, most: int = MAX_DEPTH) -> None:
    """BadRequest if the value, which `text` says, is nested too deep."""
    if text.count("[") + text.count("{") > most and _depth(value) > most:
        raise too_deep(where)


def encode_value(value: Any) -> str:
    """JSON as luigid writes it."""
    text = _encode(value)
    return text.replace("</", "<\\/") if "</" in text else text


def encode_response(value: Any) -> bytes:
    """A good call's body."""
    return b'{"response": %b}' % encode_value(value).encode("ascii")


NULL_RESPONSE = encode_response(None)


def too_deep(where: str) -> BadRequest:
    """The refusal for what is nested too deep."""
    return BadRequest("nested too deep", where=where, expected=f"at most {MAX_DEPTH} levels of lists and objects")


def _depth(value: Any) -> int:
    """Levels of nesting, without recursion."""
    depth, level = 0, [value]
    while level:
        depth += 1
        inner = []
        for item in level:
            if type(item) is dict:
                inner += [v for v in item.values() if type(v) in (dict, list)]
            elif type(item) is list:
                inner += [v for v in item if type(v) in (dict, list)]
        level = inner
    return depth
