"""The record of changes of leader: one row for each epoch that opened its gate."""

from dataclasses import astuple, dataclass, fields, replace
from typing import Any

from sqlalchemy import Connection, insert, literal, select

from luigi_ha.appliance.engine.changes import Epoch
from luigi_ha.appliance.store import tables
from luigi_ha.appliance.store.errors import FencedError
from luigi_ha.appliance.store.loading import read_position
from luigi_ha.appliance.store.text import escape, unescape


@dataclass(frozen=True, slots=True)
class Failover:
    """One change of leader, as the new leader saw it."""

    epoch: Epoch  # the new leader's
    at: float  # when calls were served again: wall clock, s since the epoch of 1970
    holder: str  # the new leader
    previous: str | None  # who led before; None: nobody known
    cause: str  # for people: "switchover", "the scheduler of n1 died"
    parked_seconds: float | None  # how long no calls were served; None: not known
    promotion_seconds: float  # from the order to lead until calls were served
    warm: bool  # from a mirror, without reading the state tables
    events_read: int  # read from the log on the way
    story: str | None = None  # JSON: what happened, moment by moment; None: not asked for, or of an earlier version


_NAMES = tuple(field.name for field in fields(Failover))
_SHORT = _NAMES[:-1]


def record(connection: Connection, failover: Failover) -> None:
    """Write it, unless it is there. One statement; raises FencedError if another epoch leads by now."""
    t = tables.failover
    values = [
        literal(escape(value) if isinstance(value, str) else value, t.c[name].type).label(name)
        for name, value in zip(_NAMES, astuple(failover), strict=True)
    ]
    leads = tables.leadership.c
    known = select(t.c.epoch).where(t.c.epoch == failover.epoch).exists()
    rows = select(*values).where(leads.id == 1, leads.epoch == failover.epoch, ~known)
    connection.execute(insert(t).from_select(_NAMES, rows))
    found, _ = read_position(connection)
    if found.epoch != failover.epoch:
        raise FencedError(f"epoch {found.epoch} leads; ours is {failover.epoch}")


def read(connection: Connection, limit: int) -> list[Failover]:
    """The last `limit`, oldest first."""
    t = tables.failover.c
    rows = connection.execute(select(*(t[name] for name in _SHORT)).order_by(t.epoch.desc()).limit(limit)).all()
    return [_failover(row) for row in reversed(rows)]


def read_story(connection: Connection, epoch: int) -> Failover | None:
    """The one of this epoch, whole; None: there is none."""
    t = tables.failover.c
    row = connection.execute(select(*(t[name] for name in _NAMES)).where(t.epoch == epoch)).first()
    if row is None:
        return None
    return replace(_failover(row), story=unescape(row.story))


def _failover(row: Any) -> Failover:
    said = {"holder": unescape(row.holder), "previous": unescape(row.previous), "cause": unescape(row.cause)}
    return replace(Failover(*row), **said)
