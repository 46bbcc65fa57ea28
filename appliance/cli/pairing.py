"""Where the two processes of a pair meet: beside their SQLite file."""

import hashlib
import os
import tempfile
from pathlib import Path

from luigi_ha.appliance.places import leadership_directory, sqlite_path

LONGEST_SOCKET = 100  # bytes of a Unix socket's path


def lock_directory(database: str) -> Path:
    """Where the pair on one machine keeps its lock: beside the SQLite file, whatever names lead to that."""
    return leadership_directory(sqlite_path(database))


def peers_socket(database: str, name: str) -> str:
    """The Unix socket on which the other process of a pair reaches this one."""
    path = str(lock_directory(database) / f"{name}.sock")
    if len(os.fsencode(path)) <= LONGEST_SOCKET:
        return path
    return f"{tempfile.gettempdir()}/luigi-ha-{hashlib.blake2b(path.encode(), digest_size=8).hexdigest()}.sock"
