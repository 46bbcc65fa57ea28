"""`python -m drills.compat`: pipelines of law and b2luigi, unchanged, against a cluster, through a failover.

    python -m drills.compat                                   (brings up a lab of its own, as root)
    python -m drills.compat law --runs 3 --json bench/results/compat.json
    python -m drills.compat --loopback                        (two schedulers on SQLite instead)

Each package is installed into an environment of its own (.cache/compat-*), with the luigi it wants and nothing of ours.
While tasks are at work the leader is killed. Exit code 0: each pipeline ended with code 0, all of its tasks were done,
none twice, and the scheduler says so (luigi_ha.appliance.drill.effects judges); 1: not so; 3: a run decides nothing.
"""

import argparse
import random
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from drills.compat.packages import ALL, NEEDS, PIPELINES, WORKERS, Package, install
from drills.fleet.__main__ import LAB, logs, somewhere
from drills.fleet.daemons import say, wait_for
from drills.fleet.gather import FAILED, INCONCLUSIVE, PASSED, exit_code, keep
from luigi_ha.appliance.drill import effects
from luigi_ha.appliance.drill.effects import Evidence, Verdict
from luigi_ha.appliance.drill.place import DrillError, Place, Strike, TooLong, now
from luigi_ha.appliance.lab.errors import LabError

STARTS_WITHIN, ENDS_WITHIN = 180.0, 400.0  # s
TARGETS = "targets"


def run(place: Place, package: Package, programs: Path, directory: Path, seconds: float) -> tuple[Verdict, Strike]:
    """One pipeline through one failover. `directory` is not there."""
    (directory / TARGETS).mkdir(parents=True)
    place.wait_until_ready()
    lot, log = f"lot{time.time_ns() // 1_000_000}", directory / "output.log"
    url = urlsplit(place.url)
    command = package.command(str(programs), lot, seconds, str(url.hostname), int(url.port or 80))
    env = {
        "PIPELINE_DIRECTORY": str(directory), "PYTHONPATH": str(PIPELINES), "LUIGI_CONFIG_PATH": "/dev/null",
        "LAW_HOME": str(directory / "law"), "LAW_CONFIG_FILE": "", "HOME": str(directory),
    }  # fmt: skip
    began = now()
    process = place.popen(command, env, directory, log)
    try:
        wait_for(f"{WORKERS + 1} tasks at work", lambda: _begun(directory) > WORKERS, STARTS_WITHIN)
        time.sleep(random.uniform(0.0, seconds))
        strike = place.kill_leader()
        with suppress(TooLong):
            wait_for("the pipeline's end", lambda: process.poll() is not None, ENDS_WITHIN)
        code, ended = process.returncode, now()
    except DrillError as error:
        raise DrillError(f"{error}; its last words: {_last_words(log)}") from None
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait(10)
    place.wait_until_ready()
    said = [(began, line) for line in log.read_text(errors="replace").splitlines()]
    there = frozenset(path.name for path in (directory / TARGETS).iterdir())
    seen = Evidence(
        code, _effects(directory), there, _statuses(place, package, lot), said, began, ended, [strike.at]
    )  # fmt: skip
    return effects.judge(NEEDS, seen), strike

def _effects(directory: Path) -> list[effects.Effect]:
    file = directory / "effects.log"
    return effects.read(file.read_text()) if file.exists() else []


def _begun(directory: Path) -> int:
    return sum(effect.what == "start" for effect in _effects(directory))


def _statuses(place: Place, package: Package, lot: str) -> dict[str, int]:
    """What the database says of the pipeline's tasks, as the judge counts: those of the package itself left out."""
    counts = Counter(row[0] for row in place.rows(f"SELECT status FROM luigi_task WHERE params LIKE '%{lot}%'"))
    if counts["DONE"] == package.tasks:
        counts["DONE"] = len(NEEDS)
    return dict(counts)


def _last_words(log: Path) -> str:
    return " | ".join(log.read_text(errors="replace").splitlines()[-12:]) if log.exists() else ""


def drill(place: Place, package: Package, runs: int, directory: Path, seconds: float) -> dict[str, Any]:
    """All runs of one package."""
    programs, luigi = install(package)
    say(f"{package.name}: {', '.join(package.requirements)} with {luigi}")
    each: list[dict[str, Any]] = []
    for number in range(1, runs + 1):
        where = directory / f"{package.name}-{number}"
        try:
            verdict, strike = run(place, package, programs, where, seconds)
        except (DrillError, LabError) as error:
            each.append({"wrong": [], "inconclusive": str(error)})
        else:
            took = strike.over - strike.at
            each.append({**asdict(verdict), "failover_s": round(took, 2), "epochs": [strike.before, strike.after]})
        found = each[-1]
        say(f"{package.name} {number}/{runs}: {'; '.join(found['wrong']) or found['inconclusive'] or 'sound'}")
    verdict_ = FAILED if any(one["wrong"] for one in each) else PASSED
    if verdict_ == PASSED and any(one["inconclusive"] for one in each):
        verdict_ = INCONCLUSIVE
    return {"requirements": [*package.requirements, luigi], "verdict": verdict_, "runs": each}


def show(results: dict[str, dict[str, Any]]) -> None:
    """The table."""
    print(
        f"{'package':<10}{'with':<16}{'verdict':<14}{'exit code':>9}{'done':>8}{'twice':>6}{'at work':>8}{'took':>8}"
        f"{'pauses':>7}"
    )
    for name, found in results.items():
        for one in found["runs"]:
            if "done" not in one:
                print(f"{name:<10}{found['requirements'][-1]:<16}{INCONCLUSIVE:<14}{one['inconclusive'][:300]}")
                continue
            print(
                f"{name:<10}{found['requirements'][-1]:<16}{found['verdict']:<14}{one['exit_code']!s:>9}"
                f"{one['done']:>5}/{one['expected']}{one['twice']:>6}{one['running']:>8}{one['seconds']:>8.1f}"
                f"{len(one['pauses']):>7}"
            )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("package", nargs="*", help=f"some of {', '.join(ALL)} [all]")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3.0, help="each task takes")
    parser.add_argument("--json", type=Path, help="keep the results, after each package; what is there already stays")
    parser.add_argument("--dir", type=Path, default=LAB.with_name("compat-drill"))
    parser.add_argument("--logs", type=Path, help="keep the pipelines' output and effects in this new directory")
    parser.add_argument("--keep", action="store_true", help="use the lab that is there, and leave it")
    parser.add_argument("--loopback", action="store_true", help="two schedulers on SQLite instead of a lab")
    options = parser.parse_args()
    names = options.package or list(ALL)
    if unknown := [name for name in names if name not in ALL]:
        parser.error(f"package: {', '.join(unknown)}; expected some of {', '.join(ALL)}")
    results: dict[str, dict[str, Any]] = {}
    with logs(options.logs) as directory, somewhere(options, directory) as place:
        for name in names:
            results[name] = drill(place, ALL[name], options.runs, directory, options.seconds)
            keep(options.json, name, results[name])
    show(results)
    return exit_code(results.values())


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
