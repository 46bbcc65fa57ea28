"""Taking leadership of the log: from the commit on, no earlier leader can write.

On PostgreSQL it is one statement, committed by the message that brings it: a leader that freezes here leaves no
transaction open that would hold the row against its successor.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, select, update

from luigi_ha.appliance import clock
from luigi_ha.appliance.engine.changes import Epoch
from luigi_ha.appliance.store import replication, schema, tables
from luigi_ha.appliance.store.errors import DatabaseAway, FencedError, SchemaMissing
from luigi_ha.appliance.store.loading import read_position
from luigi_ha.appliance.store.position import Position
from luigi_ha.appliance.store.postgres_connection import Connection as PostgresConnection
from luigi_ha.appliance.store.postgres_writer import END_SESSIONS
from luigi_ha.appliance.store.replication import Durability
from luigi_ha.appliance.store.text import escape

# `epoch` NULL: the next one.
_TAKE = (
    "UPDATE leadership SET epoch = coalesce(%(epoch)s, epoch + 1), holder = %(holder)s, since = %(since)s "
    "WHERE id = 1 AND (%(epoch)s::bigint IS NULL OR epoch < %(epoch)s) RETURNING epoch, seq, hash"
)
_READ = "SELECT epoch, seq, hash, holder FROM leadership WHERE id = 1"


def take_postgres(connection: PostgresConnection, holder: str, epoch: Epoch | None, durability: Durability) -> Position:
    """As `take`, on a connection in autocommit mode. Strict: returns when a synchronous standby has our epoch."""
    with connection.cursor() as cursor:
        if not schema.is_current(cursor):
            raise SchemaMissing("the schema is not the one this program needs")
        # A frozen leader's session may be in the middle of a transaction that holds the row.
        cursor.execute(END_SESSIONS)
        if durability is Durability.STRICT:
            cursor.execute(replication.REQUIRE)
        connection.notices.clear()
        cursor.execute(_TAKE, {"epoch": epoch, "holder": escape(holder), "since": _now()})
        row = cursor.fetchone()
        if connection.notices:
            raise DatabaseAway(f"committed with a warning: {' '.join(connection.notices[-1].split())}")
        if row is None:
            cursor.execute(_READ)
            row = cursor.fetchone()
            if row is None:
                raise SchemaMissing("the leadership row is missing")
            if row[0] != epoch or row[3] != escape(holder):
                raise _late(epoch, row[0])
        if durability is Durability.STRICT:
            replication.confirm(cursor, connection.budget)
    return Position(*row[:3])


def take(connection: Connection, holder: str, epoch: Epoch | None) -> Position:
    """Write our epoch by compare-and-set; the position from which to write.

    `epoch` None takes the next one. A given epoch must be newer than the database's: a candidate that won long ago and
    wakes up late must not depose today's leader (FencedError). Asking again for an epoch that this holder already wrote
    succeeds: the first answer may have been lost.
    """
    t = tables.leadership.c
    # Locks the row, so what is read is what is replaced.
    connection.execute(select(t.id).where(t.id == 1).with_for_update())
    found, _ = read_position(connection)
    mine = Epoch(found.epoch + 1) if epoch is None else epoch
    values: dict[str, Any] = {"epoch": mine, "holder": escape(holder), "since": _now()}
    changed = connection.execute(update(tables.leadership).where(t.id == 1, t.epoch < mine).values(values)).rowcount
    if changed != 1:
        wrote_it = select(t.id).where(t.id == 1, t.epoch == mine, t.holder == values["holder"])
        if connection.execute(wrote_it).first() is not None:
            connection.rollback()
            return found
        connection.rollback()
        raise _late(mine, found.epoch)
    connection.commit()
    return Position(mine, found.seq, found.hash)


def _now() -> datetime:
    return datetime.fromtimestamp(clock.wall(), UTC).replace(tzinfo=None)


def _late(mine: int | None, found: int) -> FencedError:
    return FencedError(f"epoch {mine} is not newer than {found}, which the database already has")
