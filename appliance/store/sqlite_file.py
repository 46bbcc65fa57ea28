"""One SQLite file, known by what it is (device, inode) and not by its name.

A file that is deleted, moved or replaced stays open: writing to it goes on without an error, into nothing. So whatever
is kept open is compared with what lies under the name, after each commit and before anybody is told of it; and this
process works with one file only, the first that it opened.

Invariants
    * What is acknowledged was committed to the file, and to the log (-wal), that lie under their names at that moment.
    * Nothing is made where nothing was, but by `create`.
    * An older copy that was written over the file (`cp`) is noticed before the next commit: the position in the file
      itself, without the log, never goes back.

Not promised: that a copy made over the file while nobody looks, and undone again, is noticed.
Files of an open database are never opened here except by SQLite: to close any descriptor of one drops SQLite's locks.
"""

import enum
import os
import sqlite3
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from luigi_ha.appliance import log
from luigi_ha.appliance.store import sqlite_connection
from luigi_ha.appliance.store.errors import DatabaseAway, SchemaMissing

LOOKS = 4  # at a file that a checkpoint may be changing
LOOK_AGAIN = 0.05  # s
_log = log.get("store")

Identity = tuple[int, int]  # device, inode
Inside = tuple[int, int]  # epoch, seq


class Parts(NamedTuple):
    """What lies under the names of one database; None: nothing."""

    file: Identity | None
    wal: Identity | None
    shm: Identity | None


class Written(NamedTuple):
    """When the file itself, without its log, was changed last."""

    changed: int  # ns
    size: int


def identity(path: Path) -> Identity | None:
    """Of what lies there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


class Back(enum.Enum):
    """How a file compares with what was seen of it."""

    NO = "it is as new"
    WHOLE = "it is an older one, with its log"
    MIXED = "it is an older one, under the log of the newer"


class SqliteFile:
    """The file of one `Store`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._real = path.resolve()
        self._is: Identity | None = None
        self._spoiled = ""  # why it must not be used any more
        self.inside: Inside | None = None  # the position in the file itself that was seen last

    @property
    def there(self) -> bool:
        """Whether something lies under the name."""
        return self.path.exists()

    @property
    def new(self) -> bool:
        """Whether there is none, and never was as far as this process knows."""
        return self._is is None and not self.there

    @property
    def log_path(self) -> Path:
        """SQLite's own log of it."""
        return self._real.with_name(self._real.name + "-wal")

    @property
    def index_path(self) -> Path:
        """The index of that log, which is also its locks."""
        return self._real.with_name(self._real.name + "-shm")

    def create(self) -> None:
        """Make an empty one if there is none, unless this process has worked with one that is gone."""
        if self.new:
            sqlite_connection.check_place(self.path)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
            _log.warning("new_database", path=str(self._real), meaning="nothing was there; a wrong path?")

    def connect(self) -> sqlite3.Connection:
        """Open it. DatabaseAway if it is not the one that was opened before; SchemaMissing if there never was one."""
        before = self._same()
        if self._is is None:
            sqlite_connection.check_place(self.path)
        try:
            connection = sqlite_connection.connect(self.path)
        except sqlite3.Error as error:
            if identity(self.path) != before:
                raise DatabaseAway(self.trouble() or str(error)) from error
            raise
        if identity(self.path) != before:
            connection.close()
            raise DatabaseAway(f"{self.path} was replaced while it was being opened")
        self._is = before
        return connection

    def _same(self) -> Identity:
        found = identity(self.path)
        if self._is is None and found is None:
            raise SchemaMissing(f"there is no file {self.path}; expected the path of a database of luigi-ha")
        trouble = self.trouble() if self._is is not None else None
        if found is None or trouble is not None:
            raise DatabaseAway(trouble or f"{self.path} is gone")
        return found

    def trouble(self) -> str | None:
        """What is wrong with the file under its name; None: it is the one that was opened first."""
        found = identity(self.path)
        if self._spoiled:
            return self._spoiled
        if found is None:
            return (
                f"{self.path} is gone: it was deleted or moved while in use. Put it back, with {self.log_path.name}; "
                "nothing is acknowledged until then"
            )
        if found != self._is:
            return (
                f"{self.path} is another file than the one this node works with (it was replaced while in use). Put "
                "that one back, or stop all nodes and start them on this one; nothing is acknowledged until then"
            )
        return None

    def parts(self) -> Parts:
        """What lies under the names now."""
        return Parts(identity(self.path), identity(self.log_path), identity(self.index_path))

    # ------------------------------------------------------------------------------ what is in the file without its log

    def written(self) -> Written:
        """Raises DatabaseAway if it is not there."""
        try:
            found = self.path.stat()
        except OSError:
            raise DatabaseAway(self.trouble() or f"{self.path} cannot be read") from None
        return Written(found.st_mtime_ns, found.st_size)

    def look_inside(self) -> Inside | None:
        """The position that the file itself shows; None: none can be read, as in an empty one."""
        # A reader that believes that nothing ever changes takes no lock, and does not look at the log.
        where = f"file:{quote(str(self._real))}?mode=ro&immutable=1"
        try:
            connection = sqlite3.connect(where, uri=True, isolation_level=None)
            # A checkpoint that was cut off (a full disk, SIGKILL) leaves a file that is shorter than it says.
            connection.execute("PRAGMA writable_schema = ON")
        except sqlite3.Error:
            return None
        return _position(connection)

    def compare(self, than: Inside | None) -> Back:
        """Whether the file itself, and what its log makes of it, are as new as was seen."""
        found = self.look_inside()
        for _ in range(LOOKS):
            if than is None or (found is not None and found >= than):
                self.inside = found
                return Back.NO
            time.sleep(LOOK_AGAIN)
            found = self.look_inside()
        with_log = self._look()
        if with_log is not None and than is not None and with_log < than:
            self.inside = found
            return Back.WHOLE
        return Back.MIXED

    def _look(self) -> Inside | None:
        """The position that a new connection finds; None: it cannot read any."""
        try:
            connection = sqlite_connection.connect(self.path)
        except sqlite3.Error:
            return None
        return _position(connection)

    def refuse(self) -> None:
        """Work with it no more."""
        self._spoiled = (
            f"{self.path} was written over by an older copy while in use. Stop all nodes, and put the newer file back; "
            "nothing is acknowledged until then"
        )


def _position(connection: sqlite3.Connection) -> Inside | None:
    """And close it."""
    try:
        row = connection.execute("SELECT epoch, seq FROM leadership WHERE id = 1").fetchone()
    except sqlite3.Error:
        return None
    finally:
        connection.close()
    return (int(row[0]), int(row[1])) if row is not None else None


class Watched:
    """An open connection, and whether what it works on still lies under its names. For one thread at a time."""

    def __init__(self, file: SqliteFile) -> None:
        self.connection = file.connect()
        self._file = file
        try:
            self.connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # opens the log, and its index
            self._parts = file.parts()
            self._require()
            self._written = file.written()
            self._older()  # then nothing of it is in this connection's memory
        except BaseException:
            self.connection.close()
            raise

    @property
    def moved(self) -> bool:
        """Whether something else, or nothing, lies under one of its names."""
        return self._file.parts() != self._parts or None in self._parts

    def before(self) -> None:
        """In a transaction, before anything is written. DatabaseAway if somebody else has written to the file itself,
        and what is there now is older."""
        written = self._file.written()
        if written != self._written:
            if self._older():
                raise DatabaseAway(f"{self._file.path} was replaced by an older state; it is read anew")
            self._written = written

    def after(self) -> None:
        """After a commit, before anybody is told. DatabaseAway if it is not certain to be found again."""
        if self.moved:
            self._rescue()
            self._require()
        written = self._file.written()
        if written != self._written:  # a checkpoint, within our commit: nobody else makes one while we are here
            self._file.inside = self._file.look_inside() or self._file.inside
            self._written = self._file.written()

    def _require(self) -> None:
        if self.moved:
            names = (self._file.log_path, self._file.index_path)
            gone = [path.name for path in names if identity(path) not in self._parts[1:]]
            lost = f"{' and '.join(gone) or self._file.log_path.name} was deleted or replaced while in use"
            raise DatabaseAway(self._file.trouble() or f"{lost}; the database is opened anew")

    def _rescue(self) -> None:
        """What only the open log still has goes into the file that is open, wherever that is now."""
        with suppress(sqlite3.Error):
            busy, frames, done = self.connection.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
            _log.warning("sqlite_files_changed", path=str(self._file.path), saved=bool(not busy and frames == done))

    def _older(self) -> bool:
        """Whether the file has gone back. DatabaseAway if it does not even fit to its log."""
        back = self._file.compare(self._file.inside)
        if back is Back.MIXED:
            self._file.refuse()
            raise DatabaseAway(self._file.trouble() or "")
        return back is Back.WHOLE

    # ----------------------------------------------------------------------- `luigi_ha.appliance.store.tailing.Session`

    def cursor(self) -> Any:
        return self.connection.cursor()

    def close(self) -> None:
        self.connection.close()
