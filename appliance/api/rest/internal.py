"""The calls behind the REST API's paths, when another node passes them on by their own names.

    POST /api/rest_tasks, with the relay's mark        is GET /api/task, asked of a node that does not lead

Anybody can write that mark, so what comes is checked by the same table as at the paths themselves.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

from luigi_ha.appliance.api.errors import BadRequest
from luigi_ha.appliance.api.rest.requests import PATH_PARAMETERS
from luigi_ha.appliance.api.rest.schema import Schema, check, describe, unknown
from luigi_ha.appliance.api.rest.table import ROUTES


class Arguments(NamedTuple):
    """What one call takes."""

    fields: Mapping[str, Schema]
    required: frozenset[str]


def checked(call: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of an internal call if each is as its path says; BadRequest."""
    takes = _arguments(call)
    for name, value in arguments.items():
        schema = takes.fields.get(name)
        if schema is None:
            raise unknown(name, list(takes.fields), call)
        check(schema, value, name)
    for name in takes.required:
        if name not in arguments:
            raise BadRequest("is missing", where=name, expected=describe(takes.fields[name]))
    return arguments


@cache
def _arguments(call: str) -> Arguments:
    """Of all paths that lead to this call: what any of them may say, and what each of them must."""
    fields: dict[str, Schema] = {}
    required: frozenset[str] | None = None
    for route in ROUTES:
        if route.call != call:
            continue
        body = route.body or {}
        in_path = {name: PATH_PARAMETERS[name] for name in route.parameters if name not in route.own}
        in_body = {name: schema for name, schema in body.get("properties", {}).items() if name not in route.own}
        fields |= {**in_path, **route.query, **in_body}
        must = frozenset(in_path) | (frozenset(body.get("required", ())) - frozenset(route.own))
        required = must if required is None else required & must
    return Arguments(fields, required or frozenset())
