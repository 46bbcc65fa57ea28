"""The one clock of leadership: seconds that only go forward, the same in every process of this machine.

It counts while the machine is suspended (CLOCK_BOOTTIME): a lease that ran out during a suspend has run out. It has
nothing to do with the time of day, which can be set (a clock set back by five minutes stopped a Patroni cluster for
five minutes: patroni#3560). A virtual machine that is paused from outside may see no time pass at all: no clock in
it can tell, which is why the database has its own fence.
"""

import time
from collections.abc import Callable

Clock = Callable[[], float]


def monotonic() -> float:
    """Seconds since boot."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
