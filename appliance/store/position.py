"""Where a log stands, and what a leader makes of where the database stands.

Invariant: (epoch, seq, hash) names one history. Each event's hash covers the one before it, so two logs with the same
hash at the same seq are the same log, whichever way their events were grouped into transactions.
"""

import enum
import hashlib
from collections.abc import Iterable
from typing import NamedTuple

from luigi_ha.appliance.engine.changes import Epoch

HASH_BYTES = 16


class Position(NamedTuple):
    """The end of a log: who wrote last, the number of its last event (0: none), and the chain's hash there."""

    epoch: Epoch
    seq: int
    hash: str


class Finding(enum.Enum):
    """What a leader finds when it compares the database with itself."""

    EQUAL = "the database stands where the last acknowledged batch left it"
    APPLIED = "the batch whose outcome was unknown is there"
    BEHIND = "the database lost the end of the log, and we still have it"
    DEPOSED = "another leader has written its epoch"
    DIVERGED = "the log in the database is not the one we wrote"


def compare(found: Position, ours: Position, in_flight: Position | None, retained: Iterable[Position]) -> Finding:
    """Judge `found`, the database's position, against `ours`, the last acknowledged.

    `in_flight` is where the batch of unknown outcome would end; `retained` are earlier positions from which the log
    can be written again.
    """
    if found.epoch != ours.epoch:
        return Finding.DEPOSED
    if found == ours:
        return Finding.EQUAL
    if in_flight is not None and found == in_flight:
        return Finding.APPLIED
    if found in retained:
        return Finding.BEHIND
    return Finding.DIVERGED


def call_bytes(epoch: int, at: float, method: str, actor: str | None) -> str:
    """What the events of one call have in common, for the chain."""
    return f"{epoch}\n{at!r}\n{method}\n{actor}"


def event_bytes(seq: int, call: str, kind: str, data: str) -> bytes:
    """An event as the chain covers it: everything the log row says, text as it is stored."""
    return f"{seq}\n{call}\n{kind}\n{data}".encode()


def chained(previous: bytes, event: bytes) -> bytes:
    """The hash after `event`, given the hash before it."""
    return hashlib.blake2b(previous + event, digest_size=HASH_BYTES).digest()
