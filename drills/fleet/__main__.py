"""`python -m drills.fleet`: a fleet of `luigi-ha worker` through what may happen to schedulers and to itself.

    python -m drills.fleet --list
    python -m drills.fleet load --minutes 10 --tasks 10000 --every 20 --workers 10
    python -m drills.fleet outage frozen-while --scale 0.1
    python -m drills.fleet --all --json bench/results/fleet.json      (about 50 minutes)
    python -m drills.fleet load outage --loopback --minutes 1 --tasks 300 --workers 3 --scale 0.05
    python -m drills.fleet --self-test

Brings up a lab of its own (root); the workers are on its client and know the virtual IP alone. With `--loopback`, two
schedulers on SQLite instead. Every run of a task writes down what it did, and the judge compares that with the
scheduler's answers, the database's log and the workers' own (drills.fleet.judge). Exit code 0: every drill passed; 1:
something was wrong; 3: something decides nothing.
"""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from drills.fleet import scenarios, selftest
from drills.fleet.daemons import say
from drills.fleet.gather import Result, exit_code, keep, statuses, tell
from drills.fleet.load import Size, load
from luigi_ha.appliance.drill.cluster import InLab
from luigi_ha.appliance.drill.pair import OnLoopback
from luigi_ha.appliance.drill.place import DrillError, Place, TooLong, ask
from luigi_ha.appliance.lab.errors import LabError
from luigi_ha.appliance.lab.lab import Lab

LAB = Path("/var/tmp/fleet-drill")
QUICK = {  # schedulers on the loopback
    "scheduler_worker_disconnect_delay": "15",
    "scheduler_worker_grace": "25",  # longer than a worker's longest pause between two calls
    "scheduler_retry_delay": "1",
    "prune_every": "1",
}


def stories(options: argparse.Namespace) -> dict[str, Callable[[Place, Path], Result]]:
    """All drills by name."""
    size = Size(
        options.tasks, options.minutes, options.every, options.workers, options.processes, options.seconds
    )  # fmt: skip
    found: dict[str, Callable[[Place, Path], Result]] = {
        "load-without-faults": lambda place, directory: load(place, directory, size, faults=False),
        "load": lambda place, directory: load(place, directory, size, faults=True),
    }
    for name, story in scenarios.ALL.items():
        found[name] = partial(_scaled, story, size, options.scale)
    return found


def _scaled(story: scenarios.Story, size: Size, scale: float, place: Place, directory: Path) -> Result:
    return story(place, directory, size, scale)


@contextmanager
def logs(kept: Path | None) -> Iterator[Path]:
    """A directory for what is written; it stays only if it was asked for."""
    if kept is not None:
        kept.mkdir(parents=True)
        yield kept.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="luigi-ha-fleet-", dir="/var/tmp") as directory:
        yield Path(directory)


@contextmanager
def somewhere(options: argparse.Namespace, directory: Path) -> Iterator[Place]:
    """Where it happens."""
    if options.loopback:
        with OnLoopback(directory, **QUICK) as place:
            yield place
        return
    lab = Lab(options.dir)
    try:
        if not options.keep:
            lab.up(say)
        yield InLab(lab)
    finally:
        if not options.keep:
            lab.down()


def drill(name: str, story: Callable[[Place, Path], Result], place: Place, directory: Path) -> Result:
    """One drill, whatever becomes of it."""
    directory.mkdir()
    say(f"{name} ...")
    began = time.monotonic()
    try:
        result = story(place, directory)
    except (DrillError, LabError, OSError) as error:
        late = isinstance(error, TooLong)
        result = Result(name, wrong=[str(error)] if late else [], undecided=[] if late else [f"no end: {error!r}"])
        with suppress(DrillError, LabError, OSError):
            place.restore()
            _clear(place)
    result.name = name
    result.figures["took_s"] = round(time.monotonic() - began, 1)
    tell(result)
    return result


def _clear(place: Place) -> None:
    """Tasks that are left over must not meet the next drill's workers."""
    for task, status in statuses(place, "").items():
        if status != "DONE":
            ask(place, "POST", f"/api/task/{task}/cancel", {"reason": "left over"})


def self_test() -> int:
    found = selftest.check()
    for what, right, said in found:
        print(f"{'ok' if right else 'WRONG':<7}{what:<40}{said}")
    return 0 if all(right for _, right, _ in found) else 1


def show(results: dict[str, dict[str, Any]]) -> None:
    """The table."""
    print(
        f"{'drill':<22}{'verdict':<14}{'tasks':>7}{'done':>7}{'twice':>6}{'lost':>5}{'failed':>7}{'refused':>8}"
        f"{'tasks/s':>9}{'failovers':>10}"
    )
    for name, found in results.items():
        cells = [found.get(field, "-") for field in ("tasks", "done", "twice", "lost", "failed", "refused")]
        print(
            f"{name:<22}{found['verdict']:<14}{cells[0]:>7}{cells[1]:>7}{cells[2]:>6}{cells[3]:>5}{cells[4]:>7}"
            f"{cells[5]:>8}{found.get('tasks_per_second', '-'):>9}{found.get('failovers', '-'):>10}"
        )
        for words in (*found["wrong"], *found["undecided"]):
            print(f"    {words}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("drill", nargs="*", help="see --list")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--self-test", action="store_true", help="show the judge damaged evidence, and nothing else")
    parser.add_argument("--minutes", type=float, default=10.0, help="of load, for as long as leaders are killed")
    parser.add_argument("--tasks", type=int, default=10_000, help="at least; more are added while leaders are killed")
    parser.add_argument("--every", type=float, default=20.0, help="s between two kills")
    parser.add_argument("--workers", type=int, default=10)
    parser.add_argument("--processes", type=int, default=2, help="of each worker")
    parser.add_argument("--seconds", type=float, default=0.1, help="one task of the load takes")
    parser.add_argument("--no-faults", action="store_true", help="load without kills, instead of the one with")
    parser.add_argument("--scale", type=float, default=1.0, help="of all lengths in the other drills")
    parser.add_argument("--json", type=Path, help="keep the results, after each drill; what is there already stays")
    parser.add_argument("--dir", type=Path, default=LAB)
    parser.add_argument("--logs", type=Path, help="keep the workers' logs and the tasks' effects in this new directory")
    parser.add_argument("--keep", action="store_true", help="use the lab that is there, and leave it")
    parser.add_argument("--loopback", action="store_true", help="two schedulers on SQLite instead of a lab")
    options = parser.parse_args()
    known = stories(options)
    if options.list:
        print("\n".join(known))
        return 0
    if options.self_test:
        return self_test()
    names = list(known) if options.all else list(options.drill)
    if options.no_faults:
        names = ["load-without-faults" if name == "load" else name for name in names]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        parser.error(f"drill: {', '.join(unknown) or 'none given'}; expected some of {', '.join(known)}")
    results: dict[str, dict[str, Any]] = {}
    with logs(options.logs) as directory, somewhere(options, directory) as place:
        for name in names:
            results[name] = drill(name, known[name], place, directory / name).shown()
            keep(options.json, name, results[name])
    show(results)
    return exit_code(results.values())


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
