"""A copy of a SQLite database while it is in use, and a copy put in its place.

Invariants
    * A copy is the state at one moment, with all that the log (-wal) holds; it is one file, without a log of its own.
    * What lies under a name is whole: a file is made beside it, flushed, and then renamed.
    * Nothing that was there is destroyed: it is put aside, with its log.

The source is opened for reading only: this never makes a checkpoint, which nodes that run would have to notice.
"""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from luigi_ha.appliance.engine.changes import Epoch
from luigi_ha.appliance.store import schema
from luigi_ha.appliance.store.errors import DatabaseAway, Unusable
from luigi_ha.appliance.store.position import Position

MAGIC = b"SQLite format 3\0"
PATIENCE = 5.0  # s for another's lock
_SIDES = ("", "-wal", "-shm")


class Copied(NamedTuple):
    """What a copy holds."""

    schema: str
    position: Position
    size: int  # bytes


def backup(source: Path, to: Path) -> Copied:
    """Copy a database that may be in use. Unusable, DatabaseAway."""
    if to.exists() or to.is_symlink():
        raise Unusable(f"{to} is there already; expected the name of a new file")
    with _beside(to) as new:
        copied = _copy(source, new)
        try:
            os.link(new, to)  # unlike a rename: never over a file that somebody has made meanwhile
        except FileExistsError:
            raise Unusable(f"{to} is there already; expected the name of a new file") from None
        except OSError:  # a file system without links
            new.replace(to)
        _flush(to.absolute().parent)
    return copied


def restore(source: Path, to: Path, *, aside: str) -> tuple[Copied, list[Path]]:
    """Put a copy of `source` where `to` leads; what was there gets `aside` appended to its name. Who runs nodes on it
    must have stopped them. Also returns what was put aside."""
    real = to.resolve()
    with _beside(real) as new:
        copied = _copy(source, new)
        _give_to_owner(new, real)
        moved = []
        for side in _SIDES:
            old = real.with_name(real.name + side)
            if old.exists():
                moved.append(old.rename(real.with_name(f"{real.name}.{aside}{side}")))
        new.replace(real)
        _flush(real.parent)
    return copied, moved


def examine(path: Path) -> None:
    """Unusable unless this is a SQLite file; SchemaTooNew."""
    if not begins(path, MAGIC):
        raise Unusable(f"{path} is no SQLite file; expected what luigi-ha db backup made of a SQLite database")
    with closing(_reading(path)) as connection:
        _contents(connection, path)


def begins(path: Path, magic: bytes) -> bool:
    """Whether a file begins with these bytes. Unusable if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(len(magic)) == magic
    except OSError as error:
        raise Unusable(f"{path} cannot be read: {error.strerror}") from None


def in_use(path: Path) -> bool:
    """Whether any process has the database open."""
    with closing(sqlite3.connect(_uri(path, "rw"), uri=True, timeout=0.0, isolation_level=None)) as connection:
        try:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("BEGIN EXCLUSIVE")
            connection.execute("ROLLBACK")
        except sqlite3.OperationalError as error:
            if "locked" in str(error) or "busy" in str(error):
                return True
            raise Unusable(f"{path}: {error}") from None
        except sqlite3.DatabaseError:
            return False  # no database at all
    return False


def _copy(source: Path, new: Path) -> Copied:
    try:
        with closing(_reading(source)) as old, closing(sqlite3.connect(new, isolation_level=None)) as copy:
            old.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")
            found = copy.execute("PRAGMA quick_check").fetchone()
            if found != ("ok",):
                raise Unusable(f"{source} is damaged: {found and found[0]}")
            version, position = _contents(copy, source)
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "busy" in str(error):
            raise DatabaseAway(f"{source}: {error}") from None
        raise Unusable(f"{source} or {new.parent}: {error}") from None
    except sqlite3.Error as error:
        raise Unusable(f"{source} is damaged, or no SQLite database: {error}") from None
    with new.open("rb+") as file:
        os.fsync(file.fileno())
    return Copied(version, position, new.stat().st_size)


def _contents(connection: sqlite3.Connection, path: Path) -> tuple[str, Position]:
    """Schema and position. Unusable if it is no database of ours, SchemaTooNew if of a newer program."""
    try:
        version = connection.execute(f"SELECT version_num FROM {schema.VERSION_TABLE}").fetchone()  # noqa: S608 - a name
        row = connection.execute("SELECT epoch, seq, hash FROM leadership WHERE id = 1").fetchone()
    except sqlite3.Error as error:
        raise Unusable(f"{path} is no database of luigi-ha: {error}") from None
    if version is None or row is None:
        raise Unusable(f"{path} is no database of luigi-ha: it is empty")
    schema.require_known(version[0], path)
    return str(version[0]), Position(Epoch(int(row[0])), int(row[1]), str(row[2]))


def _reading(path: Path) -> sqlite3.Connection:
    try:
        return sqlite3.connect(_uri(path, "ro"), uri=True, timeout=PATIENCE, isolation_level=None)
    except sqlite3.Error as error:
        raise Unusable(f"{path} cannot be opened: {error}") from None


def _uri(path: Path, mode: str) -> str:
    return f"file:{quote(str(path.absolute()))}?mode={mode}"


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A new, empty file in the same directory, that nobody else may read; it is gone afterwards."""
    new = path.absolute().with_name(f".{path.name}.{os.getpid()}-{time.monotonic_ns()}")
    try:
        os.close(os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise Unusable(f"{path} cannot be made: {error.strerror}") from None
    try:
        yield new
    except OSError as error:
        raise Unusable(f"{path} cannot be written: {error.strerror}") from None
    finally:
        for side in (*_SIDES, "-journal"):
            with suppress(FileNotFoundError):
                new.with_name(new.name + side).unlink()


def _give_to_owner(new: Path, place: Path) -> None:
    """Root may restore; the nodes run as somebody else."""
    if os.geteuid() == 0:
        owner = (place if place.exists() else place.parent).stat()
        os.chown(new, owner.st_uid, owner.st_gid)


def _flush(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
