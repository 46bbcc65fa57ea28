"""`luigi-ha worker`, several of them, on the workers' host of a place."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from drills.fleet import evidence
from drills.fleet.evidence import Effect, Word
from drills.fleet.tasks import EFFECTS, MODULE, WORKER
from luigi_ha.appliance.drill.place import BIN, DrillError, Place, TooLong
from luigi_ha.appliance.lab import processes
from luigi_ha.appliance.lab.processes import Process

ROOT = Path(__file__).resolve().parents[2]

ENDS_WITHIN = 120.0  # s from SIGTERM, with short tasks


class Daemon:
    """One worker; its state directory stays the same over its restarts."""

    def __init__(self, place: Place, directory: Path, name: str, processes_: int, *options: str) -> None:
        self.name = name
        self._place, self._directory = place, directory
        self.state = directory / f"state-{name}"
        self.log = directory / f"{name}.log"
        self._command = [
            str(BIN / "luigi-ha"), "worker", "--module", MODULE, "--workers", str(processes_), "--worker-id", name,
            "--scheduler-url", place.url, "--state-dir", str(self.state), *options,
        ]  # fmt: skip
        self._process: subprocess.Popen[Any] | None = None

    def start(self) -> "Daemon":
        env = {
            EFFECTS: str(effects_file(self._directory)), WORKER: self.name, "PYTHONPATH": str(ROOT),
            "LUIGI_CONFIG_PATH": "/dev/null",
        }  # fmt: skip
        self._process = self._place.popen(self._command, env, self._directory, self.log)
        return self

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """To the daemon alone."""
        if self._process is None:
            raise DrillError(f"{self.name} was not started")
        self._process.send_signal(number)

    def ended(self, seconds: float = ENDS_WITHIN) -> int | None:
        """Its exit code; None: it did not end, and was killed now."""
        if self._process is None:
            raise DrillError(f"{self.name} was not started")
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def kill(self) -> str:
        """SIGKILL to the daemon (the kernel ends its tasks); the proof."""
        found = self.processes()
        left = processes.kill(process.pid for process in found)
        if self._process is not None:
            self._process.wait(10)
        if left or self.processes():
            raise DrillError(f"{self.name}: {left} live on after SIGKILL")
        return f"{len(found)} processes dead"

    def freeze(self) -> str:
        """SIGSTOP to the daemon and its tasks; the proof."""
        stopped = processes.freeze(self.processes)
        running = [process.pid for process in self.processes() if process.state not in "Tt"]
        if running or not stopped:
            raise DrillError(f"{self.name}: {running or 'nothing'} runs on after SIGSTOP")
        return f"{len(stopped)} processes stopped"

    def thaw(self) -> None:
        processes.thaw(self.processes)

    def processes(self) -> list[Process]:
        """The daemon and its tasks: all that carry its name in their environment."""
        mark = f"{WORKER}={self.name}\0".encode()
        return [process for process in processes.every() if process.alive and mark in _environ(process.pid)]

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """What its log says, all or of one name."""
        said = map(evidence.event, self._lines())
        return [line for line in said if line is not None and name in ("", line["event"])]

    def words(self) -> list[Word]:
        return evidence.read_words(self._lines())

    def outstanding(self) -> list[str]:
        """How the runs that its spool holds ended, as far as they did: what nobody has acknowledged."""
        found: dict[str, str] = {}
        for file in sorted((self.state / "spool").glob("*.spool")):
            for line in file.read_bytes().split(b"\n"):
                if line:
                    entry = json.loads(line.partition(b" ")[2])
                    if entry["kind"] == "finished":
                        found[entry["run"]["key"]] = entry["status"]
                    elif entry["kind"] == "acknowledged":
                        found.pop(entry["key"], None)
        return list(found.values())

    def _lines(self) -> Sequence[str]:
        return self.log.read_text(errors="replace").splitlines() if self.log.exists() else ()


class Fleet:
    """All workers of one drill; ends them, whatever happens."""

    def __init__(self, place: Place, directory: Path, lot: str) -> None:
        self.place, self.directory, self.lot = place, directory, lot
        self.daemons: list[Daemon] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        for daemon in self.daemons:
            if daemon.processes():
                daemon.kill()

    def add(self, name: str, processes_: int = 1, *options: str) -> Daemon:
        """Start one more."""
        daemon = Daemon(self.place, self.directory, f"{self.lot}-{name}", processes_, *options)
        self.daemons.append(daemon)
        return daemon.start()

    def effects(self) -> list[Effect]:
        file = effects_file(self.directory)
        return evidence.read_effects(file.read_text()) if file.exists() else []

    def drain(self) -> dict[str, int | None]:
        """SIGTERM to those that run; how each ended."""
        running = [daemon for daemon in self.daemons if daemon.alive]
        for daemon in running:
            daemon.signal(signal.SIGTERM)
        return {daemon.name: daemon.ended() for daemon in running}


def effects_file(directory: Path) -> Path:
    return directory / "effects.jsonl"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def wait_for(what: str, holds: Any, seconds: float, every: float = 0.05) -> Any:
    """Until it holds; what it gave. TooLong if it does not."""
    until = time.monotonic() + seconds
    while not (found := holds()):
        if time.monotonic() > until:
            raise TooLong(f"waited {seconds:.0f} s for {what}")
        time.sleep(every)
    return found


def _environ(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""
