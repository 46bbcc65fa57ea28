"""The only place that reads a clock.

`monotonic()` measures durations and deadlines. `wall()` is for people and for the log. `SchedulerClock` is what
the engine runs on: wall time that never goes back, not even below the last time another machine wrote.

Not promised: that scheduler time equals wall time. After the wall clock was set back it stands still until the wall
clock has caught up.
"""

import time


def wall() -> float:
    """Seconds since 1970-01-01 UTC, as this machine believes; may jump both ways."""
    return time.time()


# Seconds from an arbitrary start; never goes back, stands still for nobody.
monotonic = time.monotonic


class SchedulerClock:
    """max(wall clock, last time in the log, last value given): the engine's `clock`."""

    __slots__ = ("last",)

    def __init__(self, not_before: float = 0.0) -> None:
        self.last = not_before  # the value given last; what the journal writes beside a call's changes

    def __call__(self) -> float:
        now = time.time()
        if now > self.last:  # noqa: PLR1730 - called for every call; max() costs twice as much
            self.last = now
        return self.last

    def not_before(self, moment: float) -> None:
        """Never again give a time earlier than `moment` (the last one found in the log)."""
        self.last = max(self.last, moment)
