"""The directory of one worker: its name, its spool and the output of its tasks. One process at a time has it.

The name stays with the directory: a worker that is started again is the same worker to the scheduler, which hands out
again what that one should be running. So a directory must not be copied while the original is in use.
"""

import fcntl
import os
import re
import socket
import uuid
from pathlib import Path

from luigi_ha.worker.spool.spool import flush_directory

_GOOD = re.compile(r"[^@\s\x00-\x1f][^\x00-\x1f]{0,199}")


class HomeError(Exception):
    """The directory cannot be used."""


class Home:
    """A directory that is ours until this process ends."""

    def __init__(self, directory: Path) -> None:
        """Make it if need be, and lock it. HomeError."""
        self.directory = directory.absolute()
        try:
            self.directory.mkdir(mode=0o750, parents=True, exist_ok=True)
            # A POSIX lock: it belongs to this process alone, not to those it forks.
            self._lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise HomeError(f"{self.directory}: {error.strerror}") from None
        try:
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise HomeError(
                f"another worker uses {self.directory}; each worker needs a --state-dir of its own"
            ) from None

    @property
    def spool(self) -> Path:
        return self.directory / "spool"

    @property
    def logs(self) -> Path:
        return self.directory / "log"

    def worker_id(self, wanted: str = "") -> str:
        """The worker's name: the wanted one from now on, or the one it had, or a new one. HomeError."""
        file = self.directory / "worker-id"
        try:
            known = file.read_text().strip() if file.exists() else ""
            name = wanted or known or f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
            if not _GOOD.fullmatch(name):
                raise HomeError(f"{name!r} is no name for a worker: 1 to 200 printable characters, the first not @")
            if name != known:
                new = self.directory / "worker-id.new"
                with new.open("w") as out:
                    out.write(name + "\n")
                    out.flush()
                    os.fsync(out.fileno())
                new.rename(file)
                flush_directory(self.directory)
        except OSError as error:
            raise HomeError(f"{file}: {error.strerror}") from None
        return name

    def close(self) -> None:
        """Give it up."""
        os.close(self._lock)
