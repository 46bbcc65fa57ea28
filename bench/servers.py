"""The two schedulers under test, each as its users start it, on loopback."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from luigi_ha.appliance.lab.ports import free_port
from tests.support.servers import postgres_server

START_SECONDS = 300.0
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Scheduler:
    """A running scheduler. `name` is "luigid" or "luigi-ha"."""

    name: str
    command: list[str]
    port: int
    directory: Path
    env: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> float:
        """Start it; returns the seconds until it answered its first call."""
        begun = time.monotonic()
        with (self.directory / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command, cwd=self.directory, env={**os.environ, **self.env}, stdout=log, stderr=log
            )
        while time.monotonic() - begun < START_SECONDS:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended: " + (self.directory / f"{self.name}.log").read_text()[-2000:])
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"{self.url}/api/is_paused", timeout=START_SECONDS) as reply,
            ):
                if reply.status == 200:
                    return time.monotonic() - begun
            time.sleep(0.01)
        raise RuntimeError(f"{self.name} did not answer within {START_SECONDS} s")

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def memory(self) -> int:
        """Resident bytes."""
        assert self.process is not None
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * PAGE

    def cpu(self) -> float:
        """Processor seconds used so far."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def luigid() -> Iterator[Scheduler]:
    """Luigi's own scheduler, with its defaults."""
    with tempfile.TemporaryDirectory(prefix="luigi-ha-bench-") as name:
        directory, port = Path(name), free_port()
        command = [
            str(Path(sys.executable).with_name("luigid")), "--port", str(port), "--address", "127.0.0.1",
            "--state-path", str(directory / "state"),
        ]  # fmt: skip
        scheduler = Scheduler("luigid", command, port, directory, {"LUIGI_CONFIG_PATH": "/dev/null"})
        scheduler.start()
        try:
            yield scheduler
        finally:
            scheduler.kill()


@contextlib.contextmanager
def luigi_ha(prepare: Callable[[str], object] | None = None) -> Iterator[Scheduler]:
    """Ours, durable on a PostgreSQL with fsync on. `prepare` is given the database's URL before the start."""
    with tempfile.TemporaryDirectory(prefix="luigi-ha-bench-") as name, postgres_server() as database:
        directory, port = Path(name), free_port()
        if prepare is not None:
            prepare(database.url())
        command = [
            sys.executable, "-m", "luigi_ha.appliance.cli", "serve", "--election", "none", "--upgrade",
            "--host", "127.0.0.1", "--port", str(port),
            "--database", database.url(),
        ]  # fmt: skip
        root = str(Path(__file__).parents[1])
        scheduler = Scheduler("luigi-ha", command, port, directory, {"PYTHONPATH": root})
        scheduler.start()
        try:
            yield scheduler
        finally:
            scheduler.kill()


PEERS = {"luigid": luigid, "luigi-ha": luigi_ha}
