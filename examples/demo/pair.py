"""Two schedulers on one machine: the same command line twice, to be killed one by one."""

import contextlib
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
PATIENCE = 60.0  # s until a step that should take a few is given up


class DemoError(Exception):
    """A step of the demonstration did not happen; the message says which."""


def _free_port() -> int:
    """The usual port of a scheduler, or the next that nobody listens on."""
    for port in range(8082, 8182):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that have ended do not count
            probe.bind(("127.0.0.1", port))
            return port
    raise DemoError("every port from 8082 to 8181 is taken; expected a free one")


class Pair:
    """`luigi-ha serve` twice, on one SQLite database and one port."""

    def __init__(self, directory: Path) -> None:
        self.logs: list[Path] = []
        self._directory = directory
        self.port = _free_port()
        command = [str(BIN / "luigi-ha"), "serve", "--database", f"sqlite:///{directory / 'scheduler.db'}"]
        self.command = [*command, "--host", "127.0.0.1", "--port", str(self.port)]
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start_one(self) -> int:
        """Start one more; its pid."""
        log = self._directory / f"scheduler-{len(self.logs) + 1}.log"
        self.logs.append(log)
        with log.open("ab") as out:
            process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        self._processes.append(process)
        return process.pid

    def wait_until_ready(self, standbys: int) -> float:
        """Until one leads and so many follow; the seconds that took."""
        begun = time.monotonic()
        wait_for("the schedulers to be ready", lambda: self._is_ready(standbys))
        return time.monotonic() - begun

    def leader(self) -> tuple[int, int]:
        """(pid, epoch) of the one that leads, as soon as whoever is asked has heard of it."""
        found: list[dict[str, Any]] = []

        def heard() -> bool:
            found.append(self.ask("/api/cluster"))
            return bool(found[-1]["leader"])

        wait_for("a leader", heard)
        return int(found[-1]["leader"].rpartition(":")[2]), int(found[-1]["epoch"])

    def kill_leader(self) -> tuple[int, float]:
        """SIGKILL: no clean-up, no last write. (its pid, seconds until another one leads)"""
        pid, epoch = self.leader()
        process = next(process for process in self._processes if process.pid == pid)
        begun = time.monotonic()
        process.kill()
        process.wait()
        self._processes.remove(process)
        wait_for("the other one to lead", lambda: self._leads_after(epoch), every=0.01)
        return pid, time.monotonic() - begun

    def stop(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def ask(self, path: str) -> Any:
        """GET a JSON document from one of them, whichever takes the connection."""
        with urllib.request.urlopen(self.url + path, timeout=10) as reply:  # noqa: S310 - our own http URL
            return json.load(reply)

    def tasks(self) -> dict[str, Any]:
        """Every task the schedulers know."""
        found: dict[str, Any] = self.ask("/api/task_list")["response"]
        return found

    def _is_ready(self, standbys: int) -> bool:
        for process, log in zip(self._processes, self.logs, strict=False):
            if process.poll() is not None:
                raise DemoError(f"a scheduler ended with code {process.returncode}:\n{tail(log)}")
        try:
            return bool(self.ask("/api/cluster")["leader"]) and len(self._following()) >= standbys
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def _following(self) -> list[Path]:
        lines = ("transition=stand_by",)
        alive = [log for log in self.logs if log.exists()]
        stood_by = [log for log in alive if any(line in log.read_text() for line in lines)]
        return stood_by[1:]  # one of them leads

    def _leads_after(self, epoch: int) -> bool:
        try:
            cluster = self.ask("/api/cluster")
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False
        return bool(cluster["leader"]) and cluster["epoch"] > epoch


def wait_for(what: str, holds: Callable[[], bool], every: float = 0.1) -> None:
    """Look again and again; DemoError when patience ends."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            raise DemoError(f"waited {PATIENCE:g} s for {what}")
        time.sleep(every)


def tail(log: Path, lines: int = 15) -> str:
    """The end of a log file."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else ""
