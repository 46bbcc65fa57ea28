"""Checks of what callers send, made before anything changes.

Each failure says what is wrong and what would be right.
"""

import difflib
import json
import math
from collections.abc import Iterable, Sized
from typing import Any

from luigi_ha.appliance.engine.errors import BadArgument
from luigi_ha.appliance.engine.model import STATUSES, RetryPolicy

MAX_DEPS = 1_000_000
MAX_ENTRIES = 10_000  # of a list or an object in an argument, where nothing else is said
MAX_NAMES = 1_000  # of resources, owners, a worker's description: what is looked at again and again
MAX_ID_CHARS = 500  # of a task id, worker id, family, …: the databases' index limits
LARGEST = 1e300
_ABSENT = (None, None, None)  # what workers send where a task has no policy of its own


def text(argument: str, value: Any, *, empty: bool = True) -> str:
    """A string that fits into an indexed column."""
    if type(value) is str and 0 < len(value) <= MAX_ID_CHARS:
        return value
    if not isinstance(value, str):
        raise BadArgument(argument, f"is {_kind(value)}", "a string")
    if not value and not empty:
        raise BadArgument(argument, "is empty", "a string that is not")
    if len(value) > MAX_ID_CHARS:
        raise BadArgument(argument, f"has {len(value)} characters", f"at most {MAX_ID_CHARS}")
    return value


def worker(value: Any) -> str:
    """A worker's id. Those that begin with "@" are the scheduler's own."""
    worker_id = text("worker", value)
    if worker_id[:1] == "@":
        raise BadArgument("worker", f"is {worker_id!r}"[:80], 'an id that does not begin with "@"')
    return worker_id


def optional_text(argument: str, value: Any) -> str | None:
    """A string that fits, or None."""
    return None if value is None else text(argument, value)


def long_text(argument: str, value: Any) -> str | None:
    """A string of any length, or None."""
    if value is not None and not isinstance(value, str):
        raise BadArgument(argument, f"is {_kind(value)}", "a string or null")
    return value


class CheckedIds(tuple[str, ...]):
    """Task ids that have been checked already, without repetitions."""

    __slots__ = ()


def ids(
    argument: str, value: Any, *, empty: bool = True, what: str = "task ids", most: int = MAX_DEPS
) -> tuple[str, ...] | None:
    """A list of task ids, or of `what`, without repetitions, or None. `empty`: whether one of them may be."""
    if value is None or type(value) is CheckedIds:
        return value
    if type(value) is not list and (isinstance(value, (str, dict)) or not isinstance(value, Iterable)):
        raise BadArgument(argument, f"is {_kind(value)}", f"a list of {what}")
    if not value:
        return ()
    if isinstance(value, Sized) and len(value) > most:
        few(argument, value, most)
    for item in value:
        text(argument, item, empty=empty)
    return (value[0],) if type(value) is list and len(value) == 1 else tuple(dict.fromkeys(value))


def few(argument: str, value: Sized, most: int) -> None:
    """BadArgument if a list or an object has more than so many entries."""
    if len(value) > most:
        raise BadArgument(argument, f"has {len(value)} entries", f"at most {most}")


def mapping(argument: str, value: Any) -> dict[str, Any]:
    """An object; None is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadArgument(argument, f"is {_kind(value)}", "an object")
    if len(value) > MAX_ENTRIES:
        few(argument, value, MAX_ENTRIES)
    for key in value:
        if not isinstance(key, str):
            raise BadArgument(argument, f"has the name {key!r}", "names that are strings")
    return value


def number(argument: str, value: Any) -> float:
    """A number that can be compared: not NaN, and no whole number beyond what a float holds."""
    if type(value) is int and -LARGEST <= value <= LARGEST:
        return value
    if not isinstance(value, (int, float)) or is_too_large(value) or math.isnan(value):
        raise BadArgument(argument, f"is {value!r}"[:80], "a number")
    return value


def is_too_large(value: float) -> bool:
    """Whether this is a whole number beyond what a float holds: JSON may have such."""
    return isinstance(value, int) and not -LARGEST <= value <= LARGEST


def whole(argument: str, value: Any, *, least: int) -> int:
    """A whole number that is not less."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise BadArgument(argument, f"is {value!r}"[:80], f"a whole number, {least} or more")
    return value


def listed(argument: str, value: Any) -> list[Any]:
    """A list."""
    if not isinstance(value, (list, tuple)):
        raise BadArgument(argument, f"is {_kind(value)}", "a list")
    few(argument, value, MAX_ENTRIES)
    return list(value)


def described(argument: str, value: Any, known: frozenset[str], required: tuple[str, ...]) -> dict[str, Any]:
    """An object with these fields and no others."""
    if not isinstance(value, dict):
        raise BadArgument(argument, f"is {_kind(value)}", "an object")
    for name in required:
        if name not in value:
            raise BadArgument(f"{argument}.{name}", "is missing", f"an object with {', '.join(required)}")
    for name in value:
        if name not in known:
            nearest = difflib.get_close_matches(str(name), known, 1)
            meant = f"{nearest[0]}, perhaps; there are " if nearest else ""
            raise BadArgument(f"{argument}.{name}"[:80], "is no field", meant + ", ".join(sorted(known)))
    return value


def status(value: Any) -> str:
    """One of Luigi's status words."""
    found = STATUSES.get(value) if isinstance(value, str) else None
    if found is None:
        raise BadArgument("status", f"is {value!r}", "one of " + ", ".join(STATUSES))
    return found


def retry_policy(value: Any, default: RetryPolicy, argument: str = "retry_policy_dict") -> RetryPolicy:
    """A task's retry policy: the fields given, the scheduler's for the rest."""
    if not value or (type(value) is dict and len(value) == 3 and tuple(value.values()) == _ABSENT):
        return default
    given = {name: part for name, part in mapping(argument, value).items() if part is not None}
    if not given:
        return default
    unknown = sorted(set(given) - set(RetryPolicy._fields))
    if unknown:
        raise BadArgument(argument, f"has {', '.join(unknown)}", "only " + ", ".join(RetryPolicy._fields))
    return default._replace(**{name: number(f"{argument}.{name}", part) for name, part in given.items()})


def _kind(value: Any) -> str:
    return "null" if value is None else f"{type(value).__name__} {value!r}"[:80]


def parsed(text_: str) -> Any:
    """A kept JSON text as the value it stands for."""
    return json.loads(text_)
