"""Two schedulers on one machine, on SQLite, with short patience; and the workers beside them."""

import json
import os
import signal
import sqlite3
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Self

from drills.fleet.evidence import Strike
from drills.fleet.place import ASKING, BIN, LEADS_WITHIN, Answer, DrillError, await_leader, now, silent
from luigi_ha.appliance.lab import inside
from tests.support.ports import free_port


class OnLoopback:
    """Two schedulers on SQLite, as `with OnLoopback(directory) as place`."""

    def __init__(self, directory: Path, schedulers: int = 2, **options: str) -> None:
        """`options` of the schedulers, as in the environment without LUIGI_HA_."""
        self._directory = directory
        self._database = directory / "scheduler.db"
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [str(BIN / "luigi-ha"), "serve", "--database", f"sqlite:///{self._database}"]
        self._command = [*command, "--host", "127.0.0.1", "--port", str(port)]
        self._count = schedulers
        self._options = {f"LUIGI_HA_{name.upper()}": value for name, value in options.items()}
        self._running: list[subprocess.Popen[Any]] = []

    def __enter__(self) -> Self:
        self.restore()
        return self

    def __exit__(self, *_error: object) -> None:
        for process in self._running:
            process.terminate()
        for process in self._running:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def popen(self, argv: Sequence[str], env: Mapping[str, str], directory: Path, log: Path) -> "subprocess.Popen[Any]":
        with log.open("ab") as out:
            return subprocess.Popen(
                ["setpriv", "--pdeathsig=KILL", "--", *argv], env=inside.environ(self.url, env), cwd=directory,
                stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip

    def once(self, method: str, path: str, body: Any = None, timeout: float = ASKING) -> Answer:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Connection": "close"}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as reply:
                return Answer(reply.status, _parsed(reply.read()))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, _parsed(error.read()))

    def leading(self) -> tuple[str, int] | None:
        if any(process.poll() not in (None, -signal.SIGKILL) for process in self._running):
            raise DrillError(f"a scheduler has ended: {(self._directory / 'schedulers.log').read_text()[-1500:]}")
        try:
            said = self.once("GET", "/api/cluster").value
        except OSError:
            return None
        return (said["leader"], said["epoch"]) if isinstance(said, dict) and said.get("leader") else None

    def kill_leader(self) -> Strike:
        self.wait_until_ready()  # starting one takes a while, and there are only two
        name, before = await_leader(self, 0)
        pid = int(name.rpartition(":")[2])
        process = next((one for one in self._running if one.pid == pid), None)
        if process is None:
            raise DrillError(f"{name} leads, which is none of ours")
        at = now()
        process.kill()
        code = process.wait()
        self._running.remove(process)
        self._start()
        _name, after = await_leader(self, before)
        return Strike("kill", name, at, now(), before, after, f"exit code {code}")

    def outage(self) -> Strike:
        _name, before = await_leader(self, 0)
        at = now()
        for process in self._running:
            process.kill()
        codes = [process.wait() for process in self._running]
        self._running.clear()
        proof = f"exit codes {codes}; {silent(self)}"
        return Strike("outage", "all", at, now(), before, before, proof)

    def restore(self) -> int:
        while len(self._running) < self._count:
            self._start()
        return await_leader(self, 0)[1]

    def wait_until_ready(self) -> None:
        until = time.monotonic() + LEADS_WITHIN
        while self.leading() is None or len(self._ready()) < self._count:
            if time.monotonic() > until:
                raise DrillError(f"not {self._count} schedulers are ready, but {self._ready()}")
            time.sleep(0.1)

    def rows(self, query: str) -> list[list[str]]:
        with closing(sqlite3.connect(f"file:{self._database}?mode=ro", uri=True, timeout=30)) as connection:
            return [["" if cell is None else str(cell) for cell in row] for row in connection.execute(query)]

    def _ready(self) -> list[str]:
        """Who leads, or could."""
        try:
            said = self.once("GET", "/api/cluster").value
        except OSError:
            return []
        return [node["name"] for node in said["nodes"] if node["leading"] or node["able"]]

    def _start(self) -> None:
        ours = {name: value for name, value in os.environ.items() if not name.startswith("LUIGI_HA_")}
        with (self._directory / "schedulers.log").open("ab") as out:
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig=KILL", "--", *self._command], env={**ours, **self._options},
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self._directory,
            )  # fmt: skip
        self._running.append(process)


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text.decode(errors="replace")


