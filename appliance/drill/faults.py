"""What is done to a place: named faults, each of which proves that it bit, and can be mended.

A fault chooses whom it hits by what nodes are at that moment, and by the drill's seed where there is a choice. The
proof is what was seen of the hit itself (a process that is gone, or stopped; a command's word), never what became of
the service.
"""

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from luigi_ha.appliance.drill.place import Breakable, DrillError, Part, await_leader, now
from luigi_ha.appliance.lab import processes

GONE_WITHIN = 10.0  # s for a process that was killed, and for what ends with it
STOPPED_WITHIN = 5.0
NONE, IN_FLIGHT, ANY = "none", "in flight", "any"  # calls that may fail


@dataclass(frozen=True, slots=True)
class Bite:
    """What was hit. `over`: when what it kills had ended, which takes calls until then (CLOCK_BOOTTIME, s)."""

    fault: str
    nodes: tuple[str, ...]
    at: float
    over: float
    proof: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


Strike = Callable[[Breakable, random.Random], Bite]
Mend = Callable[[Breakable, Bite], None]


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault."""

    name: str
    text: str
    """For people: one line."""
    strike: Strike
    mend: Mend
    moves: bool = True
    """Whether another node must lead afterwards."""
    watch: float = 2.0
    """s of calls after it, before it is mended."""
    fails: str = IN_FLIGHT
    """Which calls may fail: none, those in flight on what is hit, or any."""
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
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        # A pidfd tells when the last thread is gone, and with it the sockets; the state in /proc shows Z before that.
        if processes.ended(watched, GONE_WITHIN):
            raise DrillError(f"{node}: killed, and still there after {GONE_WITHIN:g} s")
    return at, now(), f"SIGKILL to {part.value} {', '.join(map(str, pids))}: gone"


def _freeze(place: Breakable, node: str, part: Part) -> tuple[float, str]:
    pids = place.pids(node, part)
    if not pids:
        raise DrillError(f"{node} has no {part.value} to stop")
    at = now()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    _until(lambda: all(_state(pid) == "T" for pid in pids), STOPPED_WITHIN, f"{node}: SIGSTOP, and it goes on")
    return at, f"SIGSTOP to {part.value} {', '.join(map(str, pids))}: state T"


def _state(pid: int) -> str:
    """As in /proc; empty: it is gone, or dead and not yet reaped."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""
    return "" if state in ("Z", "X") else state.upper()


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
        return Bite(f"kill-{part.value}", (node,), *_kill(place, node, part))

    return strike


def kill_standby(place: Breakable, rng: random.Random) -> Bite:
    node = _standby(place, rng)
    return Bite("kill-standby", (node,), *_kill(place, node, Part.NODE))


def kill_twice(place: Breakable, _rng: random.Random) -> Bite:
    """The leader, and as soon as another leads, that one; the first is started in between, as a supervisor would."""
    first, epoch = await_leader(place, 0)
    at, _over, proof = _kill(place, first, Part.NODE)
    place.start(first)
    second, _epoch = await_leader(place, epoch)
    _until(lambda: place.health(first) is not None, 60.0, f"{first} does not come back")
    _at, over, more = _kill(place, second, Part.NODE)
    return Bite("kill-twice", (first, second), at, over, f"{proof}; then {second}: {more}")


def kill_all(place: Breakable, _rng: random.Random) -> Bite:
    """All nodes at once: a cold start of everything."""
    at = now()
    proofs = [f"{node}: {_kill(place, node, Part.NODE)[2]}" for node in place.nodes]
    return Bite("kill-all", place.nodes, at, now(), "; ".join(proofs))


def freeze_scheduler(place: Breakable, _rng: random.Random) -> Bite:
    node = _leader(place)
    at, proof = _freeze(place, node, Part.SCHEDULER)
    return Bite("freeze-scheduler", (node,), at, at, proof)


def stop_leader(place: Breakable, _rng: random.Random) -> Bite:
    node, at = _leader(place), now()
    return Bite("stop-leader", (node,), at, now(), place.stop(node))


def switchover(place: Breakable, rng: random.Random) -> Bite:
    node, at = _standby(place, rng), now()
    said = place.switch_to(node)
    leader = _leader(place)
    if leader != node:
        raise DrillError(f"switched over to {node}, and {leader} leads")
    return Bite("switchover", (node,), at, now(), said or f"{node} leads")


def start_again(place: Breakable, bite: Bite) -> None:
    for node in bite.nodes:
        place.start(node)


def thaw(place: Breakable, bite: Bite) -> None:
    """Let whatever stands still go on, and start what is gone."""
    for node in bite.nodes:
        for pid in place.pids(node, Part.NODE):
            os.kill(pid, signal.SIGCONT)
        place.start(node)


def healed(place: Breakable) -> None:
    """Let everything go on, and start what is gone, whatever was done."""
    for node in place.nodes:
        with suppress(DrillError, OSError):
            for pid in place.pids(node, Part.NODE):
                os.kill(pid, signal.SIGCONT)
        place.start(node)


def nothing(_place: Breakable, _bite: Bite) -> None:
    pass


ALL: dict[str, Fault] = {
    each.name: each
    for each in (
        Fault("kill-scheduler", "SIGKILL to the leader's scheduler", kill_leader(Part.SCHEDULER), nothing),
        Fault("kill-keeper", "SIGKILL to the leader's keeper", kill_leader(Part.KEEPER), start_again, watch=4.0),
        Fault("kill-node", "SIGKILL to the leader's keeper and scheduler", kill_leader(Part.NODE), start_again),
        Fault("kill-standby", "SIGKILL to a node that does not lead", kill_standby, start_again, moves=False),
        Fault("kill-twice", "the leader, and then the next one", kill_twice, start_again, fails=ANY, within=20.0),
        Fault(
            "kill-all",
            "every node at once; then a cold start",
            kill_all,
            start_again,
            moves=False,
            fails=ANY,
            within=60.0,
        ),
        Fault(
            "freeze-scheduler",
            "SIGSTOP to the leader's scheduler",
            freeze_scheduler,
            thaw,
            watch=8.0,
            fails=ANY,
            within=20.0,
        ),
        Fault("stop-leader", "SIGTERM to the leader: it hands over and ends", stop_leader, start_again, fails=NONE),
        Fault("switchover", "a planned switchover to another node", switchover, nothing, fails=NONE, safe=True),
    )
}


def chosen(names: Sequence[str]) -> list[Fault]:
    """The faults of these names. DrillError for a name that is none."""
    unknown = [name for name in names if name not in ALL]
    if unknown:
        raise DrillError(f"no fault {', '.join(unknown)}; expected some of {', '.join(ALL)}")
    return [ALL[name] for name in names]
