"""The journal's session on SQLite: BEGIN IMMEDIATE, the fence, the rows, COMMIT; and a look whether it is still the
file under the name that was written to."""
# ruff: noqa: S608 - names and numbers of ours; values are bound or quoted

import sqlite3
from contextlib import suppress
from functools import cache

from luigi_ha.appliance.store.batch import ALL_GROUPS, Batch, Row
from luigi_ha.appliance.store.errors import FenceRefused, SchemaMissing
from luigi_ha.appliance.store.failures import translated
from luigi_ha.appliance.store.position import Position
from luigi_ha.appliance.store.sqlite_file import Watched
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
    "UPDATE leadership SET seq = ?, hash = ?, last_time = max(last_time, ?) "
    "WHERE id = 1 AND epoch = ? AND seq = ? AND hash = ?"
)


class SqliteWriter:
    """One connection in autocommit mode."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._connection = watched.connection

    def position(self) -> Position:
        with translated("reading the leadership row"):
            row = self._connection.execute(READ_POSITION).fetchone()
            self._watched.after()
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
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        try:
            self._watched.before()
            fence = (last.seq, last.hash, time, previous.epoch, previous.seq, previous.hash)
            if execute(FENCE, fence).rowcount != 1:
                raise FenceRefused("the database stands elsewhere")  # noqa: TRY301
            if batch is not None:
                self._rows(batch)
            execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                execute("ROLLBACK")
            raise
        self._watched.after()

    def _rows(self, batch: Batch) -> None:
        many = self._connection.executemany
        many(_INSERT_EVENT, batch.events)
        for groups, rows in batch.tasks.items():
            if groups == ALL_GROUPS:
                many(upsert("luigi_task", task_columns(groups), "num"), rows)
            elif groups:
                many(_update_task(groups), [(*row[2:], row[0]) for row in rows])
        many("DELETE FROM luigi_task WHERE num = ?", [(num,) for num in batch.tasks_removed])
        many(upsert("luigi_worker", WORKER_COLUMNS, "wid"), batch.workers.values())
        many(upsert("luigi_resource", RESOURCE_COLUMNS, "name_key"), batch.resources.values())
        many(upsert("luigi_batcher", BATCHER_COLUMNS, "name_key"), batch.batchers.values())
        many(upsert("luigi_setting", SETTING_COLUMNS, "name_key"), batch.settings.values())
        many(upsert("luigi_answer", ANSWER_COLUMNS, "num"), batch.answers.values())
        if batch.answers_forgotten:
            self._connection.execute("DELETE FROM luigi_answer WHERE num <= ?", (batch.answers_forgotten,))
        many("DELETE FROM luigi_worker WHERE wid = ?", [(wid,) for wid in batch.workers_removed])
        many("DELETE FROM luigi_batcher WHERE name_key = ?", [(key,) for key in batch.batchers_removed])

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self._connection.close()


def _marks(row: tuple[str, ...] | Row) -> str:
    return ", ".join("?" * len(row))


_INSERT_EVENT = f"INSERT INTO luigi_event ({', '.join(EVENT_COLUMNS)}) VALUES ({_marks(EVENT_COLUMNS)})"


@cache
def upsert(table: str, columns: tuple[str, ...], key: str) -> str:
    """Insert a row or replace the columns of the one with its key."""
    changes = ", ".join(f"{name} = excluded.{name}" for name in columns if name != key)
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({_marks(columns)}) "
        f"ON CONFLICT ({key}) DO UPDATE SET {changes}"
    )


@cache
def _update_task(groups: int) -> str:
    changes = ", ".join(f"{name} = ?" for name in task_columns(groups)[2:])
    return f"UPDATE luigi_task SET {changes} WHERE num = ?"
