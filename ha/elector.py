"""The port of leadership: who leads, under which epoch, and until when.

Guaranteed by every implementation
    * At most one candidate is under a valid lease at any time, by its own clock (see `ha.lease` for the clock model).
    * Each leadership has an epoch greater than every earlier one. A write that carries its epoch to where it takes
      effect, and is refused there if a greater one has been seen, is safe even from a holder that was paused.
    * Leadership is a deadline, never a flag: without a renewal that counts it ends by itself.
    * `renew` raises Definitive only if the leadership is over; what is merely not known is Unknown.

Not guaranteed: that somebody leads at any time; that a holder notices at once that it was replaced (it stops at its
deadline); that watchers see every short leadership in between (they see the latest, in order).

How to be a leader, in this order: campaign; act only while `lease.valid(now)`; renew every `timing.renew_every`; to
stop, first stop acting and give up what was taken, then `resign`.

Two things restrict who may win. A *pause* keeps the present leader: while it lasts, nobody else wins, even if the
leader is gone. A *reservation* names the successor of a planned switchover: until it lapses, only that node wins,
paused or not.
"""

import enum
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import NewType, Protocol

from ha.errors import Refused
from ha.lease import Lease, Timing

Epoch = NewType("Epoch", int)


class Reason(enum.StrEnum):
    """Why a campaign is refused."""

    HELD = "held"  # another leads
    PAUSED = "paused"  # the pause keeps another
    RESERVED = "reserved"  # a switchover names another
    VACANT = "vacant"  # nobody leads, so there is nobody to keep
    CHANGED = "changed"  # something changed while we campaigned: look again


@dataclass(frozen=True, slots=True)
class Candidate:
    """Who may lead. Names are unique; one name is one node, also after its restart."""

    name: str
    address: str
    meta: Mapping[str, str] = field(default_factory=dict)
    """What others should know of this node: its version, its database host. Short strings."""


@dataclass(frozen=True, slots=True)
class Leader:
    """Who leads, as everybody can see it."""

    name: str
    address: str
    epoch: Epoch
    meta: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class View:
    """What the store says of leadership at one moment."""

    leader: Leader | None = None
    keeps: str | None = None
    """The name that a pause keeps; None while not paused."""
    successor: str | None = None
    """The name for which a switchover has reserved the leadership, until that lapses."""

    @property
    def paused(self) -> bool:
        return self.keeps is not None


class Elector(Protocol):
    """One candidate's access to leadership. All methods belong to one event loop, and are called one at a time, except
    that any of them may be cancelled, and that watching goes on beside the others."""

    @property
    def candidate(self) -> Candidate: ...

    @property
    def timing(self) -> Timing: ...

    @property
    def lease(self) -> Lease:
        """The present lease; one that is not valid unless this candidate leads."""

    @property
    def epoch(self) -> Epoch | None:
        """Under which epoch this candidate last won; None if it has not, or has resigned since."""

    async def campaign(self) -> Epoch:
        """Try once to win. Leaves nothing behind if it fails or is cancelled. Refused, Unknown or Fatal if not won."""

    async def renew(self) -> None:
        """Prolong the lease, proved by the store. LeaseLost if it is over; Unknown: lead on until the deadline."""

    async def resign(self, successor: str | None = None, within: float = 5.0) -> None:
        """Stop leading: the lease stops being valid before the store is told. Harmless if this candidate does not lead.

        With a `successor`, nobody else can win for `within` seconds; if that cannot be prepared, the error leaves the
        leadership as it is. Unknown with an ended lease: the leadership lapses by itself, when the lease does.
        """

    async def observe(self) -> View:
        """What is true now, asked of the majority; never from a cache."""

    def watch(self) -> AsyncGenerator[View, None]:
        """The view now, then each change of it. Outlives failures of the store; raises Fatal only. Close it with
        `aclose()`, or leave it to the cancellation of the task that reads it."""

    async def pause(self) -> None:
        """Keep the present leader: no automatic failover until `resume`. Refused if nobody leads."""

    async def resume(self) -> None:
        """End the pause. Harmless if there is none."""

    async def close(self) -> None:
        """Release what this object holds (a leadership too, as `resign` does, if one is held)."""


def refusal(view: View, name: str) -> Refused | None:
    """The rule of who may win, the same for every implementation. None: `name` may try."""
    if view.leader is not None:
        return Refused(Reason.HELD, f"{view.leader.name} leads (epoch {view.leader.epoch})")
    if view.successor is not None:
        if view.successor != name:
            return Refused(Reason.RESERVED, f"a switchover reserves the leadership for {view.successor}")
        return None
    if view.keeps is not None and view.keeps != name:
        return Refused(Reason.PAUSED, f"automatic failover is paused: only {view.keeps} may lead")
    return None
