"""The demonstration behind `make run`: a real Luigi pipeline goes on through kill -9 of the scheduler that leads.

It starts `luigi-ha serve` twice on one SQLite database and one port and, in a process of its own, the stock `luigi`
client; kills the leading scheduler with SIGKILL in the middle, and then counts, outside of the schedulers, how often
each task did its work. Every check is printed; one that fails makes the exit code 1.
"""

import argparse
import collections
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pair import BIN, DemoError, Pair, tail, wait_for

HERE = Path(__file__).resolve().parent
TASKS = 16  # Calendar, Report, 2 Loads, 6 Transforms, 6 Extracts
KILL_AFTER = 5  # tasks done

LUIGI_CFG = """
[core]
autoload_range=false
lock_pid_dir={directory}/lock
[worker]
ping_interval=0.5
wait_interval=0.2
keep_alive=true
"""


class Pipeline:
    """The stock client, running `pipeline.Report` with two processes."""

    def __init__(self, directory: Path, url: str) -> None:
        self.log = directory / "luigi.log"
        self.effects_log = directory / "effects.log"
        config = directory / "luigi.cfg"
        config.write_text(LUIGI_CFG.format(directory=directory))
        environment = {**os.environ, "DEMO_DIRECTORY": str(directory), "PYTHONPATH": str(HERE)}
        environment["LUIGI_CONFIG_PATH"] = str(config)
        command = [BIN / "luigi", "--module", "pipeline", "Report", "--scheduler-url", url, "--workers", "2"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    @property
    def exit_code(self) -> int | None:
        return self._process.poll()

    def effects(self) -> collections.Counter[str]:
        """How often each task has done its work, from the log the tasks write."""
        if not self.effects_log.exists():
            return collections.Counter()
        return collections.Counter(line.split()[0] for line in self.effects_log.read_text().splitlines())

    def stop(self) -> None:
        """End the client and its task processes: its process group is its own."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class Screen:
    """Lines, and below them a progress bar where there is a terminal; without one, a line now and then."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
        columns = TextColumn("{task.description:<34}"), BarColumn(40), MofNCompleteColumn(), TimeElapsedColumn()
        self._progress = Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal)
        self._bar = self._progress.add_task("tasks done", total=TASKS)
        self._shown = 0
        self._begun = time.monotonic()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        self._progress.console.print(f"[dim]{time.monotonic() - self._begun:5.1f} s[/dim]  {text}")

    def done(self, tasks: int) -> None:
        self._progress.update(self._bar, completed=tasks)
        if not self.console.is_terminal and tasks >= self._shown + 4:
            self.say(f"{tasks} of {TASKS} tasks done")
            self._shown = tasks


def demonstrate(screen: Screen, pair: Pair, directory: Path, undo: contextlib.ExitStack) -> list[list[Any]]:
    """Run it all; the checks as rows of (what, wanted, found)."""
    pids = [pair.start_one() for _ in range(2)]
    seconds = pair.wait_until_ready(standbys=1)
    leader, epoch = pair.leader()
    standby = next(pid for pid in pids if pid != leader)
    screen.say(f"the same command twice: {' '.join(Path(word).name for word in pair.command[:2])} (pids {pids})")
    screen.say(f"ready after {seconds:.1f} s: {leader} leads, {standby} follows; both listen on {pair.url}")
    pipeline = Pipeline(directory, pair.url)
    undo.callback(pipeline.stop)
    screen.say(f"stock luigi, its default settings, runs extract, transform, load: {TASKS} tasks, two at a time")
    watch(screen, pipeline, lambda: sum(pipeline.effects().values()) >= KILL_AFTER)
    before = pair.tasks()
    done, running = (sum(task["status"] == word for task in before.values()) for word in ("DONE", "RUNNING"))
    killed, seconds = pair.kill_leader()
    after, (leader, new_epoch) = pair.tasks(), pair.leader()
    screen.say(f"[bold red]kill -9 {killed}[/], the leader: {done} tasks done, {running} running, {len(before)} known")
    screen.say(
        f"[bold green]{leader} leads[/] after {seconds:.2f} s, epoch {epoch} -> {new_epoch}: {len(after)} tasks known"
    )
    pair.start_one()
    screen.say("started another one in place of the dead one: a pair again")
    watch(screen, pipeline, lambda: pipeline.exit_code is not None)
    screen.done(sum(pipeline.effects().values()))
    effects = pipeline.effects()
    statuses = collections.Counter(task["status"] for task in pair.tasks().values())
    report = directory / "report.txt"
    total = report.read_text() if report.exists() else "none"
    screen.say(f"luigi ended with code {pipeline.exit_code}; its report: {total}")
    lost = [task_id for task_id in before if task_id not in after]
    return [
        ["tasks running when the leader was killed", "1 or more", running, running >= 1],
        ["tasks unknown to the new leader", 0, len(lost), not lost],
        ["exit code of luigi", 0, pipeline.exit_code, pipeline.exit_code == 0],
        ["tasks that did their work", TASKS, len(effects), len(effects) == TASKS],
        ["tasks that did it more than once", 0, sum(n > 1 for n in effects.values()), max(effects.values()) == 1],
        ["tasks DONE in the scheduler", TASKS, statuses["DONE"], statuses == {"DONE": TASKS}],
    ]


def watch(screen: Screen, pipeline: Pipeline, until: Callable[[], bool]) -> None:
    """Move the bar until something holds."""

    def holds() -> bool:
        screen.done(sum(pipeline.effects().values()))
        return until() or pipeline.exit_code is not None

    wait_for("the pipeline to go on", holds)


def show(console: Console, checks: list[list[Any]]) -> bool:
    """The final table; whether all checks hold."""
    table = Table(title="Exactly once, counted outside of the schedulers", title_justify="left")
    for column in ("check", "wanted", "found", ""):
        table.add_column(column)
    for what, wanted, found, holds in checks:
        table.add_row(what, str(wanted), str(found), "[green]ok[/]" if holds else "[bold red]FAILED[/]")
    console.print(table)
    return all(holds for *_what, holds in checks)


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A directory that is gone afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="luigi-ha-demo-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def main() -> int:
    """Exit code 0 if every check holds."""
    parser = argparse.ArgumentParser(description="A Luigi pipeline through kill -9 of the leading scheduler.")
    parser.add_argument("--keep", action="store_true", help="leave the schedulers up until Ctrl-C, to look around")
    arguments = parser.parse_args()
    screen = Screen()
    with scratch() as directory, contextlib.ExitStack() as undo:
        pair = Pair(directory)
        undo.callback(pair.stop)
        try:
            with screen:
                checks = demonstrate(screen, pair, directory, undo)
            good = show(screen.console, checks)
        except DemoError as error:
            screen.console.print(f"[bold red]The demonstration stopped:[/] {error}")
            good = False
        if not good:
            for log in (directory / "luigi.log", *pair.logs):
                screen.console.print(f"\nThe end of {log.name}:\n{tail(log)}", markup=False)
        elif arguments.keep:
            screen.console.print(f"\nLook around at {pair.url}/static/visualiser/ and {pair.url}/metrics")
            screen.console.print("Ctrl-C ends it and removes everything.")
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()
    return 0 if good else 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
