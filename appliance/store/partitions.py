"""The log's partitions on PostgreSQL: ranges of seq, made before they are needed, dropped whole.

A new one is made beside the table and then attached: attaching does not lock out readers or the writer, as
`CREATE TABLE ... PARTITION OF` does. Several processes may do so at once; the loser finds the work done.
"""

import re
from typing import Any, NamedTuple

import psycopg2

from luigi_ha.appliance.store.errors import Corrupt

_LIST = (
    "SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
    "WHERE i.inhparent = 'luigi_event'::regclass"
)
_BOUND = re.compile(r"FOR VALUES FROM \('?(\d+)'?\) TO \('?(\d+)'?\)")


class Partition(NamedTuple):
    """A table that holds `first` <= seq < `end`."""

    name: str
    first: int
    end: int


def listed(cursor: Any) -> list[Partition]:
    """The partitions, by range."""
    cursor.execute(_LIST)
    found = []
    for name, bound in cursor.fetchall():
        match = _BOUND.fullmatch(bound)
        if match is None:
            raise Corrupt(f"luigi_event: partition {name} has bounds we did not make: {bound}")
        found.append(Partition(name, int(match[1]), int(match[2])))
    return sorted(found, key=lambda partition: partition.first)


def ensure(cursor: Any, seq: int, size: int) -> int:
    """See to it that there is room for `seq` and at least half a partition more; the first seq without room."""
    while True:
        existing = listed(cursor)
        covered = existing[-1].end if existing else max(0, seq - seq % size)
        if covered > seq + size // 2:
            return covered
        try:
            _add(cursor, Partition(f"luigi_event_p{covered}", covered, covered + size))
        except psycopg2.Error:
            if not any(partition.first == covered for partition in listed(cursor)):
                raise
            # Another process was faster.


def _add(cursor: Any, partition: Partition) -> None:
    name, first, end = partition
    cursor.execute(
        f"CREATE TABLE {name} (LIKE luigi_event INCLUDING DEFAULTS INCLUDING CONSTRAINTS); "
        f"ALTER TABLE {name} ADD CONSTRAINT {name}_range CHECK (seq >= {first} AND seq < {end}); "
        f"ALTER TABLE luigi_event ATTACH PARTITION {name} FOR VALUES FROM ({first}) TO ({end}); "
        f"ALTER TABLE {name} DROP CONSTRAINT {name}_range"
    )


def drop_below(cursor: Any, seq: int) -> int:
    """Drop every partition whose events all come before `seq`, oldest first; the first seq that is left."""
    floor = 0
    partitions = listed(cursor)
    for name, _, end in partitions[:-1]:
        if end > seq:
            break
        cursor.execute(f"DROP TABLE {name}")
        floor = end
    return floor
