"""The differences between the databases outside the hot path: how to connect, and how to begin a transaction."""

from typing import Any

import psycopg2
import pymysql
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import NullPool

from luigi_ha.appliance import clock
from luigi_ha.appliance.store import mysql_connection, postgres_connection, sqlite_connection
from luigi_ha.appliance.store.errors import BadUrl, Unusable
from luigi_ha.appliance.store.mysql_writer import MysqlWriter
from luigi_ha.appliance.store.postgres_writer import PostgresWriter
from luigi_ha.appliance.store.primary import Primary
from luigi_ha.appliance.store.replication import Durability
from luigi_ha.appliance.store.sqlite_file import SqliteFile, Watched
from luigi_ha.appliance.store.sqlite_writer import SqliteWriter
from luigi_ha.appliance.store.tailing import Session
from luigi_ha.appliance.store.target import Kind, Target
from luigi_ha.appliance.store.writer import Writer

OTHER_NAME = "luigi-ha"
MIRROR_NAME = "luigi-ha mirror"
LOOK_AGAIN = 10.0  # s after which a kept session is replaced by one with whoever is the primary then


class Connector:
    """Opens connections of every kind to one database. Timeouts in seconds."""

    def __init__(self, target: Target, connect_timeout: float, call_timeout: float, durability: Durability) -> None:
        check(target, durability)
        self._target = target
        self._durability = durability
        self._connect_timeout = connect_timeout
        self._call_timeout = call_timeout
        self.primary = Primary(target, connect_timeout, call_timeout) if target.kind is Kind.POSTGRESQL else None
        self.file = SqliteFile(target.path) if target.kind is Kind.SQLITE else None

    def engine(self) -> Engine:
        """An engine for everything but journal and mirror: a connection per use, none kept."""
        if self.file is not None:
            engine = create_engine("sqlite://", creator=self.file.connect, poolclass=NullPool)
            event.listen(engine, "begin", _begin_sqlite)
            return engine
        primary = self.primary

        def creator() -> Any:
            if primary is None:
                other = self._mysql()
                other.autocommit(False)
                return other
            connection = primary.find(OTHER_NAME)
            connection.autocommit = False
            return connection

        name = "mysql+pymysql://" if primary is None else "postgresql+psycopg2://"
        return create_engine(name, creator=creator, poolclass=NullPool)

    def session(self) -> Session:
        """A driver's connection for reading, in autocommit mode, that the caller keeps."""
        if self.primary is not None:
            return self.primary.find(MIRROR_NAME)
        return Watched(self.file) if self.file is not None else self._mysql()

    def writer(self, partition_events: int) -> Writer:
        """A journal's session."""
        if self.primary is not None:
            connection = self.primary.find(postgres_connection.JOURNAL_NAME)
            return PostgresWriter(connection, self.primary, partition_events, self._durability)
        if self.file is not None:
            return SqliteWriter(Watched(self.file))
        return MysqlWriter(self._mysql())

    def _mysql(self) -> "pymysql.connections.Connection[Any]":
        return mysql_connection.connect(
            self._target, connect_timeout=self._connect_timeout, call_timeout=self._call_timeout
        )

    def stale(self, session: Session) -> bool:
        """Whether a kept session's server, or file, has been replaced by another, or it is time to look."""
        if isinstance(session, Watched):
            return session.moved
        if self.primary is None or not isinstance(session, postgres_connection.Connection):
            return False
        if self.primary.deposed(session):
            return True
        # An old primary that only we can still reach would show us a log that stands still.
        return len(self._target.hosts) > 1 and clock.monotonic() - session.opened > LOOK_AGAIN


def check(target: Target, durability: Durability) -> None:
    """Raise BadUrl or Unusable for what can be known without connecting."""
    if durability is Durability.STRICT and target.kind is not Kind.POSTGRESQL:
        raise Unusable(
            f"durability = strict needs a synchronous standby, and {target.shown} has none that we could ask for: "
            "use a postgresql:// URL, or durability = available"
        )
    match target.kind:
        case Kind.SQLITE:
            sqlite_connection.check_place(target.path)
        case Kind.MYSQL:
            mysql_connection.check_options(target)
        case Kind.POSTGRESQL:
            try:
                postgres_connection.check_options(target)
            except psycopg2.ProgrammingError as error:
                raise BadUrl(f"database URL: {str(error).strip()}") from None


def _begin_sqlite(connection: Connection) -> None:
    """Begin for real: the connection is in autocommit mode, and one that means to write takes the lock at once."""
    immediate = connection.get_execution_options().get("write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
