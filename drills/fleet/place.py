"""Where a drill happens: schedulers that can be killed, a host for workers, and the database behind it all.

`InLab`: a real cluster in a lab; the workers are on its client host and know nothing but the virtual IP.
`OnLoopback`: two schedulers on one machine, on SQLite; for a quick look, and for tests of the drill itself.
"""

import csv
import io
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from appliance.lab import inside
from appliance.lab.errors import LabError
from appliance.lab.lab import Lab
from appliance.lab.plan import PORT, VIP, Host
from appliance.lab.targets import Target, found
from drills.fleet.evidence import Strike

ROOT = Path(__file__).resolve().parents[2]
LEADS_WITHIN = 180.0  # s; as a rule some seconds, but a busy machine may start programs for a minute
PATIENCE = 120.0  # s for a question of the drill itself
BIN = Path(sys.executable).parent


class DrillError(Exception):
    """The drill could not go on; it says nothing about what is drilled."""


@dataclass(frozen=True)
class Answer:
    """Of one HTTP question."""

    status: int
    value: Any


class Place(Protocol):
    """See the module."""

    url: str

    def popen(self, argv: Sequence[str], env: Mapping[str, str], directory: Path, log: Path) -> "subprocess.Popen[Any]":
        """A program on the workers' host; it dies with us."""

    def once(self, method: str, path: str, body: Any = None) -> Answer:
        """Ask the schedulers, from the workers' host. OSError if nobody answers."""

    def leading(self) -> tuple[str, int] | None:
        """Who leads, and its epoch; None: nobody."""

    def kill_leader(self) -> Strike:
        """SIGKILL; returns when another one leads."""

    def outage(self) -> Strike:
        """SIGKILL to all schedulers; none is started until `restore`. `over`: when all were dead."""

    def restore(self) -> int:
        """End an outage; returns the epoch of who leads then."""

    def wait_until_ready(self) -> None:
        """Until all is well."""

    def rows(self, query: str) -> list[list[str]]:
        """What the database says; empty text for NULL."""


def now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def ask(place: Place, method: str, path: str, body: Any = None) -> Any:
    """A question that may be repeated, with patience; what a good answer holds."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            answer = place.once(method, path, body)
        except OSError as error:
            said = repr(error)
        else:
            if answer.status < 300:
                return answer.value
            said = f"{answer.status} {answer.value}"
            if answer.status < 500:
                raise DrillError(f"{method} {path}: {said}")
        if time.monotonic() > until:
            raise DrillError(f"{method} {path}: {said}")
        time.sleep(0.2)


def await_leader(place: Place, after: int, seconds: float = LEADS_WITHIN) -> tuple[str, int]:
    """Until somebody leads with a later epoch."""
    until = time.monotonic() + seconds
    while True:
        leader = place.leading()
        if leader is not None and leader[1] > after:
            return leader
        if time.monotonic() > until:
            raise DrillError(f"nobody leads after epoch {after}, for {seconds:g} s")
        time.sleep(0.02)


class InLab:
    """A cluster of three hosts."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.url = lab.plan.vip_url
        self._epoch = 0

    def popen(self, argv: Sequence[str], env: Mapping[str, str], directory: Path, log: Path) -> "subprocess.Popen[Any]":
        with log.open("ab") as out:
            return self._lab.run_in(
                "client", argv, env=dict(env), cwd=directory, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )

    def once(self, method: str, path: str, body: Any = None) -> Answer:
        return Answer(*self._lab.ask("client", VIP, PORT, path, method=method, body=body, timeout=15.0))

    def leading(self) -> tuple[str, int] | None:
        found_ = [(host.name, said["epoch"]) for host in self._lab.plan.servers if (said := self._health(host))]
        return found_[0] if len(found_) == 1 else None

    def kill_leader(self) -> Strike:
        name, before = await_leader(self, 0)
        bite = self._lab.faults.kill(name, Target.BOTH)
        _name, after = await_leader(self, before)
        return Strike("kill", name, bite.at, now(), before, after, bite.proof)

    def outage(self) -> Strike:
        _name, before = await_leader(self, 0)
        at, proofs = now(), []
        for host in self._lab.plan.servers:
            self._lab.hold_back(host.name, "serve")
            try:
                proofs.append(self._lab.faults.kill(host.name, Target.BOTH).proof)
            except LabError as error:  # its supervisor was quicker
                proofs.append(str(error))
        until = time.monotonic() + 30
        while any(found(self._lab.init(host.name), Target.BOTH) for host in self._lab.plan.servers):
            if time.monotonic() > until:
                raise DrillError("schedulers are left that do not die")
            time.sleep(0.05)
        proof = f"{'; '.join(proofs)}; {_silent(self)}"
        return Strike("outage", "all", at, now(), before, before, proof)

    def restore(self) -> int:
        for host in self._lab.plan.servers:
            self._lab.let(host.name, "serve")
        return await_leader(self, 0)[1]

    def wait_until_ready(self) -> None:
        self._lab.wait_until_ready(180.0)

    def rows(self, query: str) -> list[list[str]]:
        primary = self._lab.resolve("primary")
        copy = f"COPY ({query}) TO STDOUT (FORMAT csv)"
        argv = ["psql", "-h", primary.address, "-U", "luigi", "-d", "luigi", "-c", copy]
        return list(csv.reader(io.StringIO(self._lab.run(primary.name, argv).stdout)))

    def _health(self, host: Host) -> dict[str, Any] | None:
        """What a leader says of itself; None of anybody else."""
        try:
            status, said = self._lab.ask(host.name, host.address, PORT, "/leader", timeout=1.0)
        except (OSError, LabError):
            return None
        return said if status == 200 and isinstance(said, dict) else None


class OnLoopback:
    """Two schedulers on SQLite, as `with OnLoopback(directory) as place`."""

    def __init__(self, directory: Path, schedulers: int = 2, **options: str) -> None:
        """`options` of the schedulers, as in the environment without LUIGI_HA_."""
        self._directory = directory
        self._database = directory / "scheduler.db"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
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

    def once(self, method: str, path: str, body: Any = None) -> Answer:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Connection": "close"}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=15) as reply:
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
        proof = f"exit codes {codes}; {_silent(self)}"
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


def _silent(place: Place) -> str:
    """Wait until nobody answers; the proof. What has lost its keeper ends a moment later."""
    until = time.monotonic() + 30
    while True:
        try:
            answer = place.once("GET", "/health")
        except OSError as error:
            return f"nobody answers: {type(error).__name__}"
        if time.monotonic() > until:
            raise DrillError(f"somebody still answers: {answer}")
        time.sleep(0.05)


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text.decode(errors="replace")


