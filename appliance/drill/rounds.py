"""One round: a fault under load, and the records of it.

    arranged, ready -> callers and a pipeline begin -> the fault -> some seconds -> mended, ready -> records are written

Whatever happens, what was started here is ended. A place that fails before the fault strikes leaves a record without a
bite: inconclusive. What fails after that is in the record as trouble: failed.
"""

import json
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from luigi_ha.appliance.drill import effects, records, waiting
from luigi_ha.appliance.drill.fault import Bite, Fault
from luigi_ha.appliance.drill.pipeline_tasks import DIRECTORY, LOG, TARGETS, required
from luigi_ha.appliance.drill.place import BIN, Breakable, DrillError, ask, await_leader, now
from luigi_ha.appliance.lab.errors import LabError
from luigi_ha.appliance.lab.processes import every

LEAD_IN = 60  # calls before the fault
LAYERS, WORKERS = "4,2,1", 2
SECONDS = {
    "pair": 2.0,
    "lab": 3.0,
    "hosts": 2.0,
}  # each task takes; by the place: asking a lab who is what takes a while
RETRY_WAIT = 5.0  # s; luigi's own is 30: a call that was cut off is asked again sooner, so that a round ends
LATE_AFTER, LATE_CALLS, LATE_PATIENCE = 3.5, 20, 60.0  # s from the strike, when the lease has ended; how many; s
LATEST = 120.0  # s after which luigi is ended
STARTS_WITHIN = 90.0
WORKS_WITHIN = 5.0
LOOK_EVERY = 0.03  # s between two looks at the nodes


@dataclass(frozen=True)
class Settings:
    """Of all rounds of a drill. `seconds`: of each task; None: by the place. `retry_wait`: s between two attempts of
    luigi's calls (its own: 30)."""

    pipeline: bool = True
    seconds: float | None = None
    retry_wait: float = RETRY_WAIT


def run(place: Breakable, fault: Fault, directory: Path, rng: random.Random, settings: Settings) -> None:
    """One round; its records are in `directory` afterwards, which is made here."""
    directory.mkdir(parents=True)
    told = {name: getattr(fault, name) for name in ("name", "text", "moves", "fails", "within", "late")}
    gone = None if fault.gone_after is None or place.lease is None else place.lease + fault.gone_after
    about: dict[str, Any] = {"fault": {**told, "gone_within": gone}, "place": place.kind, "began": now(), "bite": None}
    tasks: list[str] = []
    try:
        place.heal()  # whatever an earlier round could not
        place.wait_until_ready()
        if fault.arrange is not None:
            fault.arrange(place)
            place.wait_until_ready()
        tasks += waiting.make(place)
        before = waiting.statuses(place, tasks)
        about["log"] = {"begun": records.position(place), "begun_at": now()}
        with _Observer(place, directory / records.NODES) as observer, place.watching(directory) as blind:
            with _callers(place, directory) as prefix:
                about["prefix"] = prefix
                _struck(place, fault, directory, rng, settings, about)
            about["ended"] = now()
            about["blind"] = [*observer.failed, *blind()]
        place.wait_until_ready()
        ask(place, "GET", "/api/prune")
        waiting.write(directory, before, waiting.statuses(place, tasks))
        waiting.end(place, tasks)
        _gather(place, directory, about)
    except (DrillError, LabError, OSError) as error:
        about["trouble"] = f"{type(error).__name__}: {error}"
        with suppress(DrillError, LabError, OSError):
            waiting.end(place, tasks)
    about.setdefault("ended", now())
    about["left"] = [*_left(str(directory), (about.get("pipeline") or {}).get("lot", str(directory))), *place.left()]
    records.write(directory / records.ROUND, about)


def _struck(
    place: Breakable, fault: Fault, directory: Path, rng: random.Random, settings: Settings, about: dict[str, Any]
) -> None:
    """The middle of it."""
    pipeline = _Pipeline(place, directory, settings) if settings.pipeline else None
    try:
        _wait_for_answers(directory / records.CALLS)
        if pipeline is not None:
            pipeline.wait_for_starts(WORKERS)
            time.sleep(rng.uniform(0.0, pipeline.seconds / 2))
        if fault.aim is not None:
            fault.aim(place)
        if pipeline is not None:
            pipeline.wait_for_work()
        about["leader_before"] = list(await_leader(place, 0))
        bite = fault.strike(place, rng)
        about["bite"] = asdict(bite)
        with _late_calls(place, fault, bite, directory, about):
            time.sleep(max(0.0, bite.over + fault.watch - now()))
            about["healed"] = now()
            place.heal()
            about["mended"] = now()
    finally:
        if "mended" not in about:
            place.heal()
        if pipeline is not None:
            about["pipeline"] = pipeline.finish()
    place.wait_until_ready()
    about["leader_after"] = list(await_leader(place, 0))
    time.sleep(0.5)


def _wait_for_answers(calls: Path) -> None:
    """Until callers have called often enough for a fault to decide something."""
    until = time.monotonic() + STARTS_WITHIN
    while not calls.exists() or calls.read_text().count("\n") < LEAD_IN:
        if time.monotonic() > until:
            raise DrillError(f"fewer than {LEAD_IN} calls were answered in {STARTS_WITHIN:g} s")
        time.sleep(0.05)


def _left(*marks: str) -> list[str]:
    """What was started for this round, and lives on."""
    ours = [each for each in every() if each.alive and any(mark in word for word in each.argv for mark in marks)]
    return [f"{each.pid} {' '.join(each.argv)[:120]}" for each in ours]


def _gather(place: Breakable, directory: Path, about: dict[str, Any]) -> None:
    """What the database has, when nothing happens any more."""
    ended = records.position(place)
    about["log"] |= {"ended": ended, "ended_at": now()}
    written = records.entries(place, about["log"]["begun"][1], ended[1])
    records.write_lines(directory / records.LOG, written)
    prefix = about["prefix"]
    ids = place.rows(f"SELECT task_id FROM luigi_task WHERE task_id LIKE '{prefix}\\_%' ESCAPE '\\'")  # noqa: S608
    known: dict[str, Any] = {"acknowledged": sorted(row[0] for row in ids)}
    if about.get("pipeline") is not None:
        pattern = f"Piece\\_%\\_{about['pipeline']['lot']}\\_%"
        rows = place.rows(f"SELECT status FROM luigi_task WHERE task_id LIKE '{pattern}' ESCAPE '\\'")  # noqa: S608
        known["statuses"] = dict(Counter(row[0] for row in rows))
    records.write(directory / records.KNOWN, known)


@contextmanager
def _callers(place: Breakable, directory: Path) -> Iterator[str]:
    """Callers, fifty times a second; the prefix of their tasks."""
    prefix = f"d{time.time_ns() // 1_000_000}"
    process = _calling(place, place.url, directory, records.CALLS, "--prefix", prefix)
    try:
        yield prefix
    finally:
        process.send_signal(signal.SIGTERM)
        _await_end(process, 30.0)


@contextmanager
def _late_calls(place: Breakable, fault: Fault, bite: Bite, directory: Path, about: dict[str, Any]) -> Iterator[None]:
    """While it stands still, calls are sent to what was hit, at its own address: they wait there until it wakes."""
    url = place.url_of(bite.nodes[0]) if fault.late else None
    about["late"] = url is not None
    if url is None:
        yield
        return
    time.sleep(max(0.0, bite.at + LATE_AFTER - now()))
    words = ["--prefix", f"{about['prefix']}_late", "--burst", str(LATE_CALLS), "--patience", str(LATE_PATIENCE)]
    process = _calling(place, url, directory, records.LATE, *words)
    try:
        yield
    finally:
        _await_end(process, LATE_PATIENCE + 30.0)


def _calling(place: Breakable, url: str, directory: Path, out: str, *words: str) -> "subprocess.Popen[Any]":
    command = [sys.executable, "-m", "luigi_ha.appliance.drill.prober", url, str(directory / out), *words]
    return place.popen(command, {}, directory, directory / "callers.txt")


def _await_end(process: "subprocess.Popen[Any]", seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class _Pipeline:
    """Stock luigi, with tasks that outlive a failover."""

    def __init__(self, place: Breakable, directory: Path, settings: Settings) -> None:
        self.seconds = SECONDS[place.kind] if settings.seconds is None else settings.seconds
        self._directory = directory
        self._lot = f"l{time.time_ns() // 1_000_000}"
        self._words = directory / "luigi.txt"
        config = directory / "luigi.cfg"
        options = {"autoload_range": "false", "lock_pid_dir": directory / "lock"}
        options["rpc-retry-wait"] = f"{settings.retry_wait:g}"
        config.write_text("[core]\n" + "".join(f"{name}={value}\n" for name, value in options.items()))
        words: dict[str, Any] = {"lot": self._lot, "layers": LAYERS, "seconds": self.seconds, "number": 0}
        words |= {"layer": LAYERS.count(","), "scheduler-url": place.url, "workers": WORKERS}
        argv = [str(BIN / "luigi"), "--module", "luigi_ha.appliance.drill.pipeline_tasks", "Piece"]
        self._began = now()
        self._process = place.popen(
            [*argv, *(f"--{name}={value}" for name, value in words.items())],
            {DIRECTORY: str(directory), "LUIGI_CONFIG_PATH": str(config), "PYTHONUNBUFFERED": "1"},
            directory, self._words,
        )  # fmt: skip
        self._heard: list[tuple[float, str]] = []
        self._over = threading.Event()
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()

    def wait_for_starts(self, count: int) -> None:
        """DrillError if so many tasks do not begin."""
        until = time.monotonic() + STARTS_WITHIN
        while sum(effect.what == "start" for effect in self._effects()) < count:
            if self._process.poll() is not None or time.monotonic() > until:
                raise DrillError(f"luigi began fewer than {count} tasks: {self._words.read_text()[-600:]}")
            time.sleep(0.01)

    def wait_for_work(self) -> None:
        """Until a task is at work, or for as long as it takes that one begins as a rule."""
        until = time.monotonic() + WORKS_WITHIN
        while time.monotonic() < until and self._process.poll() is None:
            seen = self._effects()
            if 2 * sum(effect.what == "start" for effect in seen) > len(seen):
                return
            time.sleep(0.01)

    def finish(self) -> dict[str, Any]:
        """Wait for luigi's end; what is to be known of it."""
        code: int | None = None
        with suppress(subprocess.TimeoutExpired):
            code = self._process.wait(LATEST)
        ended = now()
        if code is None:
            self._process.kill()
            self._process.wait()
        self._over.set()
        self._listening.join()
        records.write_lines(self._directory / records.WORDS, self._heard)
        targets = self._directory / TARGETS
        there = sorted(path.name for path in targets.iterdir()) if targets.exists() else []
        shutil.rmtree(targets, ignore_errors=True)
        return {
            "lot": self._lot, "layers": LAYERS, "tasks": len(required(LAYERS)), "exit_code": code, "targets": there,
            "began": self._began, "ended": ended,
        }  # fmt: skip

    def _effects(self) -> list[effects.Effect]:
        log = self._directory / LOG
        return effects.read(log.read_text()) if log.exists() else []

    def _listen(self) -> None:
        """Note luigi's words when they come."""
        with self._words.open() as words:
            while True:
                over = self._over.is_set()
                for line in words:
                    self._heard.append((now(), line.rstrip()))
                if over:
                    return
                time.sleep(0.02)


class _Observer:
    """Asks each node all the time how it is, and writes down what changes."""

    def __init__(self, place: Breakable, path: Path) -> None:
        self._place = place
        self._path = path
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._watch, args=(node,), daemon=True) for node in place.nodes]
        self._lock = threading.Lock()
        self.failed: list[str] = []  # why a node was not looked at to the end

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _watch(self, node: str) -> None:
        try:
            self._look(node)
        except Exception as error:  # noqa: BLE001 - a thread has nobody above it
            self.failed.append(f"{node}: {type(error).__name__}: {error}")

    def _look(self, node: str) -> None:
        before: list[Any] | None = None
        last = now()
        while not self._over.is_set():
            asked, said = now(), self._place.health(node)
            seen: list[Any] = [None, 0, False]
            if said is not None:  # ready: its lease is valid, too
                seen = [said.get("state"), said.get("epoch"), bool(said.get("leading") and said.get("ready"))]
            if seen != before and before is not None:
                self._write(last, node, before)
            if seen != before:
                self._write(now(), node, seen)
            before, last = seen, asked
            self._over.wait(LOOK_EVERY)
        if before is not None:
            self._write(last, node, before)

    def _write(self, at: float, node: str, seen: list[Any]) -> None:
        with self._lock, self._path.open("a") as out:
            out.write(json.dumps([round(at, 4), node, *seen]) + "\n")
