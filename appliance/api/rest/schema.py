"""Checks of JSON values against schemas: the part of JSON Schema (2020-12) that the REST API is described with.

The same objects go into the OpenAPI document, so that what it says and what is refused cannot disagree. A failure
says where, what is wrong, and what would be right; of a name that nobody knows, which one was probably meant.

Understood: type, enum, pattern, minLength, maxLength, minimum, maximum, items, maxItems, properties, required,
additionalProperties, and anyOf whose alternatives differ in their type. Everything else only describes; what begins
with "x-" is ours.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from luigi_ha.appliance.api.errors import BadRequest

Schema = Mapping[str, Any]
ELSEWHERE = "x-more-items-are-checked-elsewhere"  # how many are checked here
_SHOWN = 60  # characters of a wrong value that are repeated
_MANY = 12  # names that are listed
_A = {
    "string": "a string",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


def check(schema: Schema, value: Any, where: str = "") -> None:
    """BadRequest if the value is not as the schema says."""
    kinds = _kinds(schema)
    kind = _kind(value)
    if "anyOf" in schema:
        for alternative in schema["anyOf"]:
            if _fits(kind, _kinds(alternative)):
                check(alternative, value, where)
                return
    elif not kinds or _fits(kind, kinds):
        if kind in _INSIDE and value is not None:
            _INSIDE[kind](schema, value, where)
        if "enum" in schema and value not in schema["enum"]:
            raise _wrong(value, schema, where)
        return
    raise _wrong(value, schema, where)


def describe(schema: Schema) -> str:
    """What is right, in words."""
    if "enum" in schema:
        return "one of " + ", ".join(str(word) for word in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(describe(alternative) for alternative in schema["anyOf"])
    words = [_of_kind(kind, schema) for kind in _kinds(schema)]
    return " or ".join(words) if words else "any JSON value"


def unknown(name: str, names: Sequence[str], where: str, *, what: str = "field") -> BadRequest:
    """The refusal for a name that means nothing here."""
    near = get_close_matches(name[:100], names, 1, 0.6)
    expected = near[0] if near else "one of " + ", ".join(names[:_MANY]) if names else f"no {what}s"
    return BadRequest(f"unknown {what} {_short(name)}", where=where, expected=expected)


# -- inside ------------------------------------------------------------------------------------------------------


def _kinds(schema: Schema) -> tuple[str, ...]:
    kinds = schema.get("type", ())
    return (kinds,) if isinstance(kinds, str) else tuple(kinds)


def _kind(value: Any) -> str:
    """The JSON type: "integer" for numbers without a fraction."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "integer" if isinstance(value, int) else "number"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"


def _fits(kind: str, kinds: Sequence[str]) -> bool:
    return not kinds or kind in kinds or (kind == "integer" and "number" in kinds)


def _check_string(schema: Schema, value: str, where: str) -> None:
    if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", math.inf):
        raise BadRequest(f"has {len(value)} characters", where=where, expected=describe(schema))
    if "pattern" in schema and _compiled(schema["pattern"]).search(value) is None:
        raise _wrong(value, schema, where)


def _check_number(schema: Schema, value: float, where: str) -> None:
    if not schema.get("minimum", -math.inf) <= value <= schema.get("maximum", math.inf):
        raise _wrong(value, schema, where)


def _check_array(schema: Schema, value: list[Any], where: str) -> None:
    if len(value) > schema.get("maxItems", math.inf):
        raise BadRequest(f"has {len(value)} entries", where=where, expected=describe(schema))
    items = schema.get("items")
    if items is not None and len(value) <= schema.get(ELSEWHERE, math.inf):
        for number, item in enumerate(value):
            check(items, item, f"{where}[{number}]")


def _check_object(schema: Schema, value: dict[str, Any], where: str) -> None:
    properties: Mapping[str, Schema] = schema.get("properties", {})
    rest = schema.get("additionalProperties", True)
    prefix = f"{where}." if where else ""
    for name, item in value.items():
        known = properties.get(name)
        if known is not None:
            check(known, item, prefix + name)
        elif rest is False:
            raise unknown(name, list(properties), prefix + _short(name, quoted=False))
        elif rest is not True:
            check(rest, item, prefix + _short(name, quoted=False))
    for name in schema.get("required", ()):
        if name not in value:
            raise BadRequest("is missing", where=prefix + name, expected=describe(properties[name]))


_INSIDE: Mapping[str, Callable[[Schema, Any, str], None]] = {
    "string": _check_string,
    "number": _check_number,
    "integer": _check_number,
    "array": _check_array,
    "object": _check_object,
}


def _of_kind(kind: str, schema: Schema) -> str:
    words = _A[kind]
    if kind == "string":
        least, most = schema.get("minLength", 0), schema.get("maxLength")
        if most is not None:
            words += f" of {f'{least} to' if least else 'at most'} {most} characters"
        if "pattern" in schema:
            words += schema.get("x-in-words", f" that matches {schema['pattern']}")
    elif kind in ("number", "integer") and "minimum" in schema:
        words += f" from {schema['minimum']} to {schema['maximum']}"
    elif kind == "array":
        words += f" of at most {schema['maxItems']}" if "maxItems" in schema else ""
        words += f", each {describe(schema['items'])}" if "items" in schema else ""
    return words


def _wrong(value: Any, schema: Schema, where: str) -> BadRequest:
    shown = _short(value) if isinstance(value, str) else _A[_kind(value)]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        shown = f"{value:.6g}" if isinstance(value, float) or abs(value) < 1 << 53 else "a number that is too large"
    return BadRequest(f"is {shown}", where=where or "body", expected=describe(schema))


def _short(text: str, *, quoted: bool = True) -> str:
    cut = text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
    return ascii(cut) if quoted or not cut.isprintable() else cut


@lru_cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern.replace("$", r"\Z"))  # Python's $ also matches before a line's end
