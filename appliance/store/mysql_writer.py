"""The journal's session on MariaDB or MySQL: a transaction of a few multi-row statements."""
# ruff: noqa: S608 - names and numbers of ours; values are bound or quoted

from collections.abc import Collection, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import pymysql

from luigi_ha.appliance.store.batch import Batch, Row
from luigi_ha.appliance.store.errors import FenceRefused, Poisoned, SchemaMissing
from luigi_ha.appliance.store.failures import translated
from luigi_ha.appliance.store.position import Position
from luigi_ha.appliance.store.statements import (
    ANSWER_COLUMNS,
    BATCHER_COLUMNS,
    EVENT_COLUMNS,
    RESOURCE_COLUMNS,
    SETTING_COLUMNS,
    WORKER_COLUMNS,
    task_columns,
)

READ_POSITION = "SELECT epoch, seq, hash FROM leadership WHERE id = 1"
FENCE = (
    "UPDATE leadership SET seq = %s, hash = %s, last_time = greatest(last_time, %s) "
    "WHERE id = 1 AND epoch = %s AND seq = %s AND hash = %s"
)
ROWS_PER_STATEMENT = 500
PACKET_MARGIN = 65536


class MysqlWriter:
    """One autocommit connection."""

    def __init__(self, connection: "pymysql.connections.Connection[Any]") -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        with translated("reading max_allowed_packet"):
            self._cursor.execute("SELECT @@max_allowed_packet")
            row = self._cursor.fetchone()
        self._packet = int(row[0]) if row else 0
        # The driver packs several rows into a statement up to this length.
        self._cursor.max_stmt_length = min(1 << 20, self._packet - PACKET_MARGIN)

    @property
    def session(self) -> int:
        """The server's number for our connection."""
        return int(self._connection.thread_id())  # type: ignore[no-untyped-call]

    def end_session(self, number: int) -> None:
        """End an earlier session of ours that may still hold the fence row."""
        with suppress(pymysql.err.MySQLError):
            self._connection.kill(number)  # type: ignore[no-untyped-call]

    def position(self) -> Position:
        with translated("reading the leadership row"):
            self._cursor.execute(READ_POSITION)
            row = self._cursor.fetchone()
        if row is None:
            raise SchemaMissing("the leadership row is missing")
        return Position(*row)

    def write(self, batch: Batch) -> None:
        with translated("writing a batch"):
            self._transaction(batch.previous, batch.last, batch.time, batch)

    def confirm(self, position: Position, time: float) -> None:
        with translated("confirming a batch"):
            self._transaction(position, position, time, None)

    def _transaction(self, previous: Position, last: Position, time: float, batch: Batch | None) -> None:
        self._connection.begin()
        try:
            fence = (last.seq, last.hash, time, previous.epoch, previous.seq, previous.hash)
            if self._cursor.execute(FENCE, fence) != 1:
                raise FenceRefused("the database stands elsewhere")  # noqa: TRY301
            if batch is not None:
                self._rows(batch)
            self._connection.commit()
        except BaseException:
            with suppress(pymysql.err.Error):
                self._connection.rollback()
            raise

    def _rows(self, batch: Batch) -> None:
        self._many(_insert("luigi_event", EVENT_COLUMNS), batch.events)
        for groups, rows in batch.tasks.items():
            if groups:
                self._many(_upsert("luigi_task", task_columns(groups), "num"), rows)
        self._delete("luigi_task", "num", batch.tasks_removed)
        self._many(_upsert("luigi_worker", WORKER_COLUMNS, "wid"), batch.workers.values())
        self._many(_upsert("luigi_resource", RESOURCE_COLUMNS, "name_key"), batch.resources.values())
        self._many(_upsert("luigi_batcher", BATCHER_COLUMNS, "name_key"), batch.batchers.values())
        self._many(_upsert("luigi_setting", SETTING_COLUMNS, "name_key"), batch.settings.values())
        self._many(_upsert("luigi_answer", ANSWER_COLUMNS, "num"), batch.answers.values())
        if batch.answers_forgotten:
            self._cursor.execute("DELETE FROM luigi_answer WHERE num <= %s", (batch.answers_forgotten,))
        self._delete("luigi_worker", "wid", list(batch.workers_removed))
        self._delete("luigi_batcher", "name_key", list(batch.batchers_removed))

    def _many(self, statement: str, rows: Collection[Row]) -> None:
        for row in rows:
            size = sum(len(value) for value in row if isinstance(value, str))
            if size > self._packet - PACKET_MARGIN:
                raise Poisoned(f"a row of {size} characters exceeds the server's max_allowed_packet ({self._packet})")
        if rows:
            self._cursor.executemany(statement, list(rows))

    def _delete(self, table: str, key: str, values: Sequence[Any]) -> None:
        for start in range(0, len(values), ROWS_PER_STATEMENT):
            some = values[start : start + ROWS_PER_STATEMENT]
            self._cursor.execute(f"DELETE FROM {table} WHERE {key} IN ({', '.join(['%s'] * len(some))})", some)

    def close(self) -> None:
        with suppress(pymysql.err.Error, OSError):
            self._connection.close()


@cache
def _insert(table: str, columns: tuple[str, ...]) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join(['%s'] * len(columns))})"


@cache
def _upsert(table: str, columns: tuple[str, ...], key: str) -> str:
    changes = ", ".join(f"{name} = VALUES({name})" for name in columns if name not in (key, "task_id"))
    return f"{_insert(table, columns)} ON DUPLICATE KEY UPDATE {changes}"
