"""What is done to a place: named faults, each of which proves that it bit; `healed` mends any of them.

A fault chooses whom it hits by what nodes are at that moment, and by the drill's seed where there is a choice. The
proof is what was seen of the hit itself (a process that is gone, or stopped; a command's word), never what became of
the service.
"""

import enum
import random
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from luigi_ha.appliance.drill.place import Breakable, DrillError, Part, await_leader, now
from luigi_ha.appliance.lab import processes

GONE_WITHIN = 10.0  # s for a process that was killed, and for what ends with it
STOPPED_WITHIN = 5.0


class Fails(enum.StrEnum):
    """Which calls a fault excuses."""

    NONE = "none"
    IN_FLIGHT = "in flight"  # on what is hit
    ANY = "any"


@dataclass(frozen=True, slots=True)
class Bite:
    """What was hit. `over`: when what it kills had ended, which takes calls until then (CLOCK_BOOTTIME, s)."""

    nodes: tuple[str, ...]
    at: float
    over: float
    proof: str


Strike = Callable[[Breakable, random.Random], Bite]


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault."""

    name: str
    text: str
    """For people: one line."""
    strike: Strike
    moves: bool = True
    """Whether another node must lead afterwards."""
    watch: float = 2.0
    """s of calls after it, before it is mended."""
    fails: Fails = Fails.IN_FLIGHT
    """Which calls may fail."""
    within: float = 10.0
    """s for which nobody may be answered, at most."""
    safe: bool = False
    """Whether a healthy cluster in use takes no harm."""


def _leader(place: Breakable) -> str:
    return await_leader(place, 0)[0]


def _standby(place: Breakable, rng: random.Random) -> str:
    leader = _leader(place)
    return rng.choice([node for node in place.nodes if node != leader])


def _kill(place: Breakable, node: str, part: Part) -> tuple[float, float, str]:
    """SIGKILL. (when it struck, when all of the node's processes that go with it were gone, the proof)"""
    pids, all_of_it = place.pids(node, part), place.pids(node, Part.NODE)
    if not pids:
        raise DrillError(f"{node} has no {part.value} to kill")
    with_it = [pid for pid in all_of_it if part is not Part.SCHEDULER or pid in pids]
    with processes.held(with_it) as watched:
        at = now()
        for pid in watched.keys() & set(pids):
            signal.pidfd_send_signal(watched[pid], signal.SIGKILL)
        # A pidfd tells when the last thread is gone, and with it the sockets; the state in /proc shows Z before that.
        if processes.ended(watched, GONE_WITHIN):
            raise DrillError(f"{node}: killed, and still there after {GONE_WITHIN:g} s")
    return at, now(), f"SIGKILL to {part.value} {', '.join(map(str, pids))}: gone"


def _living(place: Breakable, node: str, part: Part) -> list[processes.Process]:
    found = (processes.read(pid) for pid in place.pids(node, part))
    return [process for process in found if process is not None and process.alive]


def _freeze(place: Breakable, node: str, part: Part) -> tuple[float, str]:
    at = now()
    frozen = processes.freeze(lambda: _living(place, node, part), STOPPED_WITHIN)
    if not frozen or len(frozen) < len(_living(place, node, part)):
        raise DrillError(f"{node}: SIGSTOP to its {part.value}, and not all of it stands still")
    return at, f"SIGSTOP to {part.value} {', '.join(str(process.pid) for process in frozen)}: state T"


def _until(true: Callable[[], bool], seconds: float, otherwise: str) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise DrillError(f"{otherwise} after {seconds:g} s")
        time.sleep(0.01)


# -- the deeds --------------------------------------------------------------------------------------------------


def kill_leader(part: Part) -> Strike:
    def strike(place: Breakable, _rng: random.Random) -> Bite:
        node = _leader(place)
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
    _until(lambda: place.health(first) is not None, 60.0, f"{first} does not come back")
    _at, over, more = _kill(place, second, Part.NODE)
    return Bite((first, second), at, over, f"{proof}; then {second}: {more}")


def kill_all(place: Breakable, _rng: random.Random) -> Bite:
    """All nodes at once: a cold start of everything."""
    at = now()
    proofs = [f"{node}: {_kill(place, node, Part.NODE)[2]}" for node in place.nodes]
    return Bite(place.nodes, at, now(), "; ".join(proofs))


def freeze_scheduler(place: Breakable, _rng: random.Random) -> Bite:
    node = _leader(place)
    at, proof = _freeze(place, node, Part.SCHEDULER)
    return Bite((node,), at, at, proof)


def stop_leader(place: Breakable, _rng: random.Random) -> Bite:
    node, at = _leader(place), now()
    return Bite((node,), at, now(), place.stop(node))


def switchover(place: Breakable, rng: random.Random) -> Bite:
    node, at = _standby(place, rng), now()
    said = place.switch_to(node)
    leader = _leader(place)
    if leader != node:
        raise DrillError(f"switched over to {node}, and {leader} leads")
    return Bite((node,), at, now(), said or f"{node} leads")


def healed(place: Breakable) -> None:
    """Let everything go on, and start what is gone, whatever was done."""
    for node in place.nodes:
        with suppress(DrillError, OSError):
            processes.thaw(lambda node=node: _living(place, node, Part.NODE))  # type: ignore[misc]
        place.start(node)


_TABLE = (
    Fault("kill-scheduler", "SIGKILL to the leader's scheduler", kill_leader(Part.SCHEDULER)),
    Fault("kill-keeper", "SIGKILL to the leader's keeper", kill_leader(Part.KEEPER), watch=4.0),
    Fault("kill-node", "SIGKILL to the leader's keeper and scheduler", kill_leader(Part.NODE)),
    Fault("kill-standby", "SIGKILL to a node that does not lead", kill_standby, moves=False),
    Fault("kill-twice", "the leader, and then the next one", kill_twice, fails=Fails.ANY, within=20.0),
    Fault(
        "kill-all", "every node at once; then a cold start", kill_all, moves=False, fails=Fails.ANY, within=60.0
    ),
    Fault(
        "freeze-scheduler", "SIGSTOP to the leader's scheduler", freeze_scheduler, watch=8.0, fails=Fails.ANY,
        within=20.0,
    ),
    Fault("stop-leader", "SIGTERM to the leader: it hands over and ends", stop_leader, fails=Fails.NONE),
    Fault("switchover", "a planned switchover to another node", switchover, fails=Fails.NONE, safe=True),
)  # fmt: skip
ALL = {fault.name: fault for fault in _TABLE}


def chosen(names: Sequence[str]) -> list[Fault]:
    """The faults of these names. DrillError for a name that is none."""
    unknown = [name for name in names if name not in ALL]
    if unknown:
        raise DrillError(f"no fault {', '.join(unknown)}; expected some of {', '.join(ALL)}")
    return [ALL[name] for name in names]
