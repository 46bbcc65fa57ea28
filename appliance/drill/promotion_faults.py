"""Crashes inside a promotion: the leader is killed, and whoever takes over is killed at a named moment of doing so.

A promotion takes some hundredths of a second. So all who may take over run in slices of a millisecond, and stand still
while their logs are read: who has come to the moment is killed there, before its next step. Who took the next step
within its slice was missed: then it is tried again with the leader that it has become.
"""

import os
import random
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from luigi_ha.appliance.drill.fault import Bite, Fails, Fault, Strike, until_true
from luigi_ha.appliance.drill.place import Breakable, DrillError, Part, await_leader, now
from luigi_ha.appliance.drill.process_faults import kill_leader
from luigi_ha.appliance.lab import processes

SLICE = 0.001  # s
ATTEMPTS = 3
COMES_WITHIN = 20.0  # s until somebody has come to the moment
STOPS_WITHIN = 1.0
GONE_WITHIN = 10.0
BACK_WITHIN = 60.0
WON, PROMOTED, EPOCH, ADDRESS, SERVES = (
    b" won epoch=", b" transition=promote ", b" leadership_taken ", b" address_added ", b" gate_open ",
)  # fmt: skip
# The address is taken beside the rest of it.
LATER = {
    WON: (PROMOTED, EPOCH, SERVES), PROMOTED: (EPOCH, SERVES), EPOCH: (SERVES,), ADDRESS: (SERVES,), SERVES: (),
}  # fmt: skip


class _Running:
    """One node that may take over: its processes, and what its log says from now on."""

    def __init__(self, node: str, pids: list[int], fds: Mapping[int, int], log: Path) -> None:
        self.node = node
        self.pids = [pid for pid in pids if pid in fds]
        self._fds = fds
        self._log = log
        self._from = log.stat().st_size

    def signal(self, number: int) -> None:
        for pid in self.pids:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._fds[pid], number)

    def stands(self) -> bool:
        return all(each.state in "Tt" for each in processes.living(self.pids))

    def said(self) -> bytes:
        with self._log.open("rb") as log:
            log.seek(self._from)
            return log.read()


class _MissedError(DrillError):
    """The moment was over when it could be struck."""


def kill_at(moment: bytes) -> Strike:
    """Strike the leader, and then whoever comes to this moment, by the log, of taking over."""

    def strike(place: Breakable, rng: random.Random) -> Bite:
        began = now()
        for _ in range(ATTEMPTS - 1):
            try:
                return replace(_strike(place, rng, moment), at=began)
            except _MissedError:
                until_true(lambda: _all_answer(place), BACK_WITHIN, "not all nodes are back")
        return replace(_strike(place, rng, moment), at=began)

    return strike


def _all_answer(place: Breakable) -> bool:
    return all(place.health(node) is not None for node in place.nodes)


def _strike(place: Breakable, rng: random.Random, moment: bytes) -> Bite:
    first, _epoch = await_leader(place, 0)
    others = [node for node in place.nodes if node != first and place.health(node) is not None]
    found = {node: place.pids(node, Part.NODE) for node in others}
    if not any(found.values()):
        raise DrillError(f"no node but {first} runs that could take over")
    with processes.held(pid for pids in found.values() for pid in pids) as fds:
        running = [_Running(node, pids, fds, place.log_of(node)) for node, pids in found.items()]
        killed = kill_leader(Part.NODE)(place, rng)
        place.keep_down(first)  # it would take over itself
        try:
            second, proof = _killed_at(moment, running)
        finally:
            for each in running:
                each.signal(signal.SIGCONT)
            place.start(first)  # as a supervisor would
    return Bite((first, second), killed.at, now(), f"{killed.proof}; then {second}: {proof}")


def _killed_at(moment: bytes, running: list[_Running]) -> tuple[str, str]:
    """Let them run in slices, until one comes to the moment; that one is killed."""
    until = time.monotonic() + COMES_WITHIN
    while time.monotonic() < until:
        for each in running:
            each.signal(signal.SIGSTOP)
        until_true(lambda: all(each.stands() for each in running), STOPS_WITHIN, "SIGSTOP, and not all stand still")
        for each in running:
            said = each.said()
            if moment in said:
                what = moment.decode().strip()
                if past := [one.decode().strip() for one in LATER[moment] if one in said]:
                    raise _MissedError(f"{each.node} was past {what!r} when it stood still: its log said {past[0]!r}")
                if processes.kill(each.pids, GONE_WITHIN):
                    raise DrillError(f"{each.node}: killed, and still there after {GONE_WITHIN:g} s")
                pids = ", ".join(map(str, each.pids))
                return each.node, f"SIGKILL to {pids} right after its log said {what!r}: gone"
        for each in running:
            each.signal(signal.SIGCONT)
        os.sched_yield()
        time.sleep(SLICE)
    raise DrillError(f"nobody came to {moment.decode().strip()!r} within {COMES_WITHIN:g} s")


_crash = partial(Fault, fails=Fails.ANY, within=30.0, moves=False, first=True)
_TABLE = (
    _crash("kill-at-won", "the leader, and then who has just won the election", kill_at(WON)),
    _crash("kill-at-promotion", "... who is just told to take over", kill_at(PROMOTED)),
    _crash("kill-at-epoch", "... who has just written its epoch", kill_at(EPOCH)),
    _crash("kill-at-address", "... who has just taken the address", kill_at(ADDRESS), on=("lab",)),
    _crash("kill-at-serving", "... who has just begun to serve", kill_at(SERVES)),
)
ALL = {fault.name: fault for fault in _TABLE}
