"""What there is to do: tasks as `POST /api/tasks` takes them, in waves of layers that need one another."""

from collections.abc import Mapping
from typing import Any

from drills.fleet.tasks import MODULE, Step

FAMILY = f"{Step.task_namespace}.{Step.__name__}"
LAYER = 100  # tasks
AT_ONCE = 1000  # tasks of one call
Described = dict[str, Any]


def task(name: str, seconds: float, deps: tuple[str, ...] = ()) -> Described:
    """One task; `name` is its id, too."""
    return {
        "task_id": name, "family": FAMILY, "module": MODULE, "params": {"name": name, "seconds": str(seconds)},
        "deps": list(deps),
    }  # fmt: skip


def wave(lot: str, number: int, size: int, seconds: float) -> list[Described]:
    """`size` tasks in layers of 100. Each but those of the first layer needs three of the layer before."""
    found = []
    for n in range(size):
        layer, place = divmod(n, LAYER)
        needed = sorted({place, (place + 1) % LAYER, (place * 7 + 3) % LAYER}) if layer else []
        deps = tuple(_name(lot, number, layer - 1, one) for one in needed)
        found.append(task(_name(lot, number, layer, place), seconds, deps))
    return found


def needs(tasks: list[Described]) -> Mapping[str, tuple[str, ...]]:
    """By task: what must be over before it begins."""
    return {one["task_id"]: tuple(one["deps"]) for one in tasks}


def _name(lot: str, number: int, layer: int, place: int) -> str:
    return f"{lot}_{number}_{layer}_{place}"
