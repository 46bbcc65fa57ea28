"""How long a test waits for what has to come, and how late it may be: longer on a machine that does a lot besides.

A wait ends when its condition holds; the time is only for what never comes. So it costs nothing to be patient
(`patient`), and a busy machine must not turn a test red.

What must have happened within a time is another matter: there the time is what is tested. So a bound grows only by
what the machine itself was late meanwhile, as a thread has seen it that wants to be woken fifty times a second
(`allowed`): by next to nothing on a quiet one.
"""

import bisect
import os
import threading
import time

MOST = 20.0
TICK = 0.02  # s
_sleep, _now = time.sleep, time.monotonic  # tests put others in their places


def patient(seconds: float) -> float:
    """So many seconds of a quiet machine, as this one is now."""
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    return seconds * min(MOST, max(1.0, 2.0 * load))


def allowed(seconds: float, since: float) -> float:
    """A bound of so many seconds for what began at that moment (`time.monotonic`) and has happened by now."""
    return seconds + _LATENESS.since(since)


class _Lateness:
    """Adds up by how much later than it should a thread of this process is woken."""

    def __init__(self) -> None:
        self._pid = 0
        self._moments: list[float] = []
        self._totals: list[float] = []

    def start(self) -> None:
        self._pid = os.getpid()
        self._moments, self._totals = [_now()], [0.0]
        threading.Thread(target=self._run, name="lateness", daemon=True).start()

    def since(self, moment: float) -> float:
        if self._pid != os.getpid():
            self.start()  # a process that was forked has no such thread
            return 0.0
        place = max(0, bisect.bisect_right(self._moments, moment) - 1)
        under_way = max(0.0, _now() - self._moments[-1] - TICK)
        return self._totals[-1] - self._totals[place] + under_way

    def _run(self) -> None:
        total = 0.0
        while True:
            asleep = _now()
            _sleep(TICK)
            now = _now()
            total += max(0.0, now - asleep - 1.5 * TICK)
            self._totals.append(total)
            self._moments.append(now)


_LATENESS = _Lateness()
_LATENESS.start()
