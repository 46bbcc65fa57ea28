"""What the objects of the REST API are built of, as JSON Schema, and their bounds."""

from typing import Any

from luigi_ha.appliance.api.rest.schema import Schema

MOST_TASKS = 10_000  # of one call: the scheduler does nothing else meanwhile (50,000 and more a second)
MOST_REPORTS = 1_000
MOST_HELD = 2_000
MOST_DEPS = 1_000_000
LONGEST_ID = 500
LONGEST_ERROR = 1_000_000
LONGEST_MESSAGE = 100_000
LONGEST_OUTPUT = 65_536
LONGEST_WAIT = 30.0  # s
LARGEST = 1e300
STATUSES = ("PENDING", "RUNNING", "BATCH_RUNNING", "DONE", "FAILED", "DISABLED", "UNKNOWN")


def request_object(required: tuple[str, ...] = (), /, **properties: Schema) -> dict[str, Any]:
    """Of a request: nothing else may be in it."""
    schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    return schema | ({"required": list(required)} if required else {})


def reply_object(**properties: Schema) -> dict[str, Any]:
    """Of a reply: all of it is always there; a later version may say more."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def text(description: str = "", most: int = LONGEST_ID, least: int = 0) -> dict[str, Any]:
    """A string."""
    schema: dict[str, Any] = {"type": "string", "maxLength": most}
    if least:
        schema["minLength"] = least
    return schema | ({"description": description} if description else {})


def listed(items: Schema, most: int | None = None, description: str = "") -> dict[str, Any]:
    """A list."""
    schema: dict[str, Any] = {"type": "array", "items": items}
    if most is not None:
        schema["maxItems"] = most
    return schema | ({"description": description} if description else {})


def mapped(values: Schema, description: str) -> dict[str, Any]:
    """An object with any names."""
    return {"type": "object", "additionalProperties": values, "description": description}


def number(description: str, least: float = -LARGEST, most: float = LARGEST) -> dict[str, Any]:
    """A number in a request."""
    return {"type": "number", "minimum": least, "maximum": most, "description": description}


def integer(description: str, least: int, most: int) -> dict[str, Any]:
    """A whole number in a request."""
    return {"type": "integer", "minimum": least, "maximum": most, "description": description}


def nullable(schema: Schema) -> dict[str, Any]:
    """The same, or null."""
    return {**schema, "type": [schema["type"], "null"]}


def shown(kind: str | list[str], description: str = "") -> dict[str, Any]:
    """In a reply."""
    return {"type": kind} | ({"description": description} if description else {})
