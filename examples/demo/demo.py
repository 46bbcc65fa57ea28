"""The demonstration behind `make run`: a real Luigi pipeline goes on through kill -9 of its scheduler.

It starts `luigi-ha serve` on SQLite and, in a process of its own, the stock `luigi` client; kills the scheduler
with SIGKILL in the middle, starts it again on what is on disk, and then counts, outside of the scheduler, how often
each task did its work. Every check is printed; one that fails makes the exit code 1.
"""

import argparse
import collections
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
TASKS = 16  # Calendar, Report, 2 Loads, 6 Transforms, 6 Extracts
KILL_AFTER = 5  # tasks done
PATIENCE = 60.0  # s until a step that should take a few is given up

# One node that is restarted refuses connections for about a second, and a stock client waits rpc-retry-wait after a
# refused call: 30 s by default. Nothing is lost by that wait; the demonstration only shortens it for its audience.
LUIGI_CFG = """
[core]
rpc-retry-wait=1
rpc-retry-attempts=30
autoload_range=false
lock_pid_dir={directory}/lock
[worker]
ping_interval=0.5
wait_interval=0.2
keep_alive=true
"""


class DemoError(Exception):
    """A step of the demonstration did not happen; the message says which."""


class Scheduler:
    """`luigi-ha serve` as a process of ours, on one database, to be killed and started again."""

    def __init__(self, directory: Path) -> None:
        self.log = directory / "scheduler.log"
        self.database = directory / "scheduler.db"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    def start(self) -> float:
        """Start it; seconds until it answers that it is ready."""
        begun = time.monotonic()
        command = [BIN / "luigi-ha", "serve", "--database", f"sqlite:///{self.database}"]
        command += ["--host", "127.0.0.1", "--port", str(self.port)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for("the scheduler to be ready", self._is_ready)
        return time.monotonic() - begun

    def kill(self) -> None:
        """SIGKILL: no clean-up, no last write."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def ask(self, path: str) -> Any:
        """GET a JSON document."""
        with urllib.request.urlopen(self.url + path, timeout=10) as reply:  # noqa: S310 - our own http URL
            return json.load(reply)

    def tasks(self) -> dict[str, Any]:
        """Every task the scheduler knows."""
        found: dict[str, Any] = self.ask("/api/task_list")["response"]
        return found

    def _is_ready(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise DemoError(f"the scheduler ended with code {self._process.returncode}:\n{tail(self.log)}")
        try:
            self.ask("/ready")
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False
        return True


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


def demonstrate(screen: Screen, scheduler: Scheduler, directory: Path, undo: contextlib.ExitStack) -> list[list[Any]]:
    """Run it all; the checks as rows of (what, wanted, found)."""
    seconds = scheduler.start()
    screen.say(f"scheduler (pid {scheduler.pid}) ready after {seconds:.1f} s on {scheduler.url}, state in SQLite")
    pipeline = Pipeline(directory, scheduler.url)
    undo.callback(pipeline.stop)
    screen.say(f"stock luigi runs extract, transform, load: {TASKS} tasks, two at a time")
    watch(screen, pipeline, lambda: sum(pipeline.effects().values()) >= KILL_AFTER)
    before = scheduler.tasks()
    done, running = (sum(task["status"] == word for task in before.values()) for word in ("DONE", "RUNNING"))
    epoch = scheduler.ask("/health")["epoch"]
    killed = scheduler.pid
    scheduler.kill()
    screen.say(f"[bold red]kill -9 {killed}[/]: {done} tasks done, {running} running, {len(before)} known")
    watch_for(screen, pipeline, 1.0)
    screen.say("1 s without a scheduler: what was running goes on; the client asks again every second")
    screen.say("[dim](rpc-retry-wait=1 is set for this: after a refused call stock luigi waits 30 s)[/dim]")
    seconds = scheduler.start()
    after, new_epoch = scheduler.tasks(), scheduler.ask("/health")["epoch"]
    screen.say(
        f"[bold green]started again[/] (pid {scheduler.pid}) after {seconds:.1f} s, epoch {epoch} -> {new_epoch}: "
        f"{len(after)} tasks known"
    )
    watch(screen, pipeline, lambda: pipeline.exit_code is not None)
    screen.done(sum(pipeline.effects().values()))
    effects = pipeline.effects()
    statuses = collections.Counter(task["status"] for task in scheduler.tasks().values())
    report = directory / "report.txt"
    total = report.read_text() if report.exists() else "none"
    screen.say(f"luigi ended with code {pipeline.exit_code}; its report: {total}")
    lost = [task_id for task_id in before if task_id not in after]
    return [
        ["tasks running when the scheduler was killed", "1 or more", running, running >= 1],
        ["tasks forgotten by the restart", 0, len(lost), not lost],
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


def watch_for(screen: Screen, pipeline: Pipeline, seconds: float) -> None:
    """Move the bar for a while."""
    end = time.monotonic() + seconds
    watch(screen, pipeline, lambda: time.monotonic() >= end)


def wait_for(what: str, holds: Callable[[], bool]) -> None:
    """Look ten times a second; DemoError when patience ends."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            raise DemoError(f"waited {PATIENCE:g} s for {what}")
        time.sleep(0.1)


def tail(log: Path, lines: int = 15) -> str:
    """The end of a log file."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else ""


def show(console: Console, checks: list[list[Any]]) -> bool:
    """The final table; whether all checks hold."""
    table = Table(title="Exactly once, counted outside of the scheduler", title_justify="left")
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
    parser = argparse.ArgumentParser(description="A Luigi pipeline through kill -9 of its scheduler.")
    parser.add_argument("--keep", action="store_true", help="leave the scheduler up until Ctrl-C, to look around")
    arguments = parser.parse_args()
    screen = Screen()
    with scratch() as directory, contextlib.ExitStack() as undo:
        scheduler = Scheduler(directory)
        undo.callback(scheduler.stop)
        try:
            with screen:
                checks = demonstrate(screen, scheduler, directory, undo)
            good = show(screen.console, checks)
        except DemoError as error:
            screen.console.print(f"[bold red]The demonstration stopped:[/] {error}")
            good = False
        if not good:
            for log in (directory / "luigi.log", scheduler.log):
                screen.console.print(f"\nThe end of {log.name}:\n{tail(log)}", markup=False)
        elif arguments.keep:
            screen.console.print(f"\nLook around at {scheduler.url}/static/visualiser/ and {scheduler.url}/metrics")
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
