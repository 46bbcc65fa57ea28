"""Text that databases refuse, kept anyway.

Python strings may hold NUL and lone surrogates (JSON can say both); PostgreSQL and UTF-8 can not. Such a string is
stored as a marker, U+E000, and its JSON text. A string that itself starts with the marker is stored in the same way, so
reading is unambiguous: what starts with the marker is JSON, all else is as it was. Ordinary text stays readable.

JSON is Python's dialect: ASCII only, `Infinity` and `NaN` allowed. It is exact for every value json.loads can return.
"""

import json
from collections.abc import Callable
from typing import Any, overload

from luigi_ha.appliance.engine.changes import JsonText

MARKER = "\ue000"

loads = json.loads


def _make_dumps() -> Callable[[Any], str]:
    encoder = json.JSONEncoder(separators=(",", ":"), check_circular=False)
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return encoder.encode
    # What encoder.encode does, without making the C encoder anew for each value: a third cheaper.
    chunks = make(None, encoder.default, json.encoder.encode_basestring_ascii, None, ":", ",", False, False, True)
    join = "".join
    return lambda value: join(chunks(value, 0))


dumps = _make_dumps()


def to_json(value: Any) -> JsonText:
    """JSON as ASCII text."""
    return JsonText(dumps(value))


@overload
def escape(text: str) -> str: ...
@overload
def escape(text: None) -> None: ...
def escape(text: str | None) -> str | None:
    """What to store for `text`; equal strings give equal results, different ones different results."""
    if text is None or (text.isascii() and "\0" not in text):
        return text
    if text[0] != MARKER and "\0" not in text:
        try:
            text.encode()
        except UnicodeEncodeError:
            return MARKER + dumps(text)
        return text
    return MARKER + dumps(text)


@overload
def unescape(text: str) -> str: ...
@overload
def unescape(text: None) -> None: ...
def unescape(text: str | None) -> str | None:
    """The string that `escape` was given."""
    if text and text[0] == MARKER:
        original: str = loads(text[1:])
        return original
    return text
