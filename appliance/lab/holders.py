"""Which hosts have an address, looked at from outside all the time.

Reads what the kernel tells of each host's network (/proc/PID/net/fib_trie of its process 1): no program is started and
nobody on the host has a part in it, so a frozen host is seen as well as any. One look at all hosts takes about a
millisecond; what comes and goes between two looks is not seen.
"""

import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from luigi_ha.appliance.lab.lab import Lab

EVERY = 0.005  # s between two looks
ANEW = 0.25  # s between two searches for a host that is gone
Told = Callable[[float, list[str]], object]


class Holders:
    """The hosts with the address."""

    def __init__(self, lab: Lab, address: str) -> None:
        self._lab = lab
        self._names = [host.name for host in lab.plan.nodes]
        self._pids = self._found()
        self._searched = time.monotonic()
        self._mark = f"-- {address}\n"

    def now(self) -> list[str]:
        """Who has it at this moment."""
        missing = [name for name in self._names if name not in self._pids]
        if missing and time.monotonic() - self._searched > ANEW:
            self._pids, self._searched = self._found(), time.monotonic()
        return [name for name, pid in list(self._pids.items()) if self._has(name, pid)]

    def _found(self) -> dict[str, int]:
        return {name: init.pid for name, init in self._lab.inits().items() if name in self._names}

    def _has(self, name: str, pid: int) -> bool:
        try:
            lines = Path(f"/proc/{pid}/net/fib_trie").read_text().splitlines(keepends=True)
        except OSError:
            del self._pids[name]  # the host is gone
            return False
        return any(
            line.endswith(self._mark) and "/32 host LOCAL" in below for line, below in pairwise(lines)
        )  # a node of the trie, and below it what it stands for

    def watch(self, told: Told, over: threading.Event) -> None:
        """Look until it is over; tell `told(at, names)` of the first and the last look that saw the same hosts have it.
        `at`: CLOCK_BOOTTIME, s."""
        first: list[str] | None = None
        last = time.clock_gettime(time.CLOCK_BOOTTIME)
        while not over.wait(EVERY):
            names = self.now()
            at = time.clock_gettime(time.CLOCK_BOOTTIME)
            if names != first:
                if first is not None:
                    told(last, first)
                told(at, names)
            first, last = names, at
        if first is not None:
            told(last, first)
