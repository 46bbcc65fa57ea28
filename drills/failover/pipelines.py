"""`python -m drills.failover.pipelines`: stock luigi's pipelines through failovers of a real cluster.

    python -m drills.failover.pipelines --fault kill --workers 4 --runs 3
    python -m drills.failover.pipelines --fault unplug-primary twice --workers 1 4 --retry-wait 1 --json results.json
    python -m drills.failover.pipelines --self-test

Brings up a lab of its own (root). For each run: arranges the cluster, starts stock `luigi` with its default settings on
the lab's client, strikes at a random moment while tasks are at work, waits for luigi's end, and judges by what the
tasks wrote (luigi_ha.appliance.drill.effects). Exit code 0: every run decides something, ended with code 0, all tasks
done, none twice; 1 otherwise.
"""

import argparse
import json
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from drills.failover import scenarios
from drills.failover.effects_selftest import check
from luigi_ha.appliance.drill import effects
from luigi_ha.appliance.drill.effects import Evidence, Verdict
from luigi_ha.appliance.drill.pipeline_tasks import DIRECTORY, LOG, TARGETS, required
from luigi_ha.appliance.lab.errors import LabError
from luigi_ha.appliance.lab.faults import Bite
from luigi_ha.appliance.lab.lab import Lab
from luigi_ha.appliance.lab.targets import Target

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 6.0  # each task
LAYERS = {1: "5,2,1", 4: "8,4,1"}  # by processes: 8 tasks and 13
READY = 150.0  # s until the cluster is whole again
LATEST = 240.0  # s longer than without a fault, after which luigi is ended
STOCK_WAIT = 30  # s; luigi's own rpc-retry-wait


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Pipeline:
    """Stock luigi on the lab's client, and what is seen of it."""

    def __init__(self, lab: Lab, directory: Path, workers: int, layers: str, seconds: float, retry_wait: int | None):
        self.lot = f"l{time.time_ns() // 1_000_000}"
        self.required = required(layers)
        self.log: list[tuple[float, str]] = []
        self._lab, self._directory = lab, directory
        directory.mkdir(parents=True)
        config = directory / "luigi.cfg"
        more = "" if retry_wait is None else f"rpc-retry-wait={retry_wait}\n"
        config.write_text(f"[core]\nautoload_range=false\nlock_pid_dir={directory / 'lock'}\n{more}")
        words = {"lot": self.lot, "layers": layers, "seconds": seconds, "layer": layers.count(","), "number": 0}
        words |= {"scheduler-url": lab.plan.vip_url, "workers": workers}
        argv = ["luigi", "--module", "luigi_ha.appliance.drill.pipeline_tasks", "Piece"]
        environ = {DIRECTORY: str(directory), "PYTHONPATH": str(ROOT), "LUIGI_CONFIG_PATH": str(config)}
        self.began = scenarios.now()
        self._process = lab.run_in(
            "client", [*argv, *(f"--{name}={value}" for name, value in words.items())], env=environ, cwd=directory,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self.log.append((scenarios.now(), line.rstrip()))

    def effects(self) -> list[effects.Effect]:
        place = self._directory / LOG
        return effects.read(place.read_text()) if place.exists() else []

    def wait_for_starts(self, count: int, timeout: float) -> None:
        """Until so many tasks have begun; LabError if they do not."""
        deadline = time.monotonic() + timeout
        while sum(effect.what == "start" for effect in self.effects()) < count:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise LabError(f"luigi began fewer than {count} tasks; its last words: {self.last_words()}")
            time.sleep(0.01)

    def finish(self, timeout: float) -> tuple[int | None, float]:
        """luigi's exit code (None: it had to be ended) and when it ended."""
        code: int | None = None
        with suppress(subprocess.TimeoutExpired):
            code = self._process.wait(timeout)
        ended = scenarios.now()
        self.stop()
        return code, ended

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(10)
        self._reading.join(SECONDS + 5)  # task processes that outlive luigi hold the pipe
        if not self._reading.is_alive() and self._process.stdout is not None:
            self._process.stdout.close()

    def last_words(self) -> str:
        return " | ".join(line for _, line in self.log[-12:])

    def statuses(self) -> dict[str, int]:
        """How many of its tasks the database has, by status."""
        query = f"SELECT status FROM luigi_task WHERE task_id LIKE 'Piece\\_%\\_{self.lot}\\_%'"
        primary = self._lab.resolve("primary")
        argv = ["psql", "-h", primary.address, "-U", "luigi", "-d", "luigi", "-Atc", query]
        return dict(Counter(self._lab.run(primary.name, argv).stdout.split()))

    def evidence(self, code: int | None, ended: float, strikes: list[float]) -> Evidence:
        """To be asked when the database is well."""
        targets = self._directory / TARGETS
        there = frozenset(path.name for path in targets.iterdir()) if targets.exists() else frozenset()
        return Evidence(code, self.effects(), there, self.statuses(), list(self.log), self.began, ended, strikes)


Strike = Callable[[Lab], list[Bite]]


@dataclass(frozen=True)
class Fault:
    """What happens to the cluster in the middle of a pipeline."""

    arrange: scenarios.Arrange
    strike: Strike
    mend: scenarios.Mend = scenarios.nothing


def kill(lab: Lab) -> list[Bite]:
    return [lab.faults.kill("leader", Target.BOTH)]


def twice(lab: Lab) -> list[Bite]:
    """The leader, and as soon as there is another one, that one too."""
    first = lab.faults.kill("leader", Target.BOTH)
    deadline = time.monotonic() + 60
    while lab.leader() is None:
        if time.monotonic() > deadline:
            raise LabError("nobody leads after the first kill")
    return [first, lab.faults.kill("leader", Target.BOTH)]


def _one(strike: scenarios.Strike) -> Strike:
    return lambda lab: [strike(lab)]


beside = scenarios.leader_beside_primary
apart = scenarios.both(scenarios.leader_apart, scenarios.etcd_elsewhere)
FAULTS = {
    "kill": Fault(beside, kill),
    "unplug": Fault(apart, _one(scenarios.unplug_leader), scenarios.plug),
    "unplug-primary": Fault(beside, _one(scenarios.unplug_leader), scenarios.plug),
    "switchover": Fault(scenarios.nothing, _one(scenarios.switchover)),
    "twice": Fault(beside, twice),
}


def run(
    lab: Lab, fault: Fault, workers: int, retry_wait: int | None, place: Path, layers: str, seconds: float = SECONDS
) -> tuple[Verdict, dict[str, Any]]:
    """One pipeline through one fault; the verdict, and what else was seen. `place`: a directory that is not there."""
    lab.wait_until_ready(READY)
    fault.arrange(lab)
    lab.wait_until_ready(READY)
    pipeline = Pipeline(lab, place, workers, layers, seconds, retry_wait)
    bites: list[Bite] = []
    try:
        least = workers + 1 if workers > 1 else 2
        pipeline.wait_for_starts(least, seconds * least + 60)
        time.sleep(random.uniform(0.0, seconds))
        bites += fault.strike(lab)
        code, ended = pipeline.finish(seconds * len(pipeline.required) / workers + LATEST)
    finally:
        pipeline.stop()
        for bite in bites:
            fault.mend(lab, bite)
    lab.wait_until_ready(READY)
    verdict = effects.judge(pipeline.required, pipeline.evidence(code, ended, [bite.at for bite in bites]))
    seen: dict[str, Any] = {"strikes": [asdict(bite) | {"at": round(bite.at - pipeline.began, 3)} for bite in bites]}
    if not verdict.good or verdict.pauses:
        seen["log"] = [f"{at - pipeline.began:.3f} {line}" for at, line in pipeline.log if "DEBUG" not in line]
    return verdict, seen


def drill(lab: Lab, name: str, workers: int, retry_wait: int | None, runs: int, place: Path) -> dict[str, Any]:
    """All runs of one kind."""
    found: list[dict[str, Any]] = []
    for number in range(1, runs + 1):
        where = place / f"{name}-{workers}-{retry_wait}-{number}"
        try:
            verdict, seen = run(lab, FAULTS[name], workers, retry_wait, where, LAYERS[workers])
        except LabError as error:
            say(f"{name}, {workers} processes, {number}/{runs}: the lab failed: {error}")
            found.append({"good": False, "inconclusive": f"the lab failed: {error}"})
            continue
        found.append({"good": verdict.good, **asdict(verdict), **seen})
        said = "; ".join(verdict.wrong) or verdict.inconclusive or "sound"
        say(
            f"{name}, {workers} processes, {number}/{runs}: {said}; {verdict.done} of {verdict.expected} done in "
            f"{verdict.seconds:.1f} s, longest gap between starts {verdict.gap:.1f} s, {verdict.running} at work, "
            f"{verdict.cut} calls cut, pauses {list(verdict.pauses)}"
        )
    return {**summary(found), "each": found}


def summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures of one kind."""
    sound = [one for one in found if one.get("inconclusive") is None]
    figures: dict[str, Any] = {
        "runs": len(sound),
        "good": sum(one["good"] for one in sound),
        "inconclusive": len(found) - len(sound),
    }
    if not sound:
        return figures
    return figures | {
        "wrong": sorted({word for one in sound for word in one["wrong"]}),
        "tasks": sum(one["expected"] for one in sound),
        "done": sum(one["done"] for one in sound),
        "twice": sum(one["twice"] for one in sound),
        "gap_p50": round(statistics.median(one["gap"] for one in sound), 2),
        "gap_max": round(max(one["gap"] for one in sound), 2),
        "cut": sum(one["cut"] for one in sound),
        "pauses": sum(len(one["pauses"]) for one in sound),
        "gave_up": sum(one["gave_up"] for one in sound),
        "seconds_p50": round(statistics.median(one["seconds"] for one in sound), 1),
        "seconds_max": round(max(one["seconds"] for one in sound), 1),
    }


def show(results: dict[str, dict[str, Any]]) -> None:
    """The table."""
    print(
        f"{'pipeline':<42}{'runs':>5}{'good':>5}{'done':>10}{'twice':>6}{'gap p50':>9}{'max':>7}{'cut':>5}{'pauses':>7}"
        f"{'took':>7}{'max':>7}"
    )
    for name, found in results.items():
        if not found["runs"]:
            print(f"{name:<42}{0:>5}  inconclusive: {found['inconclusive']}")
            continue
        print(
            f"{name:<42}{found['runs']:>5}{found['good']:>5}{found['done']:>6}/{found['tasks']:<3}{found['twice']:>6}"
            f"{found['gap_p50']:>9.1f}{found['gap_max']:>7.1f}{found['cut']:>5}{found['pauses']:>7}"
            f"{found['seconds_p50']:>7.1f}{found['seconds_max']:>7.1f}"
        )


def self_test() -> int:
    """0 if the judge names every damage, and finds nothing in a sound run."""
    found = check()
    for what, right, said in found:
        print(f"{'ok' if right else 'WRONG':<7}{what:<28}{said}")
    return 0 if all(right for _, right, _ in found) else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--fault", nargs="+", choices=FAULTS, default=list(FAULTS))
    parser.add_argument("--workers", nargs="+", type=int, choices=LAYERS, default=list(LAYERS))
    parser.add_argument("--retry-wait", type=int, help=f"luigi's rpc-retry-wait, s [its own: {STOCK_WAIT}]")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, help="keep the results, after each kind; what is there already stays")
    parser.add_argument("--dir", type=Path, default=Path("/var/tmp/luigi-ha-pipelines"))
    parser.add_argument("--keep", action="store_true", help="use the lab that is there, and leave it")
    parser.add_argument("--self-test", action="store_true", help="show the judge broken pipelines, and nothing else")
    options = parser.parse_args()
    if options.self_test:
        return self_test()
    lab = Lab(options.dir)
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="luigi-ha-pipelines-") as place:
        try:
            if not options.keep:
                lab.up(say)
            for fault in options.fault:
                for workers in options.workers:
                    name = f"{fault}, {workers} processes, wait {options.retry_wait or STOCK_WAIT} s"
                    results[name] = drill(lab, fault, workers, options.retry_wait, options.runs, Path(place))
                    if options.json:
                        kept = json.loads(options.json.read_text()) if options.json.exists() else {}
                        options.json.write_text(json.dumps({**kept, name: results[name]}, indent=1) + "\n")
        finally:
            if not options.keep:
                lab.down()
    show(results)
    return 0 if all(found["good"] == options.runs for found in results.values()) else 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
