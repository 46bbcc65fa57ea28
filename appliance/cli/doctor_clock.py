"""The clocks: the one that leases are counted with, and the time of day against that of other machines.

No decision about leadership uses the time of day; scheduler times, logs and certificates do.
"""

import ctypes
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from luigi_ha.appliance import clock
from luigi_ha.appliance.cli.doctor_findings import Examiner, Finding

EARLIEST = datetime(2025, 1, 1, tzinfo=UTC).timestamp()
APART = 2.0  # s; dates over HTTP are whole seconds
_UNSYNCHRONIZED = 5
_examiner = Examiner("clock")


def here() -> Iterator[Finding]:
    """This machine's own."""
    boot, monotonic = time.clock_gettime(time.CLOCK_BOOTTIME), time.clock_gettime(time.CLOCK_MONOTONIC)
    if boot - monotonic > 1:
        yield _examiner.warn(
            "CLOCK_BOOTTIME",
            f"this machine has been suspended for {boot - monotonic:.0f} s since it was started",
            "a machine that is never suspended: whatever it led was lost meanwhile",
        )
    else:
        yield _examiner.ok("CLOCK_BOOTTIME", f"{boot:.0f} s since the start, none of them suspended")
    now = clock.wall()
    shown = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    if now < EARLIEST:
        yield _examiner.fail("CLOCK_REALTIME", shown, "today's date: certificates and task times depend on it")
    elif ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512)) == _UNSYNCHRONIZED:
        yield _examiner.warn(
            "CLOCK_REALTIME", f"{shown}, not synchronised as far as the kernel knows", "chrony or systemd-timesyncd"
        )
    else:
        yield _examiner.ok("CLOCK_REALTIME", f"{shown}, synchronised")


def others(dates: Mapping[str, float]) -> Iterator[Finding]:
    """`dates`: how many seconds each of the others is ahead of this machine."""
    for place, ahead in dates.items():
        if abs(ahead) > APART:
            direction = "ahead of" if ahead > 0 else "behind"
            yield _examiner.warn(
                place, f"its clock is {abs(ahead):.0f} s {direction} this machine's", "clocks kept by one time service"
            )
        else:
            yield _examiner.ok(place, f"its clock agrees with this machine's (within {APART:g} s)")
