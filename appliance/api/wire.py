"""Luigi's wire format: a form field `data` holding a JSON object, and `{"response": ...}` back.

JSON here is Python's: Infinity, NaN, escaped NULs and lone surrogates travel both ways. What is decoded is a dict of
keyword arguments, nested at most MAX_DEPTH deep so that nothing later can run out of stack.

Replies are byte for byte luigid's (tornado writes `</` as `<\\/`).
"""

import json
from typing import Any
from urllib.parse import parse_qs, unquote_to_bytes

from appliance.api.errors import BadRequest

MAX_DEPTH = 100
_LARGE = 1 << 20  # bytes; parse_qs on more than this would cost seconds and a hundred times the memory
_EXPECTED_FORM = "application/x-www-form-urlencoded with one field: data=<JSON object of the method's arguments>"
_EXPECTED_OBJECT = 'a JSON object of the method\'s arguments, such as {"task_id": "..."}'

_encode = json.JSONEncoder().encode
_scan = json.JSONDecoder().raw_decode


def unquote_form(value: bytes) -> str:
    """The text of one urlencoded value; BadRequest if it is not UTF-8."""
    value = value.replace(b"+", b" ")
    text = None
    if b"\\" not in value:  # never raw in what a client encoded
        try:  # noqa: SIM105 - suppress() costs as much as the whole decoding
            # Ten times quicker than urllib's, in C: each %XX becomes \\xXX.
            text = value.replace(b"%", b"\\x").decode("unicode_escape")
        except ValueError:
            pass
    if text is None:  # a percent sign that is no escape is kept as it stands, as everywhere on the web
        text = unquote_to_bytes(value).decode("latin-1")
    if text.isascii():
        return text
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest(f"not UTF-8: {error.reason}", where="data", expected="percent-encoded UTF-8") from error


def form_data(body: bytes) -> str | None:
    """The text of the (last) field `data` of an urlencoded form or query; None if it has none."""
    if body.startswith(b"data=") and b"&" not in body:
        return unquote_form(body[5:])
    if len(body) > _LARGE:
        fields = [part for part in body.split(b"&", 16) if part.startswith(b"data=")]
        return unquote_form(fields[-1][5:]) if fields else None
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


def check_depth(text: str, value: Any, where: str) -> None:
    """BadRequest if the value, which `text` says, is nested too deep."""
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
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
