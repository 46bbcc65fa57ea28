"""The store: one database, reached by URL. Everything but the journal's own session goes through here.

Each call opens a connection, works, and closes it: none is on the hot path, and a connection that is not kept cannot be
stale after a failover. Every call ends within its deadline or raises; only the store's exceptions come out.

Not promised: that two calls see the same state. `load` is one snapshot; everything else is one statement.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

from sqlalchemy import Connection, text

from luigi_ha.appliance import clock, log
from luigi_ha.appliance.engine.changes import Epoch
from luigi_ha.appliance.places import memories
from luigi_ha.appliance.store import (
    dialects,
    failovers,
    history,
    leading,
    loading,
    replication,
    retention,
    schema,
    target,
    tokens,
    verification,
)
from luigi_ha.appliance.store.errors import DatabaseAway, SchemaMissing, StoreError, Unusable
from luigi_ha.appliance.store.failovers import Failover
from luigi_ha.appliance.store.failures import translated
from luigi_ha.appliance.store.history import HistoryEntry
from luigi_ha.appliance.store.loading import LogEntry, Snapshot
from luigi_ha.appliance.store.position import Position
from luigi_ha.appliance.store.replication import Durability, Replication
from luigi_ha.appliance.store.schema import SchemaStatus
from luigi_ha.appliance.store.seen import Memory
from luigi_ha.appliance.store.tailing import LIMIT, Tail, TailReader
from luigi_ha.appliance.store.target import Kind
from luigi_ha.appliance.store.tokens import TokenRecord
from luigi_ha.appliance.store.verification import Verification
from luigi_ha.appliance.store.writer import Writer

CALL_TIMEOUT = 5.0
CONNECT_TIMEOUT = 2.0
PARTITION_EVENTS = 1_000_000

_log = log.get("store")


def open_store(
    url: str,
    *,
    call_timeout: float = CALL_TIMEOUT,
    connect_timeout: float = CONNECT_TIMEOUT,
    partition_events: int = PARTITION_EVENTS,
    durability: Durability | str = Durability.AVAILABLE,
) -> "Store":
    """Open a database and make sure that it answers. Timeouts in seconds; with PostgreSQL, `connect_timeout` is for all
    hosts of the URL together. `durability` is "strict" or "available": see `replication`.

    Raises BadUrl, Unusable (unwritable directory, wrong password, no such database, strict without PostgreSQL) or
    DatabaseAway (unreachable).
    """
    store = Store(target.parse(url), call_timeout, connect_timeout, partition_events, Durability(durability))
    store.probe()
    return store


class Store:
    """See the module."""

    def __init__(
        self,
        where: target.Target,
        call_timeout: float,
        connect_timeout: float,
        partition_events: int,
        durability: Durability,
    ) -> None:
        self._connector = dialects.Connector(where, connect_timeout, call_timeout, durability)
        self.target = where
        self.durability = durability
        self.call_timeout = call_timeout
        self.connect_timeout = connect_timeout
        self.partition_events = partition_events
        self.file = self._connector.file  # of SQLite
        self.memory = Memory(self.file, memories(where.path)) if self.file is not None else None
        self._engine = self._connector.engine()

    def __repr__(self) -> str:
        return f"Store({self.target.shown})"

    @contextmanager
    def _connection(self, doing: str, *, write: bool = False) -> Iterator[Connection]:
        with (
            translated(f"{self.target.shown}: {doing}"),
            self._engine.connect().execution_options(write=write) as connection,
        ):
            yield connection
            if write and self.file is not None and (trouble := self.file.trouble()) is not None:
                raise DatabaseAway(trouble)  # what was committed there is not found again

    def probe(self) -> None:
        """Connect and ask for the version, or raise. A SQLite file need not be there yet: `upgrade` makes it."""
        if self.file is not None and not self.file.there:
            return
        with self._connection("connecting") as connection:
            version = connection.dialect.server_version_info or ()
            shown = ".".join(map(str, version))
            if self.target.kind is Kind.POSTGRESQL and version < (15,):
                raise Unusable(f"{self.target.shown}: PostgreSQL {shown} is too old; 15 or newer is needed")

    def check(self) -> SchemaStatus:
        """The schema's version; `.require()` raises unless it is current."""
        if self.file is not None and self.file.new:
            return schema.nothing()
        with self._connection("reading the schema's version") as connection:
            return schema.status(connection)

    def upgrade(self) -> SchemaStatus:
        """Make or update the tables, and a SQLite file too. Safe to call from several processes, and again."""
        if self.file is not None:
            self.file.create()
        with self._connection("upgrading the schema", write=True) as connection:
            self._patience(connection, schema.LOCK_SECONDS * 2.0)
            return schema.upgrade(connection, self.target.kind)

    def take_leadership(self, holder: str, epoch: Epoch | None = None) -> Position:
        """Become the only writer: write `epoch` (None: the next one) where no earlier leader's transaction can pass.

        Raises FencedError if the database already has that epoch or a newer one, SchemaMissing or SchemaTooNew;
        DatabaseAway, with strict durability, also while there is no synchronous standby.
        """
        if self._connector.primary is not None:
            try:
                # A promotion waits for this: one connection, and a quick look at the schema.
                with (
                    translated(f"{self.target.shown}: taking leadership"),
                    closing(self._connector.primary.find(dialects.OTHER_NAME)) as session,
                ):
                    position = leading.take_postgres(session, holder, epoch, self.durability)
            except SchemaMissing:
                self.check().require()  # says what is wrong with it
                raise
        else:
            self.check().require()
            with self._connection("taking leadership", write=True) as connection:
                position = leading.take(connection, holder, epoch)
        _log.info("leadership_taken", epoch=position.epoch, seq=position.seq, hash=position.hash, holder=holder)
        return position

    def position(self) -> Position:
        """Where the database stands."""
        with self._connection("reading the position") as connection:
            return loading.read_position(connection)[0]

    def load(self) -> Snapshot:
        """The whole state, streaming: the snapshot's transaction is open until the records are read or closed."""
        self.check().require()
        resources = ExitStack()
        with resources:
            connection = resources.enter_context(self._connection("loading"))
            self._patience(connection, self.call_timeout * 4)
            if self.target.kind is not Kind.SQLITE:
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            position, last_time = loading.read_position(connection)
            count = loading.count_records(connection)
            held = resources.pop_all()
            records = loading.within(held, loading.read_records(connection))
            return Snapshot(position, last_time, count, records, held.close)

    def log(self, after: int, limit: int = 1000) -> list[LogEntry]:
        """The log's entries that follow seq `after`. Raises Corrupt if retention dropped the first of them."""
        with self._connection("reading the log") as connection:
            return list(loading.read_log(connection, after, limit))

    def verify(self, progress: Callable[[int, int], object]) -> Verification:
        """Check the whole log; `progress` is told how many entries were read, and of how many."""
        self.check().require()
        with self._connection("verifying the log") as connection:
            return verification.verify(connection, progress)

    def tail_reader(self) -> TailReader:
        """A mirror's reader, with a connection of its own that it keeps."""
        return TailReader(self._connector.session, self._connector.stale, self.target.shown)

    def tail(self, after: Position, limit: int = LIMIT) -> Tail:
        """What follows `after` in the log, read once. Raises NotAPrefix if `after` is no position of it."""
        reader = self.tail_reader()
        try:
            return reader.read(after, limit)
        finally:
            reader.close()

    @property
    def system(self) -> int | None:
        """The system identifier of the PostgreSQL cluster; None: not seen yet, or another database."""
        return self._connector.primary.system if self._connector.primary is not None else None

    @property
    def primary(self) -> str | None:
        """ "host:port" of the PostgreSQL server that was found to be the primary last; None: none yet, or another
        database."""
        return self._connector.primary.place if self._connector.primary is not None else None

    def expect_primary(self, host: str, port: int) -> None:
        """This PostgreSQL server is about to be the primary: do not wait for others once it is."""
        if self._connector.primary is not None:
            self._connector.primary.expect((host, port))

    def now(self) -> float:
        """The database's wall clock, s since the epoch of 1970."""
        if self.target.kind is Kind.SQLITE:
            return clock.wall()
        asked = "unix_timestamp(now(6))" if self.target.kind is Kind.MYSQL else "extract(epoch FROM clock_timestamp())"
        with self._connection("reading its clock") as connection:
            return float(connection.execute(text(f"SELECT {asked}")).scalar_one())

    def replication(self) -> Replication:
        """Where the data is, as the primary says now. SQLite and MariaDB: one copy, nothing to ask."""
        primary = self._connector.primary
        if primary is None:
            return Replication(self.durability, False, (), None, None, None)
        with (
            translated(f"{self.target.shown}: reading the state of replication"),
            closing(primary.find(dialects.OTHER_NAME)) as session,
            session.cursor() as cursor,
        ):
            return replication.read(cursor, self.durability, session)

    def story(self, epoch: int) -> Failover | None:
        """One change of leader with its story; None: there is none under this epoch."""
        with self._connection("reading the story of a failover") as connection:
            return failovers.read_story(connection, epoch)

    def record_failover(self, failover: Failover) -> None:
        """Remember a change of leader. Harmless to repeat; raises FencedError if that epoch leads no more."""
        with self._connection("recording a failover", write=True) as connection:
            failovers.record(connection, failover)
            connection.commit()

    def failovers(self, limit: int = 20) -> list[Failover]:
        """The last changes of leader, oldest first."""
        with self._connection("reading the failovers") as connection:
            return failovers.read(connection, limit)

    def tokens(self) -> list[TokenRecord]:
        """Every token there has been, oldest first."""
        with self._connection("reading the tokens") as connection:
            return tokens.read(connection)

    def add_token(self, record: TokenRecord) -> None:
        """Let it be valid. Raises NameTaken."""
        with self._connection("adding a token", write=True) as connection:
            tokens.add(connection, record)
            connection.commit()

    def revoke_token(self, token_id: str, at: float) -> TokenRecord | None:
        """Let it be valid no more, from `at` (wall clock, s) or earlier; None: no such token."""
        with self._connection("revoking a token", write=True) as connection:
            record = tokens.revoke(connection, token_id, at)
            connection.commit()
            return record

    def history(self, task_id: str, limit: int = 100) -> list[HistoryEntry]:
        """The last `limit` changes of a task's state, oldest first; empty if the log does not know the task."""
        with self._connection("reading a task's history") as connection:
            return history.read_history(connection, task_id, limit)

    def prune_events(self, *, keep_events: int | None = None, older_than: float | None = None) -> int:
        """Drop old events; the first seq that may be left.

        `keep_events` keeps the last so many, `older_than` those not before that scheduler time (s); with both, an event
        goes only if neither keeps it. PostgreSQL drops whole partitions, so some older events stay. The database being
        busy is no error: what could not be dropped goes next time.
        """
        with self._connection("pruning the log") as connection:
            last_seq = loading.read_position(connection)[0].seq
            seq = retention.first_kept(connection, last_seq=last_seq, keep_events=keep_events, older_than=older_than)
        seq = min(seq, last_seq)  # the last event stays: it is what the position describes
        try:
            if self.target.kind is Kind.POSTGRESQL:
                with self._connection("dropping partitions", write=True) as connection:
                    return retention.drop_partitions(connection, seq)
            with self._connection("deleting old events", write=True) as connection:
                while retention.delete_some(connection, seq):
                    pass
        except DatabaseAway as error:
            _log.warning("prune_postponed", error=error)
            return 0
        return seq

    def writer(self) -> Writer:
        """A new session for a journal."""
        try:
            with translated(f"{self.target.shown}: connecting"):
                return self._connector.writer(self.partition_events)
        except StoreError as error:
            raise error if isinstance(error, DatabaseAway) else DatabaseAway(str(error)) from error

    def _patience(self, connection: Connection, seconds: float) -> None:
        """Give the calls of one connection another deadline than usual."""
        if self.target.kind is Kind.POSTGRESQL:
            driver: Any = connection.connection.driver_connection
            driver.budget = seconds
        elif self.target.kind is Kind.SQLITE:
            driver = connection.connection.driver_connection
            driver.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}")

    def close(self) -> None:
        """Give up what is held; the store can still be used."""
        self._engine.dispose()
