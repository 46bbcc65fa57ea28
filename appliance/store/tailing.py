"""What a mirror reads: the log's end, over one connection that stays open between calls.

Invariant: after `read` returned position P with nothing behind, whoever applied the records from `after` on holds
exactly the state that the log says at P. Every entry is hashed into the chain, and where the reading reaches the
position of the leadership row, the hashes must agree.

Not promised: that a reading which stops short of the end (`behind` > 0) belongs to the same log as `after`; that is
known only at the end, because only there the database keeps the hash. Until then NotAPrefix can still come.

The leadership row is read first and the entries after it: the log only grows while a session lasts, so the entries up
to that row's seq are those that its hash covers. A mirror reads the primary only.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from luigi_ha.appliance import log
from luigi_ha.appliance.engine.changes import Change, Epoch, JsonText
from luigi_ha.appliance.store.errors import NotAPrefix, SchemaMissing
from luigi_ha.appliance.store.failures import translated
from luigi_ha.appliance.store.position import Position, call_bytes, chained, event_bytes
from luigi_ha.appliance.store.records import decode

LIMIT = 5000  # entries of one reading
_LEADERSHIP = "SELECT epoch, seq, hash, last_time FROM leadership WHERE id = 1"
_ENTRIES = "SELECT seq, epoch, at, method, actor, kind, data FROM luigi_event WHERE seq > {} AND seq <= {} ORDER BY seq"

_log = log.get("mirror")


@dataclass(frozen=True, slots=True)
class Tail:
    """What follows a position."""

    records: list[Change]  # in the log's order, for `Scheduler.restore`
    position: Position  # after the last record; its epoch is the leadership row's
    last_time: float  # scheduler time of the last event read, s since the epoch of 1970; 0 in an empty log
    behind: int  # events that are in the log and not read yet

    @property
    def more(self) -> bool:
        """Whether to read again at once."""
        return self.behind > 0


class Session(Protocol):
    """A driver's connection to the primary, in autocommit mode."""

    def cursor(self) -> Any: ...
    def close(self) -> None: ...


class TailReader:
    """Reads the log's end again and again; for one thread at a time.

    A lost connection is replaced by the next call. `stale` says of a session whether a better one can be had.
    """

    def __init__(self, connect: Callable[[], Session], stale: Callable[[Session], bool], shown: str) -> None:
        self._connect = connect
        self._stale = stale
        self._shown = shown
        self._session: Session | None = None

    def read(self, after: Position, limit: int = LIMIT) -> Tail:
        """The entries after `after`, at most `limit`. One small query when there are none.

        Raises NotAPrefix (load anew), DatabaseAway (ask again), or SchemaMissing.
        """
        try:
            with translated(f"{self._shown}: reading the log's end"):
                if self._session is not None and self._stale(self._session):
                    self.close()
                if self._session is None:
                    self._session = self._connect()
                return _read(self._session, after, limit)
        except NotAPrefix as error:
            _log.warning("mirror_is_no_prefix", error=error, seq=after.seq)
            raise
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the connection up; a later `read` opens another."""
        if self._session is not None:
            session, self._session = self._session, None
            with suppress(Exception):
                session.close()


def _read(session: Session, after: Position, limit: int) -> Tail:
    cursor = session.cursor()
    try:
        cursor.execute(_LEADERSHIP)
        row = cursor.fetchone()
        if row is None:
            raise SchemaMissing("the leadership row is missing")
        epoch, seq, last_hash, last_time = Epoch(row[0]), row[1], row[2], row[3]
        if seq == after.seq and last_hash == after.hash:
            return Tail([], Position(epoch, seq, last_hash), last_time, 0)
        if seq <= after.seq:
            raise NotAPrefix(f"the log ends at {seq} ({last_hash}); the mirror is at {after.seq} ({after.hash})")
        end = min(seq, after.seq + limit)
        cursor.execute(_ENTRIES.format(after.seq, end))
        rows = cursor.fetchall()
    finally:
        cursor.close()
    chain, at = _chain(rows, after, end)
    if end == seq:
        at = last_time
        if chain != last_hash:
            raise NotAPrefix(f"the mirror's log has the hash {chain} at {seq}, the database's has {last_hash}")
    records = [decode(kind, JsonText(data)) for *_, kind, data in rows]
    return Tail(records, Position(epoch, end, chain), at, seq - end)


def _chain(rows: list[tuple[Any, ...]], after: Position, end: int) -> tuple[str, float]:
    """The chain's hash and the time after the rows, which must be dense from `after` to `end`."""
    chain = bytes.fromhex(after.hash)
    expected, time = after.seq, 0.0
    call, last = "", None
    for seq, epoch, at, method, actor, kind, data in rows:
        expected += 1
        if seq != expected:
            raise NotAPrefix(f"the entries {expected} to {seq - 1} are gone: retention dropped them")
        if last != (epoch, at, method, actor):
            last = (epoch, at, method, actor)
            call = call_bytes(epoch, at, method, actor)
        chain = chained(chain, event_bytes(seq, call, kind, data))
        time = at
    if expected != end:
        raise NotAPrefix(f"the entries {expected + 1} to {end} are gone: retention dropped them")
    return chain.hex(), time
