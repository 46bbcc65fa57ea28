"""SQLite connections: write-ahead log, flushed at every commit, short waits for another's lock."""

import os
import sqlite3
import time
from pathlib import Path
from urllib.parse import quote

from luigi_ha.appliance.clock import monotonic
from luigi_ha.appliance.places import obstacle
from luigi_ha.appliance.store.errors import Unusable

BUSY_SECONDS = 1.0  # then "database is locked": the journal retries by its own back-off
PATIENCE = 5.0  # s for another process that makes the file
MINIMUM = (3, 35, 0)


def check_place(path: Path) -> None:
    """Unusable, with what to do about it, unless the file can be made and written beside its journal files."""
    if sqlite3.sqlite_version_info < MINIMUM:
        raise Unusable(f"SQLite {sqlite3.sqlite_version} is too old; {'.'.join(map(str, MINIMUM))} or newer is needed")
    directory = path.absolute().parent
    if (found := obstacle(path)) is not None:
        raise Unusable(f"{found[0]}; expected {found[1]}")
    if not os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
        raise Unusable(
            f"cannot open {path}: the directory {directory} is not writable (SQLite keeps its log there too)"
        )
    if path.exists() and not os.access(path, os.R_OK | os.W_OK, effective_ids=True):
        raise Unusable(f"cannot open {path}: the file is not readable and writable")


def _keep_log(connection: sqlite3.Connection) -> None:
    """When two processes open a new file at once: this change needs the whole file, and SQLite does not wait for it."""
    until = monotonic() + PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return


def connect(path: Path) -> sqlite3.Connection:
    """Open the file, which must be there, in autocommit mode; transactions are begun explicitly. Usable from any one
    thread at a time."""
    where = f"file:{quote(str(path.absolute()))}?mode=rw"  # never makes one
    connection = sqlite3.connect(where, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        _keep_log(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA journal_size_limit = 67108864")
        # Twice the default number of pages between checkpoints: fewer flushes of the main file.
        connection.execute("PRAGMA wal_autocheckpoint = 2000")
    except BaseException:
        connection.close()
        raise
    return connection
