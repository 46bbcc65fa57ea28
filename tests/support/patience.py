"""How long a test waits for what has to come, and how late it may be: longer on a machine that does a lot besides.

A wait ends when its condition holds; the time is only for what never comes. So it costs nothing to be patient
(`patient`), and a busy machine must not turn a test red.

What must have happened within a time is another matter: there the time is what is tested. So a bound grows only as the
machine was slow meanwhile, as a thread sees it that wants to be woken fifty times a second (`allowed`): by what it was
woken too late, and as many times as there were programs for each processor. On a quiet one it hardly grows.
"""

import bisect
import os
import threading
import time

MOST = 20.0
TICK = 0.02  # s
CPUS = os.cpu_count() or 1
_LOADAVG = os.open("/proc/loadavg", os.O_RDONLY | os.O_CLOEXEC)  # kept: some tests leave no descriptor free
_sleep, _now = time.sleep, time.monotonic  # tests put others in their places


def patient(seconds: float) -> float:
    """So many seconds of a quiet machine, as this one is now."""
    return seconds * min(MOST, max(1.0, 2.0 * os.getloadavg()[0] / CPUS))


def allowed(seconds: float, since: float) -> float:
    """A bound of so many seconds for what began at that moment (`time.monotonic`) and has happened by now."""
    late, shared = _WATCH.since(since)
    return seconds * shared + late


def running() -> int:
    """How many threads of the machine run or could: the fourth figure of proc(5), /proc/loadavg."""
    return int(os.pread(_LOADAVG, 100, 0).split()[3].partition(b"/")[0])


class _Watch:
    """Adds up by how much later than it should a thread of this process is woken, and how many share a processor."""

    def __init__(self) -> None:
        self._pid = 0
        self._moments: list[float] = []
        self._late: list[float] = []
        self._running: list[int] = []

    def start(self) -> None:
        self._pid = os.getpid()
        self._moments, self._late, self._running = [_now()], [0.0], [0]
        threading.Thread(target=self._run, name="lateness", daemon=True).start()

    def since(self, moment: float) -> tuple[float, float]:
        """Seconds, and a factor that is 1 if each program had a processor."""
        if self._pid != os.getpid():
            self.start()  # a process that was forked has no such thread
            return 0.0, 1.0
        last = len(self._moments) - 1
        place = min(last, max(0, bisect.bisect_right(self._moments, moment) - 1))
        under_way = max(0.0, _now() - self._moments[last] - TICK)
        looks = max(1, last - place)
        shared = (self._running[last] - self._running[place]) / looks / CPUS
        return self._late[last] - self._late[place] + under_way, max(1.0, shared)

    def _run(self) -> None:
        late, threads = 0.0, 0
        while True:
            asleep = _now()
            _sleep(TICK)
            now = _now()
            late += max(0.0, now - asleep - 1.5 * TICK)
            threads += running()
            self._late.append(late)
            self._running.append(threads)
            self._moments.append(now)


_WATCH = _Watch()
_WATCH.start()
