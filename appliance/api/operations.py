"""What a node tells about itself and its tasks, besides what its engine answers."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Operations:
    """What the node tells about itself and its tasks. `history` and `why` raise KeyError for an unknown task,
    `incident` for a number that has none (1: the last)."""

    health: Callable[[], JsonObject]
    cluster: Callable[[], Awaitable[JsonObject]]
    history: Callable[[str, int], Awaitable[list[JsonObject]]]
    why: Callable[[str], Awaitable[JsonObject]]
    failovers: Callable[[int], Awaitable[list[JsonObject]]]
    incident: Callable[[int], Awaitable[JsonObject]]
