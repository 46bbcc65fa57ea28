"""The differences between the databases outside the hot path: how to connect, and how to begin a transaction."""

from typing import Any

import psycopg2
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import NullPool

from appliance.store import mysql_connection, postgres_connection, sqlite_connection
from appliance.store.errors import BadUrl
from appliance.store.mysql_writer import MysqlWriter
from appliance.store.postgres_writer import PostgresWriter
from appliance.store.sqlite_writer import SqliteWriter
from appliance.store.tailing import Session
from appliance.store.target import Kind, Target
from appliance.store.writer import Writer

OTHER_NAME = "luigi-ha"
MIRROR_NAME = "luigi-ha mirror"


def check(target: Target) -> None:
    """Raise BadUrl or Unusable for what can be known without connecting."""
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


def make_engine(target: Target, connect_timeout: float, call_timeout: float) -> Engine:
    """An engine for everything but the journal: a connection per use, none kept."""
    creator: Any
    match target.kind:
        case Kind.SQLITE:
            engine = create_engine(
                "sqlite://", creator=lambda: sqlite_connection.connect(target.path), poolclass=NullPool
            )
            event.listen(engine, "begin", _begin_sqlite)
            return engine
        case Kind.POSTGRESQL:

            def creator() -> Any:
                connection = postgres_connection.connect(
                    target, connect_timeout=connect_timeout, call_timeout=call_timeout, name=OTHER_NAME
                )
                connection.autocommit = False
                return connection

            return create_engine("postgresql+psycopg2://", creator=creator, poolclass=NullPool)
        case Kind.MYSQL:

            def creator() -> Any:
                connection = mysql_connection.connect(
                    target, connect_timeout=connect_timeout, call_timeout=call_timeout
                )
                connection.autocommit(False)
                return connection

            return create_engine("mysql+pymysql://", creator=creator, poolclass=NullPool)


def _begin_sqlite(connection: Connection) -> None:
    """Begin for real: the connection is in autocommit mode, and one that means to write takes the lock at once."""
    immediate = connection.get_execution_options().get("write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def make_session(target: Target, connect_timeout: float, call_timeout: float) -> Session:
    """A driver's connection for reading, in autocommit mode, that the caller keeps."""
    match target.kind:
        case Kind.SQLITE:
            return sqlite_connection.connect(target.path)
        case Kind.POSTGRESQL:
            return postgres_connection.connect(
                target, connect_timeout=connect_timeout, call_timeout=call_timeout, name=MIRROR_NAME
            )
        case Kind.MYSQL:
            return mysql_connection.connect(target, connect_timeout=connect_timeout, call_timeout=call_timeout)


def make_writer(target: Target, connect_timeout: float, call_timeout: float, partition_events: int) -> Writer:
    """A journal's session."""
    match target.kind:
        case Kind.SQLITE:
            return SqliteWriter(sqlite_connection.connect(target.path))
        case Kind.POSTGRESQL:
            return PostgresWriter(
                postgres_connection.connect(
                    target,
                    connect_timeout=connect_timeout,
                    call_timeout=call_timeout,
                    name=postgres_connection.JOURNAL_NAME,
                ),
                partition_events,
            )
        case Kind.MYSQL:
            return MysqlWriter(
                mysql_connection.connect(target, connect_timeout=connect_timeout, call_timeout=call_timeout)
            )
