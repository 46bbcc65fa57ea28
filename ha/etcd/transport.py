"""The port between the election and etcd: few calls, typed, each with a budget in seconds.

Every implementation promises
    * A call ends within its budget, with a reply or one of the three kinds of errors (`luigi_ha.ha.errors`).
    * `read` and `txn` are linearizable, and never show a revision or a raft term lower than one they showed before.
    * Within its budget a call may be tried at several endpoints, so a `txn` may be executed twice, and may be executed
      after its caller has been told Unknown. Guards must make both harmless; reading again tells what happened.
    * A lease that is gone is a value (`keep_alive` returns 0), not an error.
"""

import enum
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from luigi_ha.ha.errors import HaError


class Compacted(HaError):  # noqa: N818 - it says what happened
    """The events asked for are not kept any more: list anew."""


@dataclass(frozen=True, slots=True)
class Header:
    """Who answered, and from which state."""

    cluster: int
    member: int
    revision: int
    term: int


@dataclass(frozen=True, slots=True)
class Item:
    """One key as it is."""

    key: str
    value: str
    create_revision: int
    mod_revision: int
    lease: int


@dataclass(frozen=True, slots=True)
class Listing:
    """All keys under a prefix, at one revision."""

    header: Header
    items: Mapping[str, Item]


class Field(enum.Enum):
    """What a guard looks at."""

    CREATED = "CREATE"
    MODIFIED = "MOD"
    LEASE = "LEASE"


@dataclass(frozen=True, slots=True)
class Guard:
    """A transaction changes nothing unless the key's revision, or the id of its lease, is this one; 0: there is no such
    key."""

    key: str
    revision: int
    field: Field = Field.MODIFIED


@dataclass(frozen=True, slots=True)
class Put:
    """Write a key, under a lease if `lease` is not 0."""

    key: str
    value: str
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a key, if it is there."""

    key: str


Change = Put | Delete


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a transaction."""

    header: Header
    succeeded: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """Events of a stream, all up to `revision`: an Item that was put, or the name of a key that is gone."""

    revision: int
    events: Sequence[Item | str]


class Stream(Protocol):
    """One watch at one endpoint. It does not resume: `luigi_ha.ha.etcd.watch` does."""

    async def next(self, seconds: float) -> Batch | None:
        """The next events; None after so many seconds of silence. Unknown if the stream ended; Compacted; Fatal."""

    async def probe(self, budget: float) -> Listing:
        """A linearizable read at the endpoint that this stream comes from. Unknown if that does not answer."""

    async def close(self) -> None: ...


class Transport(Protocol):
    """etcd, as far as an election needs it."""

    async def read(self, prefix: str, budget: float) -> Listing: ...

    async def txn(self, guards: Sequence[Guard], changes: Sequence[Change], budget: float) -> Outcome: ...

    async def grant(self, lease: int, ttl: int, budget: float) -> float:
        """Make a lease with this id. Returns the ttl that was granted, which may be longer."""

    async def keep_alive(self, lease: int, budget: float) -> float:
        """Prolong the lease. Returns its ttl; 0 if whoever answered knows no such lease."""

    async def revoke(self, lease: int, budget: float) -> None:
        """End the lease, and with it the keys under it. Harmless if it is gone."""

    async def stream(self, prefix: str, revision: int, budget: float) -> Stream:
        """Watch from `revision` on, that one included."""

    async def spread(self, shun: Collection[str], budget: float) -> str | None:
        """If the member on our host leads etcd, or one on a host of `shun`, and another endpoint's is well, make that
        one lead. Names its endpoint; None: nothing was to be done, or could be."""

    async def close(self) -> None: ...
