"""The only place that reads a clock.

`monotonic()` measures durations and deadlines. `wall()` is for people and for the log. `SchedulerClock` is what
the engine runs on: it never goes back, not even below the last time another machine wrote.

Not promised: that scheduler time equals wall time.
"""

import time

APART = 2.0  # s; what two machines' times of day may differ by: more than it takes to hear the other


def wall() -> float:
    """Seconds since 1970-01-01 UTC, as this machine believes; may jump both ways."""
    return time.time()


# Seconds from an arbitrary start; never goes back, stands still for nobody.
monotonic = time.monotonic


class SchedulerClock:
    """The engine's `clock`: never goes back, and goes on where the leader before was, whatever this machine's date is.

    A node that follows hears the leader's scheduler time, and its own date moves nothing. One that leads, with others
    on other machines, `hold`s its own: from then on the time of day counts for as long as it agrees with that, within
    APART. If it does not (a clock an hour wrong on the next leader, or one that is set while it leads), time goes on by
    the clock that nobody can set: otherwise each retry and each cooldown of that hour would be over at once, or none
    would end for an hour.

    Without others, and where nobody has led that could be heard, the time of day is followed wherever it goes. While it
    is behind what the log says, this stands still.
    """

    __slots__ = ("_ahead_of_boot", "_follows", "last")

    def __init__(self, not_before: float = 0.0) -> None:
        self.last = not_before  # the value given last; what the journal writes beside a call's changes
        self._ahead_of_boot: float | None = None  # scheduler time less `_boot()`; None: the time of day alone counts
        self._follows = False

    def __call__(self) -> float:
        now = time.time()
        if self._ahead_of_boot is not None:
            ahead = now - _boot()
            if abs(ahead - self._ahead_of_boot) < APART:
                self._ahead_of_boot = ahead
            else:
                now = _boot() + self._ahead_of_boot
        if now > self.last:
            if self._follows:
                return now
            self.last = now
        return self.last

    def not_before(self, moment: float) -> None:
        """Never again give a time earlier than `moment` (the last one found in the log)."""
        self.last = max(self.last, moment)

    def follow(self) -> None:
        """Another node leads, or may: what this machine's date says is not kept."""
        self._follows = True

    def heard(self, moment: float) -> None:
        """It is `moment` for the leader."""
        self._ahead_of_boot = moment - _boot()

    def lead(self, *, hold: bool) -> None:
        """This node serves. `hold`: from now on the time of day alone does not move it; others follow."""
        self._follows = False
        if hold and self._ahead_of_boot is None:
            self._ahead_of_boot = time.time() - _boot()

    @property
    def apart(self) -> float:
        """By how many seconds this machine's time of day is ahead of scheduler time (less than 0: behind); 0 while they
        agree."""
        if self._ahead_of_boot is None:
            return 0.0
        ahead = time.time() - _boot() - self._ahead_of_boot
        return ahead if abs(ahead) >= APART else 0.0


def _boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)  # counts while the machine is suspended, as the time of day does
