"""The journal's session on PostgreSQL: one message per batch, partitions of the log made ahead.

A session whose server has been replaced by one with a higher timeline writes nothing more. With strict durability a
batch is not done before a synchronous standby has it: see `replication`.

A commit that comes back with a warning was not replicated as asked (a cancelled wait for the synchronous standby
returns *success*, and measured, none of those rows survived a failover): it is reported as DatabaseAway, outcome
unknown.
"""
# ruff: noqa: S608 - names and numbers of ours; values are bound or quoted

from contextlib import suppress

import psycopg2

from luigi_ha.appliance.store import partitions, postgres_sql, replication
from luigi_ha.appliance.store.batch import Batch
from luigi_ha.appliance.store.errors import DatabaseAway, SchemaMissing
from luigi_ha.appliance.store.failures import translated
from luigi_ha.appliance.store.position import Position
from luigi_ha.appliance.store.postgres_connection import Connection
from luigi_ha.appliance.store.primary import Primary
from luigi_ha.appliance.store.replication import Durability
from luigi_ha.appliance.store.tables import leadership

# A batch may be one call's hundred thousand removals: seconds per record on top of the call's budget.
SECONDS_PER_RECORD = 0.0005
READ_POSITION = f"SELECT epoch, seq, hash FROM {leadership.name} WHERE id = 1"


class PostgresWriter:
    """One autocommit connection."""

    def __init__(self, connection: Connection, primary: Primary, partition_events: int, durability: Durability) -> None:
        self._connection = connection
        self._primary = primary
        self._strict = durability is Durability.STRICT
        self._cursor = connection.cursor()
        self._budget = connection.budget
        self._partition_events = partition_events
        self._covered = 0  # the log has partitions for every seq below

    @property
    def session(self) -> int:
        """The server process that serves us."""
        return self._connection.info.backend_pid

    def position(self) -> Position:
        with translated("reading the leadership row"):
            self._cursor.execute(READ_POSITION)
            row = self._cursor.fetchone()
        if row is None:
            raise SchemaMissing("the leadership row is missing")
        return Position(*row)

    def end_session(self, pid: int) -> None:
        """End an earlier session of ours that may still hold the fence row; unknown ones are left alone."""
        with translated("ending an earlier session"):
            self._cursor.execute(END_SESSIONS + " AND pid = %s", (pid,))

    def write(self, batch: Batch) -> None:
        if batch.last.seq + self._partition_events // 2 >= self._covered:
            with translated("making partitions of luigi_event"):
                self._covered = partitions.ensure(self._cursor, batch.last.seq, self._partition_events)
        self._connection.budget = self._budget + batch.records * SECONDS_PER_RECORD
        self._run(postgres_sql.message(batch), "writing a batch")

    def confirm(self, position: Position, time: float) -> None:
        self._connection.budget = self._budget
        self._run(postgres_sql.fence(position.epoch, position, position, time), "confirming a batch")

    def _run(self, message: str, doing: str) -> None:
        if self._primary.deposed(self._connection):
            raise DatabaseAway(f"{doing}: a newer primary than {self._connection.place[0]} has been found")
        if self._strict:
            message = f"BEGIN;\n{replication.REQUIRE};\n{message}COMMIT;\n{replication.EVIDENCE}"
        notices = self._connection.notices
        notices.clear()
        with translated(doing):
            try:
                self._cursor.execute(message)
            except psycopg2.Error:
                self._roll_back()
                raise
            if notices:
                raise DatabaseAway(f"{doing}: committed with a warning: {' '.join(notices[-1].split())}")
            if self._strict:
                replication.judge(self._cursor, self._budget)

    def _roll_back(self) -> None:
        """Leave the transaction that a strict message began and its error aborted."""
        if self._strict and not self._connection.closed:
            with suppress(psycopg2.Error):
                self._cursor.execute("ROLLBACK")

    def close(self) -> None:
        with suppress(psycopg2.Error):
            self._connection.close()


END_SESSIONS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'luigi-ha journal' "
    "AND datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()"
)
