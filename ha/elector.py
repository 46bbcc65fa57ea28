"""The port of leadership: who leads, under which epoch, and until when.

Guaranteed by every implementation
    * At most one candidate is under a valid lease at any time, by its own clock (`luigi_ha.ha.lease`: the clock model).
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
from collections.abc import AsyncGenerator, Collection, Mapping
from dataclasses import dataclass, field
from typing import NewType, Protocol

from luigi_ha.ha.errors import Refused
from luigi_ha.ha.lease import Lease, Timing

Epoch = NewType("Epoch", int)

ASKED_FOR = 30.0  # s for which a switchover stays asked for


class Reason(enum.StrEnum):
    """Why a campaign is refused."""

    HELD = "held"  # another leads
    PAUSED = "paused"  # the pause keeps another
    RESERVED = "reserved"  # a switchover names another
    VACANT = "vacant"  # nobody leads, so there is nobody to keep
    CHANGED = "changed"  # something changed while we campaigned: look again
    ASKED = "asked"  # another switchover has been asked for, and waits for its answer


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
class Farewell:
    """What the last leader said when it resigned."""

    name: str
    epoch: Epoch
    reason: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A switchover that somebody has asked the leader for. Lapses after `ASKED_FOR` seconds."""

    to: str
    id: str
    refused: str | None = None
    """Why the leader will not; None: not answered yet."""


@dataclass(frozen=True, slots=True)
class Member:
    """A node that is present, and what it says of itself."""

    name: str
    about: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class View:
    """What the store says of leadership at one moment."""

    leader: Leader | None = None
    keeps: str | None = None
    """The name that a pause keeps; None while not paused."""
    successor: str | None = None
    """The name for which a switchover has reserved the leadership, until that lapses."""
    farewell: Farewell | None = None
    """Why the last leader resigned, if it did; gone when the next one wins."""
    address_holder: str | None = None
    """Who still has the address although it has resigned (a switchover moves it last); lapses by itself."""
    asked: Asked | None = None
    served: int = 0
    """The greatest epoch under which a leader is known to have served; whatever it writes to has seen that epoch."""

    @property
    def paused(self) -> bool:
        return self.keeps is not None


class Elector(Protocol):
    """One candidate's access to leadership. All methods belong to one event loop, and any of them may be cancelled.
    `campaign`, `renew`, `resign` and `close` are called one at a time; everything else may go on beside them.

    Unless said otherwise, a method raises Unknown if the store has not answered within `timing.request_timeout`, and
    then it may still happen; Fatal if it never will."""

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

    async def campaign(self, above: int = 0) -> Epoch:
        """Try once to win, under an epoch greater than `above`. Leaves nothing behind if it fails or is cancelled.
        Refused, Unknown or Fatal if not won."""

    async def renew(self) -> None:
        """Prolong the lease, proved by the store. LeaseLost if it is over; Unknown: lead on until the deadline."""

    async def resign(
        self, successor: str | None = None, within: float = 5.0, *, reason: str = "", keep_address: bool = False
    ) -> None:
        """Stop leading: the lease stops being valid before the store is told. Harmless if this candidate does not lead.

        With a `successor`, nobody else can win for `within` seconds; if that cannot be prepared, the error leaves the
        leadership as it is. Unknown with an ended lease: the leadership lapses by itself, when the lease does.

        `reason` becomes `View.farewell`. With `keep_address` this candidate is `View.address_holder` until it calls
        `release_address`, or `within` has passed.
        """

    async def release_address(self) -> None:
        """The address is free: not `View.address_holder` any more. Harmless if another is, or nobody."""

    async def observe(self) -> View:
        """What is true now, asked of the majority; never from a cache."""

    def watch(self) -> AsyncGenerator[View, None]:
        """The view now, then each change of it. Outlives failures of the store; raises Fatal only. Close it with
        `aclose()`, or leave it to the cancellation of the task that reads it."""

    async def pause(self) -> None:
        """Keep the present leader: no automatic failover until `resume`. Refused if nobody leads."""

    async def resume(self) -> None:
        """End the pause. Harmless if there is none."""

    async def remember(self, served: int) -> None:
        """Keep `served` as `View.served`, for good; only the leader of that epoch does. 0: forget it, from anywhere."""

    async def ask_switchover(self, to: str) -> Asked:
        """Ask the leader to hand over to `to`. It has happened when `to` leads; a refusal shows as `View.asked` with
        the same id. Refused if nobody leads, or another request waits for its answer."""

    async def answer_switchover(self, asked: Asked, refused: str | None) -> None:
        """The leader's answer: why not; or None, it is done, and the request is removed. Harmless if it is gone."""

    async def register(self, about: Mapping[str, str]) -> None:
        """Be present as a member with these words, until `close` or the end of this process (noticed at once by the
        file lock, after one ttl by etcd). Call it again when they change. Unknown: it is repeated until told."""

    async def members(self) -> list[Member]:
        """Who is present, by name."""

    async def spread(self, shun: Collection[str] = ()) -> str | None:
        """If the store's own leader is on this host, or on one of `shun`, and another can do it, make that one lead:
        the loss of that host then costs a lease, not an election plus a lease. Returns who leads the store now; None:
        nothing was done."""

    async def release(self, name: str, reason: str = "") -> bool:
        """End the leadership and the presence of `name`, whose process has ended: for the stop hook of its supervisor,
        in any process. True if it led. The file lock has nothing to do: the kernel has done it; False."""

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
