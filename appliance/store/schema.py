"""The schema's version: finding it out, and moving it up.

Upgrades are safe to run from several processes at once: a lock in the database lets one work while the others wait and
then find nothing to do. A database that a newer program upgraded is never touched.
"""
# ruff: noqa: S608 - names and numbers of ours; values are bound or quoted

import enum
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, inspect, text

from luigi_ha.appliance.store.errors import DatabaseAway, SchemaMissing, SchemaTooNew
from luigi_ha.appliance.store.target import Kind

VERSION_TABLE = "luigi_schema"
LOCK_SECONDS = 60
_MIGRATIONS = Path(__file__).parent / "migrations"
_PG_LOCK = 0x6C756967692D6861  # "luigi-ha"


class SchemaState(enum.Enum):
    """How the database's tables relate to this program."""

    MISSING = "missing"
    OLD = "old"
    CURRENT = "current"
    TOO_NEW = "too new"


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """The schema's version in the database (None: no tables of ours), and the one this program wants."""

    found: str | None
    wanted: str
    state: SchemaState

    def require(self) -> None:
        """Raise SchemaMissing or SchemaTooNew unless the schema is current."""
        if self.state is SchemaState.MISSING:
            raise SchemaMissing("the database has no luigi-ha tables; run: luigi-ha db upgrade")
        if self.state is SchemaState.OLD:
            raise SchemaMissing(
                f"the database's schema is {self.found}, this program needs {self.wanted}; run: luigi-ha db upgrade"
            )
        if self.state is SchemaState.TOO_NEW:
            raise SchemaTooNew(
                f"the database's schema is {self.found}, newer than {self.wanted}, the newest this program knows; "
                "run the newer luigi-ha (nothing was changed)"
            )


def require_known(version: str, backup: Path) -> None:
    """SchemaTooNew if a backup's schema is of a newer program."""
    if version not in revisions():
        wanted = revisions()[-1]
        raise SchemaTooNew(f"{backup}: its schema is {version}, newer than {wanted}, the newest this program knows")


@functools.cache
def revisions() -> tuple[str, ...]:
    """Every version of the schema that this program knows, oldest first: in the migrations' names."""
    found = {path.name.partition("_")[0][1:] for path in (_MIGRATIONS / "versions").glob("v[0-9]*_*.py")}
    return tuple(sorted(found))


def is_current(cursor: Any) -> bool:
    """The quick question, by a driver's cursor. Raises the driver's error if there are no tables of ours."""
    cursor.execute(f"SELECT version_num FROM {VERSION_TABLE}")
    return bool(cursor.fetchone() == (revisions()[-1],))


def nothing() -> SchemaStatus:
    """Of a database that is not there yet."""
    return SchemaStatus(None, revisions()[-1], SchemaState.MISSING)


def status(connection: Connection) -> SchemaStatus:
    """Compare the database with this program."""
    known = revisions()
    wanted = known[-1]
    if not inspect(connection).has_table(VERSION_TABLE):
        return SchemaStatus(None, wanted, SchemaState.MISSING)
    found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
    if found is None:
        return SchemaStatus(None, wanted, SchemaState.MISSING)
    if found == wanted:
        return SchemaStatus(found, wanted, SchemaState.CURRENT)
    return SchemaStatus(found, wanted, SchemaState.OLD if found in known else SchemaState.TOO_NEW)


def upgrade(connection: Connection, kind: Kind) -> SchemaStatus:
    """Make or update the tables; nothing happens if they are current. Raises SchemaTooNew without a change."""
    with _alone(connection, kind):
        before = status(connection)
        if before.state in (SchemaState.MISSING, SchemaState.OLD):
            migrate(connection)
        elif before.state is SchemaState.TOO_NEW:
            before.require()
        return status(connection)


def migrate(connection: Connection, revision: str = "head") -> None:
    """Run the migrations up to `revision`."""
    from alembic import command  # noqa: PLC0415 - a third of the start's time, for what is needed once
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


@contextmanager
def _alone(connection: Connection, kind: Kind) -> Iterator[None]:
    """Let one process upgrade at a time; a transaction too where the database can undo DDL."""
    if kind is Kind.MYSQL:
        lock = text("SELECT GET_LOCK('luigi-ha upgrade', :seconds)")
        connection.execute(text(f"SET SESSION lock_wait_timeout = {LOCK_SECONDS}"))
        if connection.execute(lock, {"seconds": LOCK_SECONDS}).scalar() != 1:
            raise DatabaseAway("another process has been upgrading the schema for a minute")
        try:
            yield
            connection.commit()
        finally:
            connection.execute(text("SELECT RELEASE_LOCK('luigi-ha upgrade')"))
        return
    if kind is Kind.POSTGRESQL:
        # Held until the transaction ends. On a busy machine we ourselves are slow between two statements.
        connection.execute(text(f"SET LOCAL idle_in_transaction_session_timeout = '{2 * LOCK_SECONDS}s'"))
        connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _PG_LOCK})
    yield
    connection.commit()
