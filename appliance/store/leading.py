"""Taking leadership of the log: from the commit on, no earlier leader can write."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, select, text, update

from appliance import clock
from appliance.engine.changes import Epoch
from appliance.store import tables
from appliance.store.errors import FencedError
from appliance.store.loading import read_position
from appliance.store.position import Position
from appliance.store.postgres_writer import END_SESSIONS
from appliance.store.target import Kind
from appliance.store.text import escape


def take(connection: Connection, kind: Kind, holder: str, epoch: Epoch | None) -> Position:
    """Write our epoch by compare-and-set; the position from which to write.

    `epoch` None takes the next one. A given epoch must be newer than the database's: a candidate that won long ago and
    wakes up late must not depose today's leader (FencedError). Asking again for an epoch that this holder already wrote
    succeeds: the first answer may have been lost.
    """
    if kind is Kind.POSTGRESQL:
        # A frozen leader may have left a transaction open that holds the row.
        connection.execute(text(END_SESSIONS))
        connection.commit()
    t = tables.leadership.c
    # Locks the row, so what is read is what is replaced.
    connection.execute(select(t.id).where(t.id == 1).with_for_update())
    found, _ = read_position(connection)
    mine = Epoch(found.epoch + 1) if epoch is None else epoch
    values: dict[str, Any] = {
        "epoch": mine,
        "holder": escape(holder),
        "since": datetime.fromtimestamp(clock.wall(), UTC).replace(tzinfo=None),
    }
    changed = connection.execute(update(tables.leadership).where(t.id == 1, t.epoch < mine).values(values)).rowcount
    if changed != 1:
        wrote_it = select(t.id).where(t.id == 1, t.epoch == mine, t.holder == values["holder"])
        if connection.execute(wrote_it).first() is not None:
            connection.rollback()
            return found
        connection.rollback()
        raise FencedError(f"epoch {mine} is not newer than {found.epoch}, which the database already has")
    connection.commit()
    return Position(mine, found.seq, found.hash)
