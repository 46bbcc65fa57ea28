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
from typing import Self

from luigi_ha.appliance.lab.lab import Lab

EVERY = 0.005  # s between two looks
ANEW = 0.25  # s between two searches for a host that is gone
Told = Callable[[float, list[str]], object]


class Holders:
    """The hosts with the address: `now()`, and between `with` and its end `told(at, names)` of what was seen.

    Told are the first and the last look that saw the same hosts have it. `at`: CLOCK_BOOTTIME, s.
    """

    def __init__(self, lab: Lab, address: str, told: Told = lambda _at, _names: None) -> None:
        self._lab = lab
        self._names = [host.name for host in lab.plan.nodes]
        self._pids = self._found()
        self._searched = time.monotonic()
        self._mark = f"-- {address}\n"
        self._told = told
        self.failed: str | None = None
        """Why it ended early; None: it did not."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join()

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

    def _watch(self) -> None:
        try:
            self._look()
        except Exception as error:  # noqa: BLE001 - a thread has nobody above it
            self.failed = f"{type(error).__name__}: {error}"

    def _look(self) -> None:
        first: list[str] | None = None
        last = time.clock_gettime(time.CLOCK_BOOTTIME)
        while not self._over.wait(EVERY):
            names = self.now()
            at = time.clock_gettime(time.CLOCK_BOOTTIME)
            if names != first:
                if first is not None:
                    self._told(last, first)
                self._told(at, names)
            first, last = names, at
        if first is not None:
            self._told(last, first)
