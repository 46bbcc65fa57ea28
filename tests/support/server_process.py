"""One server process with its children, in a directory of its own: what the throw-away databases have in common."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from luigi_ha.appliance.lab.ports import free_port
from tests.support.patience import patient

START_SECONDS = 60.0
DISK = Path("/tmp")
MEMORY = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else DISK


class ServerError(Exception):
    """A server did not start or stop; the message has the end of its log."""


def _children(pid: int) -> list[int]:
    found = []
    with contextlib.suppress(OSError):  # it may have ended meanwhile
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


class Server:
    """One server process and its children."""

    name = "server"

    def __init__(self, directory: Path, account: str, options: Sequence[str] = ()) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.log = directory / "server.log"
        self.port = free_port()
        self.options = list(options)
        self.account = account if os.geteuid() == 0 else None
        self.process: subprocess.Popen[bytes] | None = None
        if self.account is not None:
            entry = pwd.getpwnam(self.account)
            os.chown(directory, entry.pw_uid, entry.pw_gid)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command as the server's user, in its directory; raises ServerError if it fails."""
        done = subprocess.run(
            command, cwd=self.directory, user=self.account, group=self.account, extra_groups=self._groups(),
            capture_output=True, text=True, timeout=patient(START_SECONDS), check=False,
        )  # fmt: skip
        if done.returncode:
            raise ServerError(f"{command[0]}: {done.stdout}{done.stderr}")
        return done

    def _groups(self) -> list[str] | None:
        return None if self.account is None else []

    def command(self) -> list[str]:
        """The server's command line, in the foreground."""
        raise NotImplementedError

    def ready(self) -> bool:
        """Whether it answers."""
        raise NotImplementedError

    def url(self, database: str = "luigi") -> str:
        """The URL of one of its databases."""
        raise NotImplementedError

    def start(self) -> None:
        """Start, and return when it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.command(), *self.options], cwd=self.directory, user=self.account, group=self.account,
                extra_groups=self._groups(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + patient(START_SECONDS)
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise ServerError(f"{self.name} did not start: {self.log.read_text()[-2000:]}")
            time.sleep(0.05)

    def processes(self) -> list[int]:
        """Its process and all that come from it."""
        if self.process is None:
            return []
        found = [self.process.pid]
        for pid in found:
            found += _children(pid)
        return found

    def _signal(self, number: signal.Signals) -> None:
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """SIGKILL, as if the machine had lost power but for its page cache."""
        if self.process is not None:
            everyone = self.processes()
            self._signal(signal.SIGKILL)
            self.process.wait(patient(START_SECONDS))
            deadline = time.monotonic() + patient(START_SECONDS)
            while any(Path(f"/proc/{pid}").exists() and _state(pid) != "Z" for pid in everyone):
                if time.monotonic() > deadline:
                    raise ServerError(f"{self.name}: processes survived SIGKILL")
                time.sleep(0.01)
            self.process = None

    def freeze(self) -> None:
        """SIGSTOP: sockets stay open, nobody answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT: go on as if nothing had happened."""
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """Stop in order, losing nothing."""
        if self.process is not None:
            self.thaw()
            self.process.send_signal(self.stop_signal)
            try:
                self.process.wait(patient(START_SECONDS))
            finally:
                self.process = None

    stop_signal = signal.SIGTERM


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if found is None:
        raise ServerError(f"{name} is not installed")
    return found


@contextlib.contextmanager
def own_directory(parent: Path = DISK) -> Iterator[Path]:
    # Short, for socket paths; removed even when files of another user are in it.
    directory = Path(tempfile.mkdtemp(prefix="lha-", dir=parent))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
