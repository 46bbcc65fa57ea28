"""The scheduler under test: `luigi-ha serve` as a process of its own, started again and again on one port.

Nothing is forgotten by design in these drills: workers and tasks stay however long the drill runs, and a failed task is
not retried, so whatever is missing was lost.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from drills.wire import BrokenError, Connection, NotSentError
from luigi_ha.appliance.lab.ports import free_port

READY_SECONDS = 60.0
_OPTIONS = """\
host = "127.0.0.1"
[scheduler]
remove_delay = 1e9
worker_disconnect_delay = 1e9
worker_grace = 1e9
retry_delay = -1
"""


class SchedulerFailedError(Exception):
    """The scheduler ended by itself, or never became ready; the message has the end of its log."""


class Trap(NamedTuple):
    """Where the process kills itself (see `launcher`), and at which count."""

    at: str
    after: int = 1


class Scheduler:
    """One port, one database, one process at a time."""

    def __init__(self, url: str, directory: Path) -> None:
        self.url = url
        self.port = free_port()
        self.log = directory / "serve.log"
        self.armed = directory / "armed"
        self.witness = directory / "witness"
        self.starts: list[float] = []  # s from the start of the process until ready
        self._config = directory / "serve.toml"
        self._config.write_text(_OPTIONS)
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0

    @property
    def pid(self) -> int:
        """The running process."""
        assert self._process is not None
        return self._process.pid

    def start(self, trap: Trap | None = None) -> None:
        """Start the process; it is not ready yet."""
        self.armed.unlink(missing_ok=True)
        self.witness.unlink(missing_ok=True)
        program = ["-m", "luigi_ha.appliance.cli"]
        if trap is not None:
            program = ["-m", "drills.launcher", trap.at, str(trap.after), str(self.armed), str(self.witness)]
        serve = [
            "serve",
            "--election",
            "none",
            "--database",
            self.url,
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--upgrade",
            "--config",
            str(self._config),
        ]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LUIGI")}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *program, *serve], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )
        self._started = time.monotonic()

    async def ready(self) -> None:
        """Return when it takes calls."""
        while not await self.is_ready():
            if not self.alive() or time.monotonic() - self._started > READY_SECONDS:
                raise SchedulerFailedError(f"the scheduler is not ready: {self.tail()}")
            await asyncio.sleep(0.01)
        self.starts.append(time.monotonic() - self._started)

    async def is_ready(self) -> bool:
        """Whether it says that it takes calls."""
        connection = Connection(self.port)
        try:
            return (await connection.get("/ready")).status == 200
        except (NotSentError, BrokenError):
            return False
        finally:
            connection.close()

    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def arm(self) -> None:
        """From now on the trap counts."""
        self.armed.touch()

    def kill(self) -> bool:
        """SIGKILL; whether that is what ended it."""
        assert self._process is not None
        self._process.kill()
        return self._process.wait() == -signal.SIGKILL and not Path(f"/proc/{self._process.pid}").exists()

    async def dies(self, seconds: float) -> bool:
        """Wait for the trap; whether the process was killed, by SIGKILL, and its witness says where."""
        assert self._process is not None
        until = time.monotonic() + seconds
        while self.alive() and time.monotonic() < until:  # noqa: ASYNC110 - it dies without telling
            await asyncio.sleep(0.005)
        return self._process.poll() == -signal.SIGKILL and self.witness.exists()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(READY_SECONDS)

    def end(self) -> None:
        """Whatever state it is in, it is gone afterwards."""
        if self.alive():
            self.kill()

    def tail(self, size: int = 3000) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-size:]
