"""`luigi-ha worker` as a process, and a submitter that only adds tasks."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import luigi
import luigi.worker

from luigi_ha.worker.client import PatientScheduler, parse_addresses
from tests.worker.peers import ROOT, Node, eventually

MODULE = "tests.worker.pipelines"


class Worker:
    """One daemon with a state directory of its own."""

    def __init__(self, directory: Path, *urls: str, name: str = "one", options: tuple[str, ...] = ()) -> None:
        self.directory = directory
        self.name = name
        self.state = directory / f"state-{name}"
        self.log_file = directory / f"worker-{name}.log"
        self._command = [sys.executable, "-m", "luigi_ha.appliance.cli", "worker", "--module", MODULE]
        for url in urls:
            self._command += ["--scheduler-url", url]
        self._command += ["--state-dir", str(self.state), "--poll-interval", "0.1", *options]
        self.popen: subprocess.Popen[bytes] | None = None

    def start(self, *more: str, **environment: str) -> "Worker":
        env = {**os.environ, "PYTHONPATH": ROOT, "LEDGER": str(self.directory), **environment}
        env["LUIGI_CONFIG_PATH"] = no_configuration(self.directory)
        with self.log_file.open("ab") as out:
            self.popen = subprocess.Popen([*self._command, *more], stdout=out, stderr=out, env=env, cwd=self.directory)
        return self

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def events(self, name: str) -> list[dict[str, Any]]:
        """What it logged under this name."""
        lines = (json.loads(line) for line in self.log.splitlines() if line.startswith("{"))
        return [line for line in lines if line["event"] == name]

    def await_event(self, name: str, count: int = 1) -> dict[str, Any]:
        eventually(lambda: len(self.events(name)) >= count, lambda: f"{name} in {self.log}")
        return self.events(name)[-1]

    def signal(self, number: signal.Signals) -> None:
        assert self.popen is not None
        self.popen.send_signal(number)

    def kill(self) -> None:
        assert self.popen is not None
        self.popen.kill()
        self.popen.wait()

    def ended(self, seconds: float = 90) -> int:
        assert self.popen is not None
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(self.log) from None

    def drain(self) -> int:
        self.signal(signal.SIGTERM)
        return self.ended()

    def end(self) -> None:
        if self.popen is not None and self.popen.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self.popen.send_signal(signal.SIGCONT)
            self.kill()

    def ledger(self) -> list[str]:
        file = self.directory / "ledger"
        return file.read_text().splitlines() if file.exists() else []

    def output(self, task_id: str, attempt: int = 1) -> str:
        return (self.state / "log" / f"{task_id}.{attempt}.log").read_text()


def no_configuration(directory: Path) -> str:
    """A luigi.cfg that says nothing."""
    file = directory / "empty.cfg"
    file.touch()
    return str(file)


@contextlib.contextmanager
def worker(directory: Path, node: Node, *options: str, name: str = "one") -> Iterator[Worker]:
    """A running daemon that works for a node."""
    one = Worker(directory, node.url, name=name, options=options)
    try:
        yield one.start()
    finally:
        one.end()


def submit(node: Node, *tasks: luigi.Task, name: str = "submitter") -> list[str]:
    """Add tasks with what they require, as luigi does, and run none."""
    scheduler = PatientScheduler(parse_addresses([node.url]))
    adding = luigi.worker.Worker(scheduler=scheduler, worker_id=name, no_install_shutdown_handler=True)
    try:
        for task in tasks:
            assert adding.add(task)
    finally:
        adding._task_result_queue.close()
        adding._task_result_queue.join_thread()
        scheduler.close()
    return [task.task_id for task in tasks]


def await_status(node: Node, status: str, *task_ids: str, seconds: float = 90) -> None:
    eventually(
        lambda: set(task_ids) <= set(node.tasks(status)),
        lambda: f"{task_ids} {status}: { {name: task['status'] for name, task in node.tasks().items()} }",
        seconds,
    )


def open_gate(directory: Path, n: int = 0) -> None:
    (directory / f"gate-{n}").touch()


def error_of(node: Node, task_id: str) -> str:
    return str(node.call("fetch_error", task_id=task_id)["error"])
