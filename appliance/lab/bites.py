"""What a fault has hit, and how that was seen."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

from luigi_ha.appliance.lab.processes import Process


@dataclass(frozen=True)
class Bite:
    """A fault that bit, not before `at`. `over`: when all that dies of it had ended, or was out of reach, if that was
    watched."""

    fault: str
    host: str
    at: float
    proof: str
    over: float | None = None


def now() -> float:
    """CLOCK_BOOTTIME, s."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def listed(found_: Iterable[Process]) -> str:
    """Their names and numbers, for people."""
    names = [f"{process.argv[0].rsplit('/', 1)[-1] if process.argv else '?'}[{process.inner}]" for process in found_]
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
