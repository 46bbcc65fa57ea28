"""What a driver's exception means: the one place that knows error codes.

Rule: what a retry could ever cure is *away* (unknown outcome); what the data itself causes is *poisoned*. In doubt,
away: waiting is visible and loses nothing, poisoning discards.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
import pymysql
import sqlalchemy.exc

from luigi_ha.appliance.store.errors import DatabaseAway, FenceRefused, Poisoned, SchemaMissing, StoreError, Unusable

FENCE_SQLSTATE = "LH001"  # raised by the function `luigi_fence` in PostgreSQL
# Data exceptions, constraint violations, program limits (a row too large for its index).
_PG_DATA = ("22", "23", "54")
_PG_UNDEFINED = ("42P01", "42883", "42703")
# Invalid password, no such role, no such database, not allowed.
_PG_UNUSABLE = ("28000", "28P01", "3D000", "42501")
_PG_DEFECT = "42"  # what is left of it: a statement of ours that is wrong, every time
_MYSQL_DEFECT = (1064,)
_MYSQL_MISSING = (1146, 1054)
_MYSQL_UNUSABLE = (1044, 1045, 1049, 1142, 1698)
_MYSQL_TOO_LARGE = (1153,)  # more than max_allowed_packet
_SQLITE_UNUSABLE = (3, 8, 14, 23, 26)  # PERM, READONLY, CANTOPEN, AUTH, NOTADB
_DRIVERS = (psycopg2.Error, sqlite3.Error, pymysql.err.Error)


def classify(error: BaseException, *, doing: str) -> StoreError:
    """The store's exception for a driver's, with a message that says what was being done."""
    if isinstance(error, sqlalchemy.exc.DBAPIError) and error.orig is not None:
        error = error.orig
    said = " ".join(str(error.args[-1] if error.args else error).split()) or type(error).__name__
    return _class_of(error)(f"{doing}: {said}")


def _class_of(error: BaseException) -> type[StoreError]:
    if isinstance(error, psycopg2.Error):
        return _postgres(error)
    if isinstance(error, pymysql.err.Error):
        return _mysql(error)
    if isinstance(error, sqlite3.Error):
        return _sqlite(error)
    if isinstance(error, (OverflowError, UnicodeError)):
        return Poisoned
    return DatabaseAway


def _postgres(error: psycopg2.Error) -> type[StoreError]:
    state = error.pgcode or ""
    if state == FENCE_SQLSTATE:
        return FenceRefused
    if state.startswith(_PG_DATA) or isinstance(error, psycopg2.DataError):
        return Poisoned
    if state in _PG_UNDEFINED:
        return SchemaMissing
    if state in _PG_UNUSABLE:
        return Unusable
    if state.startswith(_PG_DEFECT):
        return Poisoned
    return DatabaseAway


def _mysql(error: pymysql.err.Error) -> type[StoreError]:
    code = error.args[0] if error.args else 0
    if (
        isinstance(error, (pymysql.err.DataError, pymysql.err.IntegrityError))
        or code in _MYSQL_TOO_LARGE + _MYSQL_DEFECT
    ):
        return Poisoned
    if code in _MYSQL_MISSING:
        return SchemaMissing
    if code in _MYSQL_UNUSABLE:
        return Unusable
    return DatabaseAway


def _sqlite(error: sqlite3.Error) -> type[StoreError]:
    if isinstance(error, (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError)):
        return Poisoned
    if "no such table" in str(error) or "no such column" in str(error):
        return SchemaMissing
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in _SQLITE_UNUSABLE:
        return Unusable
    return DatabaseAway


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Let only the store's exceptions out of a block that talks to a database."""
    try:
        yield
    except (sqlalchemy.exc.DBAPIError, OverflowError, UnicodeError, OSError, *_DRIVERS) as error:
        raise classify(error, doing=doing) from error
