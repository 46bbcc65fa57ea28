"""What keeper and scheduler say to each other: one JSON object a packet, `{"do": <name>, ...}`.

A message carries news; what must be certain (the deadline, the epoch) is in `luigi_ha.ha.keeper.cells`. Both sides
ignore fields they do not know, and messages too: after an upgrade of the package the scheduler that is started next may
be newer than the keeper that starts it.
"""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from luigi_ha.ha.errors import HaError

LONGEST = 400  # characters of one text in a message; whatever a database said, a packet stays a packet


class Malformed(HaError):  # noqa: N818 - as in ha.errors
    """A packet that is no message, or one that this version does not know."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Another node, which leads."""

    name: str
    address: str
    """The URL at which its scheduler is reached by other nodes."""
    epoch: int


# ----------------------------------------------------------------------------------------------- keeper -> scheduler


@dataclass(frozen=True, slots=True)
class Lead:
    """You lead under `epoch`: park, fence, catch up, open. `cause` is a short text for people."""

    epoch: int
    cause: str
    previous: str | None = None
    """Who led before, if that is known."""
    served: int = 0
    """The greatest epoch under which anybody is known to have served."""


@dataclass(frozen=True, slots=True)
class Follow:
    """Another leads, or nobody; sent whenever that changes."""

    leader: Peer | None = None
    paused: bool = False
    """There is no automatic failover for now. (Members says whom that keeps, and says it to a leader too.)"""
    served: int = 0
    """As in Lead."""


@dataclass(frozen=True, slots=True)
class HandOver:
    """Park, finish what executes, flush the journal, then say Handed. Nothing may be executed after that."""

    successor: str


@dataclass(frozen=True, slots=True)
class Kept:
    """The hand-over came to nothing while the lease is still ours: go on leading, open again."""

    reason: str


@dataclass(frozen=True, slots=True)
class Over:
    """The leadership is over (the deadline is 0 already): become a standby."""

    reason: str


@dataclass(frozen=True, slots=True)
class Members:
    """Who is present, us too, and whom a pause keeps: whenever any of it changes, to a leader too."""

    members: dict[str, dict[str, str]]
    """By name; see `luigi_ha.ha.keeper.news` for the words."""
    keeps: str | None = None
    """Whom a pause keeps; None: there is no pause."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Drain and exit with 0."""


# ----------------------------------------------------------------------------------------------- scheduler -> keeper


@dataclass(frozen=True, slots=True)
class Able:
    """May be promoted: the database is reached and the mirror has caught up."""

    above: int
    """The greatest epoch seen in the database: the next one must be greater."""
    preferred: bool = False
    """Whether this node should lead rather than another: it is on the host of the database's primary."""
    well: bool = True
    """Whether the database answers from here, now."""


@dataclass(frozen=True, slots=True)
class Unable:
    """May not be promoted."""

    reason: str


@dataclass(frozen=True, slots=True)
class Leading:
    """The gate is open; to be said again when it opens again after Kept."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Handed:
    """The answer to HandOver: everything executed is in the database, and nothing more will be executed. Whoever has
    said this is a standby, which passes calls on to whom Follow names, unless Kept takes it back."""


@dataclass(frozen=True, slots=True)
class Quiet:
    """After a hand-over: no call is in flight here any more, parked ones included, so the address may move."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Cannot lead: fenced, refused by the database, cannot catch up."""

    reason: str


ToScheduler = Lead | Follow | HandOver | Kept | Over | Members | Stop
ToKeeper = Able | Unable | Leading | Handed | Quiet | GiveUp
Message = ToScheduler | ToKeeper

_NAMES: dict[type[Any], str] = {
    Lead: "lead",
    Follow: "follow",
    HandOver: "hand_over",
    Kept: "kept",
    Over: "over",
    Members: "members",
    Stop: "stop",
    Able: "able",
    Unable: "unable",
    Leading: "leading",
    Handed: "handed",
    Quiet: "quiet",
    GiveUp: "give_up",
}
_TYPES = {name: kind for kind, name in _NAMES.items()}


def encode(message: Message) -> bytes:
    """The packet. Long texts are cut."""
    fields = dataclasses.asdict(message)
    short = {name: value[:LONGEST] if isinstance(value, str) else value for name, value in fields.items()}
    return json.dumps({"do": _NAMES[type(message)], **short}).encode()


def decode(packet: bytes) -> Message:
    """The message of a packet; Malformed if it is none, or none of those above."""
    try:
        found = json.loads(packet)
        kind = _TYPES[found.pop("do")]
        message: Message = _built(kind, found)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Malformed(f"not a message: {packet[:80]!r}") from error
    return message


def _built(kind: type[Any], found: dict[str, Any]) -> Any:
    known = {field.name: found[field.name] for field in dataclasses.fields(kind) if field.name in found}
    if kind is Follow and known.get("leader") is not None:
        known["leader"] = _built(Peer, known["leader"])
    message = kind(**known)
    for field in dataclasses.fields(kind):
        value = getattr(message, field.name)
        if field.name != "members" and not isinstance(value, field.type):  # type: ignore[arg-type]
            raise TypeError(f"{field.name} = {value!r}")
    return message
