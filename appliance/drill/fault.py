"""What a fault is: how a place is arranged for it, what is done, and what it excuses.

A fault chooses whom it hits by what nodes are at that moment, and by the drill's seed where there is a choice. The
proof is what was seen of the hit itself (a process that is gone, or stopped; packets that were dropped; a command's
word), never what became of the service.
"""

import enum
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from luigi_ha.appliance.drill.place import Breakable, DrillError, await_leader
from luigi_ha.appliance.lab.errors import LabError

ENDED_WITHIN = 60.0  # s for what was asked to end
LEADS_AGAIN = 30.0  # s, at least, until the second of two faults does not wait any longer for somebody to lead
PAUSE = 3.0  # s between two faults, at most
BETWEEN = 30.0  # s more that nobody may be answered after two: the second meets what the first has left


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
    missed: str | None = None
    """What should have struck too, and why it did not."""


Strike = Callable[[Breakable, random.Random], Bite]
Arrange = Callable[[Breakable], None]


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault."""

    name: str
    text: str
    """For people: one line."""
    strike: Strike
    on: tuple[str, ...] = ("pair", "lab")
    """The kinds of place where it can be struck; `hosts`: a healthy cluster in use takes no harm."""
    arrange: Arrange | None = None
    """Done before callers begin, so that it hits what it is meant for."""
    aim: Arrange | None = None
    """Done right before it, while tasks are at work: what does not stay so for long."""
    moves: bool = True
    """Whether another node must lead afterwards."""
    watch: float = 2.0
    """s of calls after it, before it is mended."""
    fails: Fails = Fails.IN_FLIGHT
    """Which calls may fail."""
    within: float = 10.0
    """s for which nobody may be answered, at most."""
    gone_after: float | None = None
    """s beyond a lease after which what is hit may not have the cluster's address any more; None: it may."""
    late: bool = False
    """Whether calls are sent to what stands still, which it finds when it wakes."""
    recovers: bool = True
    """Whether somebody can lead before it is mended."""
    first: bool = False
    """Whether it needs all nodes as they were, and so cannot be the second of two."""
    workers: bool = False
    """Whether it needs workers, which then run the pipeline."""
    clocks: bool = False
    """Whether it needs hosts whose times of day can be set."""
    disks: bool = False
    """Whether it needs hosts with disks of their own."""

    @property
    def second(self) -> bool:
        """Whether it can strike what another fault has left: it needs no roles arranged before, nor all nodes."""
        return self.arrange is None and self.aim is None and not self.first

    @property
    def safe(self) -> bool:
        """Whether a healthy cluster in use takes no harm."""
        return "hosts" in self.on


def together(one: Fault, two: Fault) -> Fault:
    """One after the other, within some seconds, without anything mended in between. DrillError for two of which the
    second would never strike, or not what it is meant for."""
    if not one.recovers:
        raise DrillError(f"{one.name}+{two.name}: nobody leads after {one.name} before it is mended")
    if not two.second:
        raise DrillError(
            f"{one.name}+{two.name}: {two.name} needs roles arranged, or all nodes, and can only be the first"
        )

    def strike(place: Breakable, rng: random.Random) -> Bite:
        first = one.strike(place, rng)
        time.sleep(rng.choice((0.0, rng.uniform(0.0, PAUSE))))
        try:
            if not _somebody_leads(place, max(LEADS_AGAIN, one.within)):
                raise DrillError("nobody leads that it could hit")  # noqa: TRY301
            second = two.strike(place, rng)
        except (DrillError, LabError, OSError) as error:
            return replace(first, missed=f"{two.name}: {error}")
        nodes = tuple(dict.fromkeys((*first.nodes, *second.nodes)))
        return Bite(nodes, first.at, second.over, f"{first.proof}; then {two.name}: {second.proof}")

    return Fault(
        f"{one.name}+{two.name}", f"{one.text}; and then: {two.text}", strike,
        on=tuple(kind for kind in one.on if kind in two.on), arrange=one.arrange, aim=one.aim, moves=False,
        watch=max(one.watch, two.watch), fails=Fails.ANY, within=one.within + two.within + BETWEEN,
        recovers=two.recovers, workers=one.workers or two.workers, clocks=one.clocks or two.clocks,
        disks=one.disks or two.disks,
    )  # fmt: skip


def _somebody_leads(place: Breakable, seconds: float) -> bool:
    """Whether somebody leads, within a time; with what was just broken, nobody may be able to."""
    until = time.monotonic() + seconds
    while place.leading() is None:
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def the_leader(place: Breakable) -> str:
    return await_leader(place, 0)[0]


def ended(living: Callable[[], object], what: str) -> None:
    """Wait until nothing of it lives. DrillError after a minute."""
    until_true(lambda: not living(), ENDED_WITHIN, f"{what} has not ended")


def until_true(true: Callable[[], bool], seconds: float, otherwise: str) -> None:
    """DrillError with `otherwise` if it does not become true."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise DrillError(f"{otherwise} after {seconds:g} s")
        time.sleep(0.01)
