"""Every call a node knows, with each argument as something that it is not meant to be."""

import inspect
from collections.abc import Iterator
from typing import Any

from luigi_ha.appliance.api.rest.table import ROUTES, Route
from luigi_ha.appliance.engine import RPC_METHODS, Scheduler

HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, -(2**63), 2**64, 10**400, 0.5, -0.0, 1e308, float("inf"),
    float("-inf"), float("nan"), "", " ", "0", "x", "w", "A_1", "@submissions", "\x00", "\ud800", "\udcff\ud83d",
    "é" * 300, "x" * 500, "x" * 501, "x" * 5000,
    "../../etc/passwd", "<script>alert(1)</script>", "'; DROP TABLE luigi_task; --", "%00%0d%0a", "RUNNING", "nothing",
    [], [None], [[]], [1, "a"], ["A_1", "A_1"], ["x" * 501], [["a", 1], ["b"]], [{}] * 3,
    {}, {"": None}, {"a": {"b": []}}, {"x" * 501: 1}, {"data": "{}"}, {"__class__": "dict"},
)  # fmt: skip
SOUND: dict[str, Any] = {"worker": "w", "task_id": "A_1", "task": "A_1", "task_family": "A", "resource": "r"}


def names_of(method: str) -> list[str]:
    """What a call of Luigi's takes, and a name that none does."""
    parameters = inspect.signature(getattr(Scheduler, method)).parameters
    return [name for name in parameters if name != "self"] + ["worker", "task_id", "nothing_like_it"]


def luigi_calls() -> Iterator[tuple[str, dict[str, Any]]]:
    """Each of Luigi's calls with each hostile value in each argument, the others sound."""
    for method in sorted(RPC_METHODS):
        for name in dict.fromkeys(names_of(method)):
            sound = {known: value for known, value in SOUND.items() if known in names_of(method) and known != name}
            for value in HOSTILE:
                yield method, {**sound, name: value}


def rest_calls() -> Iterator[tuple[Route, dict[str, Any]]]:
    """The same for the paths of the REST API that take a body."""
    for route in ROUTES:
        properties = (route.body or {}).get("properties", {})
        for name in (*properties, "nothing_like_it") if properties else ():
            example = route.example if isinstance(route.example, dict) else {}
            for value in HOSTILE:
                yield route, {**example, name: value}
