"""Which hosts have an address, looked at from outside all the time.

Reads what the kernel tells of each host's network (/proc/PID/net/fib_trie of its process 1): no program is started and
nobody on the host has a part in it, so a frozen host is seen as well as any. One look at all hosts takes about a
millisecond; what comes and goes between two looks is not seen.
"""

import threading
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Self

from drills.failover.scenarios import now
from luigi_ha.appliance.lab.lab import Lab

EVERY = 0.005  # s between two looks


class Holders:
    """The hosts with the address: `now()`, and between `with` and its end, when each had it."""

    def __init__(self, lab: Lab, address: str) -> None:
        self._pids = {host.name: lab.init(host.name).pid for host in lab.plan.nodes}
        self._mark = f"-- {address}\n"
        self.looks: list[tuple[float, tuple[str, ...]]] = []  # (when, who has it), as it changes; and the last look
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
        return [name for name, pid in self._pids.items() if self._has(pid)]

    def gone(self, name: str, since: float) -> float | None:
        """When the host had it no more for the first time after `since`; None: it had it all the time."""
        return gone(self.looks, name, since)

    def overlap(self) -> float:
        """The longest time in which more than one host had it, s."""
        return overlap(self.looks)

    def _has(self, pid: int) -> bool:
        try:
            lines = Path(f"/proc/{pid}/net/fib_trie").read_text().splitlines(keepends=True)
        except OSError:
            return False  # the host is gone
        return any(
            line.endswith(self._mark) and "/32 host LOCAL" in below for line, below in pairwise(lines)
        )  # a node of the trie, and below it what it stands for

    def _watch(self) -> None:
        while not self._over.wait(EVERY):
            look = (now(), tuple(self.now()))
            if len(self.looks) > 1 and self.looks[-1][1] == self.looks[-2][1] == look[1]:
                self.looks[-1] = look
            else:
                self.looks.append(look)
            time.sleep(0)


def gone(looks: Sequence[tuple[float, tuple[str, ...]]], name: str, since: float) -> float | None:
    """See Holders.gone."""
    return next((at for at, names in looks if at > since and name not in names), None)


def overlap(looks: Sequence[tuple[float, tuple[str, ...]]]) -> float:
    """See Holders.overlap. A single look counts until the next one, which saw something else."""
    longest, since = 0.0, None
    for at, names in looks:
        if len(names) > 1:
            since = at if since is None else since
            longest = max(longest, at - since)
        elif since is not None:
            longest, since = max(longest, at - since), None
    return longest
