"""One round: a fault under load, and the records of it.

    arranged, ready -> callers and a pipeline begin -> the fault -> some seconds -> mended, ready -> records are written

Whatever happens, what was started here is ended. A place that fails before the fault strikes leaves a record without a
bite: inconclusive. What fails after that is in the record as trouble: failed.
"""

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from luigi_ha.appliance.drill import records, waiting
from luigi_ha.appliance.drill.fault import Bite, Fault
from luigi_ha.appliance.drill.fleet import Fleet
from luigi_ha.appliance.drill.observer import observed
from luigi_ha.appliance.drill.pipeline import WORKERS, Pipeline
from luigi_ha.appliance.drill.place import Breakable, DrillError, ask, await_leader, now
from luigi_ha.appliance.lab.errors import LabError
from luigi_ha.appliance.lab.processes import every

LEAD_IN = 60  # calls before the fault
RETRY_WAIT = 5.0  # s; luigi's own is 30: a call that was cut off is asked again sooner, so that a round ends
LATE_AFTER, LATE_CALLS, LATE_PATIENCE = 3.5, 20, 60.0  # s from the strike, when the lease has ended; how many; s
STARTS_WITHIN = 90.0


LOADS: dict[str, type[Pipeline] | None] = {"luigi": Pipeline, "workers": Fleet, "none": None}


@dataclass(frozen=True)
class Settings:
    """Of all rounds of a drill. `load`: who runs the pipeline, beside the callers: one of LOADS. `seconds`: of each
    task; None: by the place. `retry_wait`: s between two attempts of luigi's calls (its own: 30)."""

    load: str = "luigi"
    seconds: float | None = None
    retry_wait: float = RETRY_WAIT


def run(place: Breakable, fault: Fault, directory: Path, rng: random.Random, settings: Settings) -> None:
    """One round; its records are in `directory` afterwards, which is made here."""
    directory.mkdir(parents=True)
    told = {name: getattr(fault, name) for name in ("name", "text", "moves", "fails", "within")}
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
        begun_at = now()  # of the log's last entry; asking for it may take a while
        before = waiting.statuses(place, tasks)
        about["log"] = {"begun": records.position(place), "begun_at": begun_at}
        with observed(place, directory / records.NODES) as unseen, place.watching(directory) as unwatched:
            with _callers(place, directory) as prefix:
                about["prefix"] = prefix
                _struck(place, fault, directory, rng, settings, about)
            about["ended"] = now()
        about["blind"] = [*unseen, *unwatched]
        place.wait_until_ready()
        ask(place, "GET", "/api/prune")
        waiting.write(directory, before, waiting.statuses(place, tasks))
        waiting.end(place, tasks)
        about["log"]["ended_at"] = now()
        _gather(place, directory, about)
    except (DrillError, LabError, OSError) as error:
        about["trouble"] = f"{type(error).__name__}: {error}"
        with suppress(DrillError, LabError, OSError):
            waiting.end(place, tasks)
    about.setdefault("ended", now())
    about["left"] = _left(str(directory), (about.get("pipeline") or {}).get("lot", str(directory)))
    try:
        about["left"] += place.left()
    except (LabError, OSError) as error:
        about["left"].append(f"it could not be looked at: {error}")
    records.write(directory / records.ROUND, about)


def _struck(
    place: Breakable, fault: Fault, directory: Path, rng: random.Random, settings: Settings, about: dict[str, Any]
) -> None:
    """The middle of it."""
    about["load"] = "workers" if fault.workers else settings.load
    kind = LOADS[about["load"]]
    pipeline = kind(place, directory, settings.seconds, settings.retry_wait) if kind is not None else None
    place.workers = pipeline.daemons if isinstance(pipeline, Fleet) else ()
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
            _heal(place)
            about["mended"] = now()
    finally:
        try:
            if "mended" not in about:
                _heal(place)
        finally:
            if pipeline is not None:
                about["pipeline"] = pipeline.finish()
    place.wait_until_ready()
    about["leader_after"] = list(await_leader(place, 0))
    time.sleep(0.5)


def _heal(place: Breakable) -> None:
    try:
        place.heal()
    finally:
        for worker in place.workers:
            worker.heal()


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
    about["log"]["ended"] = ended
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
