"""The same pipeline, given to workers: `luigi-ha submit --wait` hands it in, `luigi-ha worker`s run its tasks.

A worker that is killed is started again in the same state directory, as its supervisor would.
"""

import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from luigi_ha.appliance.drill.pipeline import LATEST, MODULE, WORKERS, Pipeline
from luigi_ha.appliance.drill.pipeline_tasks import BY
from luigi_ha.appliance.drill.place import BIN, Breakable, DrillError, ask, now
from luigi_ha.appliance.lab import processes

ENDS_WITHIN = 60.0  # s for a worker that has nothing to do any more
GONE_WITHIN = 10.0


class Daemon:
    """One `luigi-ha worker`."""

    def __init__(self, place: Breakable, directory: Path, environ: dict[str, str], lot: str, name: str) -> None:
        self.name = name
        self.killed_at: float | None = None
        self._codes: list[int | None] = []
        self._place, self._environ = place, {**environ, BY: name}
        self._directory, self._lot = directory, lot
        self.log = directory / f"{name}.txt"
        self._process = self._started()

    def at_work(self) -> bool:
        """Whether it has a task."""
        return len(self._family()) > 1

    def kill(self) -> str:
        """SIGKILL to the worker alone, as the kernel's does when memory is short; its tasks end with it. The proof."""
        pid = self._process.pid
        self._process.kill()
        try:
            self._process.wait(GONE_WITHIN)
        except subprocess.TimeoutExpired:
            raise DrillError(f"{self.name}: killed, and still there after {GONE_WITHIN:g} s") from None
        self.killed_at = now()
        return f"SIGKILL to {self.name} {pid}: gone"

    def stop(self) -> str:
        """SIGTERM: it lets its tasks end, reports them, and ends. The proof."""
        return f"SIGTERM to {self.name} {self._process.pid}; it ended with exit code {self._drained()}"

    def freeze(self) -> str:
        """SIGSTOP to it and its tasks. The proof."""
        frozen = processes.freeze(self._family)
        if not frozen:
            raise DrillError(f"{self.name}: SIGSTOP, and nothing of it stands still")
        return f"SIGSTOP to {self.name} {', '.join(str(each.pid) for each in frozen)}: state T"

    def heal(self) -> None:
        """Let it go on; start it again if it is gone."""
        processes.thaw(self._family)
        if self._process.poll() is not None:
            self._process = self._started()

    def end(self) -> int | None:
        """Let it end in order; the exit code, or that of an earlier drain that was not 0. None: it had to be killed."""
        if self._process.poll() is None:
            self._drained()
        return next((code for code in self._codes if code != 0), 0)

    def _drained(self) -> int | None:
        """SIGTERM, once: a second one would end its tasks."""
        self._process.send_signal(signal.SIGTERM)
        try:
            code: int | None = self._process.wait(ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            code = None
        self._codes.append(code)
        return code

    def _family(self) -> list[processes.Process]:
        found, ours = processes.every(), {self._process.pid}
        for _generation in range(3):
            ours |= {each.pid for each in found if each.parent in ours}
        return [each for each in found if each.pid in ours and each.alive]

    def _started(self) -> "subprocess.Popen[Any]":
        argv = [str(BIN / "luigi-ha"), "worker", "--module", MODULE, "--scheduler-url", self._place.url]
        argv += ["--state-dir", str(self._directory / self.name), "--worker-id", f"{self._lot}-{self.name}"]
        return self._place.popen(argv, self._environ, self._directory, self.log)


class Fleet(Pipeline):
    """The pipeline, run by workers."""

    def __init__(self, place: Breakable, directory: Path, seconds: float | None, retry_wait: float) -> None:
        super().__init__(place, directory, seconds, retry_wait)
        self._place = place
        self.daemons: Sequence[Daemon] = [
            Daemon(place, directory, self._environ, self._lot, f"worker-{number}") for number in range(1, WORKERS + 1)
        ]

    def _argv(self, place: Breakable, task: list[str]) -> list[str]:
        options = [
            "--module",
            MODULE,
            "--scheduler-url",
            place.url,
            "--wait",
            "--through-retries",
            "--give-up-after",
            "0",
        ]
        return [str(BIN / "luigi-ha"), "submit", *options, "--", *task]

    def finish(self) -> dict[str, Any]:
        killed = {each.name: each.killed_at for each in self.daemons if each.killed_at is not None}
        if killed:
            self._retry()
        told = super().finish()
        told["workers"] = {daemon.name: daemon.end() for daemon in self.daemons}
        return {**told, "killed": killed}

    def _retry(self) -> None:
        """As an operator would: what was cut off has failed, and its time to be retried comes in minutes."""
        pattern = f"Piece\\_%\\_{self._lot}\\_%"
        query = f"SELECT task_id FROM luigi_task WHERE task_id LIKE '{pattern}' ESCAPE '\\' AND status = 'FAILED'"  # noqa: S608
        until = time.monotonic() + LATEST
        while self._process.poll() is None and time.monotonic() < until:
            for (task,) in self._place.rows(query):
                ask(self._place, "POST", f"/api/task/{task}/retry")
            time.sleep(0.5)
