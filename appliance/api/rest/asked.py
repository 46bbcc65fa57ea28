"""A request to the REST API that was found to be sound, and its answer."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from luigi_ha.appliance.api.calls import Terms

JSON = "application/json; charset=UTF-8"


class Asked(NamedTuple):
    """What is asked. `fields` are the arguments: of the path, the query and the body, checked."""

    call: str  # the engine's method, or the name of what the node itself tells
    fields: dict[str, Any]
    text: str | None  # the fields as JSON, if they are the body's and nothing else
    terms: Terms
    gone: Callable[[], bool]  # whether the client has gone


class Answer(NamedTuple):
    """What goes back."""

    status: int
    body: bytes = b""
    kind: str = JSON
    headers: Mapping[str, str] = {}
