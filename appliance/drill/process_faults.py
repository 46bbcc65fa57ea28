"""Faults of a node's processes, which any place has."""

import random
import signal
from contextlib import suppress

from luigi_ha.appliance.drill.fault import Bite, Fails, Fault, Strike, the_leader, until_true
from luigi_ha.appliance.drill.place import Breakable, DrillError, Part, await_leader, now
from luigi_ha.appliance.lab import processes

GONE_WITHIN = 10.0  # s for a process that was killed, and for what ends with it
STOPPED_WITHIN = 5.0
STALL = 3.0  # s until a keeper calls its scheduler stalled
GRAIN = 0.5  # s: the kernel counts an address's life in seconds


def _standby(place: Breakable, rng: random.Random) -> str:
    leader = the_leader(place)
    others = [node for node in place.nodes if node != leader and place.health(node) is not None]
    if not others:
        raise DrillError(f"no node but {leader} answers")
    return rng.choice(others)


def _kill(place: Breakable, node: str, part: Part) -> tuple[float, float, str]:
    """SIGKILL. (when it struck, when all of the node's processes that go with it were gone, the proof)"""
    pids, all_of_it = place.pids(node, part), place.pids(node, Part.NODE)
    if not pids:
        raise DrillError(f"{node} has no {part.value} to kill")
    with_it = [pid for pid in all_of_it if part is not Part.SCHEDULER or pid in pids]
    with processes.held(with_it) as watched:
        at = now()
        for pid in watched.keys() & set(pids):
            with suppress(ProcessLookupError):  # it was ending by itself
                signal.pidfd_send_signal(watched[pid], signal.SIGKILL)
        # A pidfd tells when the last thread is gone, and with it the sockets; the state in /proc shows Z before that.
        if processes.ended(watched, GONE_WITHIN):
            raise DrillError(f"{node}: killed, and still there after {GONE_WITHIN:g} s")
    return at, now(), f"SIGKILL to {part.value} {', '.join(map(str, pids))}: gone"


def _freeze(place: Breakable, node: str, part: Part) -> tuple[float, str]:
    at = now()
    frozen = processes.freeze(lambda: processes.living(place.pids(node, part)), STOPPED_WITHIN)
    if not frozen or len(frozen) < len(processes.living(place.pids(node, part))):
        raise DrillError(f"{node}: SIGSTOP to its {part.value}, and not all of it stands still")
    return at, f"SIGSTOP to {part.value} {', '.join(str(process.pid) for process in frozen)}: state T"


# -- the deeds --------------------------------------------------------------------------------------------------


def kill_leader(part: Part) -> Strike:
    def strike(place: Breakable, _rng: random.Random) -> Bite:
        node = the_leader(place)
        return Bite((node,), *_kill(place, node, part))

    return strike


def kill_standby(place: Breakable, rng: random.Random) -> Bite:
    node = _standby(place, rng)
    return Bite((node,), *_kill(place, node, Part.NODE))


def kill_twice(place: Breakable, _rng: random.Random) -> Bite:
    """The leader, and as soon as another leads, that one; the first is started in between, as a supervisor would."""
    first, epoch = await_leader(place, 0)
    at, _over, proof = _kill(place, first, Part.NODE)
    place.start(first)
    second, _epoch = await_leader(place, epoch)
    until_true(lambda: place.health(first) is not None, 60.0, f"{first} does not come back")
    _at, over, more = _kill(place, second, Part.NODE)
    return Bite((first, second), at, over, f"{proof}; then {second}: {more}")


def kill_all(place: Breakable, _rng: random.Random) -> Bite:
    """All nodes in one moment: a cold start of everything."""
    pids = {node: place.pids(node, Part.NODE) for node in place.nodes if place.health(node) is not None}
    every = [pid for found in pids.values() for pid in found]
    if not every:
        raise DrillError("no node runs that could be killed")
    at = now()
    if processes.kill(every, GONE_WITHIN):
        raise DrillError(f"killed, and still there after {GONE_WITHIN:g} s")
    proof = "; ".join(f"{node}: SIGKILL to {', '.join(map(str, found))}: gone" for node, found in pids.items())
    return Bite(tuple(pids), at, now(), proof)


def freeze_scheduler(place: Breakable, _rng: random.Random) -> Bite:
    node = the_leader(place)
    at, proof = _freeze(place, node, Part.SCHEDULER)
    return Bite((node,), at, at, proof)


def stop_leader(place: Breakable, _rng: random.Random) -> Bite:
    node, at = the_leader(place), now()
    return Bite((node,), at, now(), place.stop(node))


def switchover(place: Breakable, rng: random.Random) -> Bite:
    node, at = _standby(place, rng), now()
    said = place.switch_to(node)
    leader = the_leader(place)
    if leader != node:
        raise DrillError(f"switched over to {node}, and {leader} leads")
    return Bite((node,), at, now(), said or f"{node} leads")


_TABLE = (
    Fault("kill-scheduler", "SIGKILL to the leader's scheduler", kill_leader(Part.SCHEDULER)),
    Fault("kill-keeper", "SIGKILL to the leader's keeper", kill_leader(Part.KEEPER), watch=4.0),
    Fault("kill-node", "SIGKILL to the leader's keeper and scheduler", kill_leader(Part.NODE)),
    Fault("kill-standby", "SIGKILL to a node that does not lead", kill_standby, moves=False),
    Fault("kill-twice", "the leader, and then the next one", kill_twice, fails=Fails.ANY, within=20.0),
    Fault(
        "kill-all", "every node at once; then a cold start", kill_all, moves=False, fails=Fails.ANY, within=60.0,
        recovers=False,
    ),
    Fault(
        "freeze-scheduler", "SIGSTOP to the leader's scheduler", freeze_scheduler, watch=8.0, fails=Fails.ANY,
        within=20.0, gone_after=STALL + GRAIN, late=True,
    ),
    Fault("stop-leader", "SIGTERM to the leader: it hands over and ends", stop_leader, fails=Fails.NONE),
    Fault(
        "switchover", "a planned switchover to another node", switchover, on=("pair", "lab", "hosts"), fails=Fails.NONE
    ),
)  # fmt: skip
ALL = {fault.name: fault for fault in _TABLE}
