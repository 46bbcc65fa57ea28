"""Two nodes on one machine, on SQLite, with short patience: what a laptop has. No root, nothing to install."""

import os
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Self

from luigi_ha.appliance.cli.pairing import peers_socket
from luigi_ha.appliance.drill.fleet import Daemon
from luigi_ha.appliance.drill.place import (
    ASKING,
    BIN,
    LEADS_WITHIN,
    Answer,
    DrillError,
    Part,
    Strike,
    await_leader,
    degraded,
    led_by,
    now,
    over_http,
    parsed,
    silent,
    started,
    with_us,
)
from luigi_ha.appliance.lab import inside, processes
from luigi_ha.appliance.lab.ports import free_port
from luigi_ha.appliance.lab.processes import every
from luigi_ha.appliance.lab.recipes import DISABLED_FOR

NAMES = ("one", "two")
ENDS_WITHIN = 40.0  # s for a node that was asked to end


class OnLoopback:
    """Two schedulers on SQLite, as `with OnLoopback(directory) as place`."""

    kind = "pair"
    workers: Sequence[Daemon] = ()

    def __init__(self, directory: Path, schedulers: int = 2, **options: str) -> None:
        """`options` of the schedulers, as in the environment without LUIGI_HA_."""
        self._directory = directory
        self._file = directory / "scheduler.db"
        self.database = f"sqlite:///{self._file}"
        self.log = directory / "schedulers.log"
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.nodes = NAMES[:schedulers]
        self._command = [str(BIN / "luigi-ha"), "serve", "--database", self.database]
        self._command += ["--host", "127.0.0.1", "--port", str(port)]
        options = {"scheduler_disable_persist": str(DISABLED_FOR), **options}
        self._options = {f"LUIGI_HA_{name.upper()}": value for name, value in options.items()}
        self._running: dict[str, subprocess.Popen[Any]] = {}

    def __enter__(self) -> Self:
        try:
            self.restore()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        for process in self._running.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self._running.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def popen(self, argv: Sequence[str], env: Mapping[str, str], directory: Path, log: Path) -> "subprocess.Popen[Any]":
        return started(argv, inside.environ(self.url, env), directory, log)

    def once(self, method: str, path: str, body: Any = None, timeout: float = ASKING) -> Answer:
        return over_http(self.url + path, method, body, timeout)

    def leading(self) -> tuple[str, int] | None:
        for name, process in self._running.items():
            if process.poll() not in (None, -signal.SIGKILL):
                raise DrillError(f"the scheduler {name} has ended: {self.log.read_text()[-1500:]}")
        try:
            return led_by(self.once("GET", "/api/cluster").value)
        except OSError:
            return None

    # -- one node ------------------------------------------------------------------------------------------------

    def health(self, node: str) -> Mapping[str, Any] | None:
        try:
            with closing(_OverUnix(peers_socket(self.database, node))) as asking:
                asking.request("GET", "/health")
                said = parsed(asking.getresponse().read())
        except (OSError, HTTPException):
            return None
        return said if isinstance(said, dict) else None

    def log_of(self, _node: str) -> Path:
        return self.log  # of both; who may take over is alone by then

    def pids(self, node: str, part: Part) -> list[int]:
        process = self._running.get(node)
        if process is None:
            raise DrillError(f"{node} does not run")
        keeper = [process.pid] if process.poll() is None else []
        children = [each.pid for each in every() if each.parent == process.pid and each.alive and each.scheduler]
        return {Part.KEEPER: keeper, Part.SCHEDULER: children, Part.NODE: [*keeper, *children]}[part]

    def stop(self, node: str) -> str:
        process = self._running.pop(node)
        process.terminate()
        try:
            return f"SIGTERM; it ended with exit code {process.wait(ENDS_WITHIN)}"
        except subprocess.TimeoutExpired:
            self._running[node] = process
            raise DrillError(f"{node} has not ended within {ENDS_WITHIN:g} s of SIGTERM") from None

    def keep_down(self, node: str) -> None:
        """Nobody but us starts it."""

    def start(self, node: str) -> None:
        process = self._running.get(node)
        if process is None or process.poll() is not None:
            self._start(node)

    def switch_to(self, node: str) -> str:
        argv = [*with_us([str(BIN / "luigi-ha")]), "switchover", node, "--database", self.database]
        done = subprocess.run(argv, env=inside.environ(self.url, {}), capture_output=True, text=True, check=False)
        if done.returncode:
            raise DrillError(f"switchover {node}: exit code {done.returncode}: {done.stderr.strip()}")
        return done.stdout.strip()

    def degraded(self) -> list[str]:
        return degraded(self)

    def heal(self) -> None:
        for node in self.nodes:
            if node in self._running:
                processes.thaw(lambda node=node: processes.living(self.pids(node, Part.NODE)))  # type: ignore[misc]
            self.start(node)

    def left(self) -> list[str]:
        return []  # what stands still, or is gone, is no node that is ready

    @property
    def lease(self) -> float | None:
        return None

    def watching(self, _directory: Path) -> AbstractContextManager[list[str]]:
        return nullcontext([])

    @property
    def named(self) -> list[str]:
        return ["--database", self.database]

    def url_of(self, _node: str) -> str | None:
        return None  # both are at one address

    # -- all of them ---------------------------------------------------------------------------------------------

    def kill_leader(self) -> Strike:
        self.wait_until_ready()  # starting one takes a while, and there are only two
        name, before = await_leader(self, 0)
        process = self._running.get(name)
        if process is None:
            raise DrillError(f"{name} leads, which is none of ours")
        at = now()
        process.kill()
        code = process.wait()
        self._start(name)
        _name, after = await_leader(self, before)
        return Strike("kill", name, at, now(), before, after, f"exit code {code}")

    def outage(self) -> Strike:
        _name, before = await_leader(self, 0)
        at = now()
        for process in self._running.values():
            process.kill()
        codes = [process.wait() for process in self._running.values()]
        self._running.clear()
        proof = f"exit codes {codes}; {silent(self)}"
        return Strike("outage", "all", at, now(), before, before, proof)

    def restore(self) -> int:
        for node in self.nodes:
            self.start(node)
        return await_leader(self, 0)[1]

    def wait_until_ready(self) -> None:
        until = time.monotonic() + LEADS_WITHIN
        while self.leading() is None or len(self._ready()) < len(self.nodes):
            if time.monotonic() > until:
                raise DrillError(f"not {len(self.nodes)} schedulers are ready, but {self._ready()}")
            time.sleep(0.1)

    def rows(self, query: str) -> list[list[str]]:
        with closing(sqlite3.connect(f"file:{self._file}?mode=ro", uri=True, timeout=30)) as connection:
            return [["" if cell is None else str(cell) for cell in row] for row in connection.execute(query)]

    def _ready(self) -> list[str]:
        """Who leads, or could."""
        try:
            said = self.once("GET", "/api/cluster").value
        except OSError:
            return []
        return [node["name"] for node in said["nodes"] if node["leading"] or node["able"]]

    def _start(self, node: str) -> None:
        ours = {name: value for name, value in os.environ.items() if not name.startswith("LUIGI_HA_")}
        command = [*self._command, "--name", node]
        self._running[node] = started(command, {**ours, **self._options}, self._directory, self.log)


class _OverUnix(HTTPConnection):
    """HTTP over a node's own socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=2.0)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(2.0)
        self.sock.connect(self._path)
