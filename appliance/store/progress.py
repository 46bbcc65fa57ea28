"""Whether a thread that talks to a database gets on: what a watchdog asks.

Invariant: `stuck_for` is 0 while the thread has nothing to do, or is in a call that ends by itself and has not
outlived its time. Otherwise it is the time since the thread was last seen between two steps.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from luigi_ha.appliance import clock


class Progress:
    """Written by the watched thread, read by any. Fields are written in an order that never looks stuck in between."""

    def __init__(self) -> None:
        self._seen = clock.monotonic()
        self._idle = False
        self._call_ends = 0.0

    def step(self) -> None:
        """The thread is here."""
        self._seen = clock.monotonic()

    @contextmanager
    def idle(self) -> Iterator[None]:
        """The block waits for something to do."""
        self._idle = True
        try:
            yield
        finally:
            self.step()
            self._idle = False

    @contextmanager
    def calling(self, seconds: float) -> Iterator[None]:
        """The block talks to the database, and ends by itself within so many seconds."""
        self._call_ends = clock.monotonic() + seconds
        try:
            yield
        finally:
            self.step()
            self._call_ends = 0.0

    def stuck_for(self) -> float:
        """Seconds; 0: not stuck."""
        now = clock.monotonic()
        if self._idle or now < self._call_ends:
            return 0.0
        return max(0.0, now - self._seen)
