"""Dropping the old end of the log. The state does not need it; history, mirrors that fell behind and audits do.

PostgreSQL drops whole partitions; elsewhere rows go in small transactions, so that the journal never waits long.
"""

from typing import Any

from sqlalchemy import Connection, delete, func, select, text

from luigi_ha.appliance.store import partitions, tables

ROWS_PER_DELETE = 1000


def first_kept(connection: Connection, *, last_seq: int, keep_events: int | None, older_than: float | None) -> int:
    """The first seq to keep: of the last `keep_events`, and of those not before scheduler time `older_than` (s).

    With both, an event goes only if both let it go; with neither, nothing goes.
    """
    limits = []
    if keep_events is not None:
        limits.append(last_seq - keep_events + 1)
    if older_than is not None:
        limits.append(_first_at(connection, older_than, last_seq))
    return max(min(limits, default=0), 0)


def _first_at(connection: Connection, moment: float, last_seq: int) -> int:
    """The first seq whose time is not before `moment`: times never fall along the log, so halving finds it."""
    t = tables.event.c
    low = connection.execute(select(func.min(t.seq))).scalar()
    if low is None:
        return last_seq + 1
    high = last_seq + 1
    while low < high:
        middle = (low + high) // 2
        at = connection.execute(select(t.at).where(t.seq == middle)).scalar()
        if at is None or at >= moment:
            high = middle
        else:
            low = middle + 1
    return int(low)


def drop_partitions(connection: Connection, seq: int) -> int:
    """PostgreSQL: drop the partitions that end at or before `seq`; the first seq that is left."""
    # The lock that a drop needs stops readers and the writer; better to come again than to make them wait.
    connection.execute(text("SET LOCAL lock_timeout = '500ms'"))
    driver: Any = connection.connection.cursor()
    floor = partitions.drop_below(driver, seq)
    connection.commit()
    return floor


def delete_some(connection: Connection, seq: int) -> int:
    """Elsewhere: delete the oldest rows before `seq`, at most ROWS_PER_DELETE; how many went."""
    t = tables.event.c
    low = connection.execute(select(func.min(t.seq))).scalar()
    if low is None or low >= seq:
        connection.rollback()
        return 0
    end = min(seq, low + ROWS_PER_DELETE)
    gone = connection.execute(delete(tables.event).where(t.seq < end)).rowcount
    connection.commit()
    return gone
