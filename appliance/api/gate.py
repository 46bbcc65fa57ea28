"""The gate before the engine: while it is closed, calls wait, unexecuted.

One reason at a time keeps it closed; it says so to people in the 503 that a call gets when it waited too long.
"""

from collections.abc import Callable

from appliance import clock


class Gate:
    """Open or closed, why, and since when. Event-loop thread only."""

    __slots__ = ("_listeners", "reason", "since")

    def __init__(self, reason: str) -> None:
        self.reason: str | None = reason  # None: open
        self.since = clock.wall()
        self._listeners: list[Callable[[], None]] = []

    @property
    def is_open(self) -> bool:
        return self.reason is None

    def on_open(self, listener: Callable[[], None]) -> None:
        """Call `listener` each time the gate opens."""
        self._listeners.append(listener)

    def open(self) -> None:
        if self.reason is not None:
            self.reason, self.since = None, clock.wall()
            for listener in self._listeners:
                listener()

    def close(self, reason: str) -> None:
        """Park what arrives from now on. A second reason replaces the first."""
        if self.reason is None:
            self.since = clock.wall()
        self.reason = reason
