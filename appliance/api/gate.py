"""The gate before the engine: while it is closed, calls wait, unexecuted.

One reason at a time keeps it closed; it says so to people in the 503 that a call gets when it waited too long.

The gate of a leader also closes by itself: from the moment its lease has run out, whatever paused this process
meanwhile, nothing passes. That is asked anew for each call.
"""

from collections.abc import Callable

from luigi_ha.appliance import clock

LEASE_OVER = "this node's lease has run out"


def _always() -> bool:
    return True


class Gate:
    """Open or closed, why, and since when. Event-loop thread only."""

    __slots__ = ("_closed", "_leads", "_listeners", "since")

    def __init__(self, reason: str) -> None:
        self._closed: str | None = reason  # None: open, as long as the lease holds
        self._leads: Callable[[], bool] = _always
        self.since = clock.wall()
        self._listeners: list[Callable[[], None]] = []

    @property
    def reason(self) -> str | None:
        """Why it is closed; None: it is open. The check at the point of effect."""
        if self._closed is not None:
            return self._closed
        return None if self._leads() else LEASE_OVER

    @property
    def is_open(self) -> bool:
        return self.reason is None

    def on_open(self, listener: Callable[[], None]) -> None:
        """Call `listener` each time the gate opens."""
        self._listeners.append(listener)

    def open(self, leads: Callable[[], bool] = _always) -> None:
        """Let calls pass for as long as `leads()` is true."""
        self._leads = leads
        if self._closed is not None:
            self._closed, self.since = None, clock.wall()
            for listener in self._listeners:
                listener()

    def close(self, reason: str) -> None:
        """Park what arrives from now on. A second reason replaces the first."""
        if self._closed is None:
            self.since = clock.wall()
        self._closed = reason
