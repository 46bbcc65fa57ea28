"""The same pipeline, given to workers: `luigi-ha submit --wait` hands it in, `luigi-ha worker`s run its tasks.

A worker that is killed is started again in the same state directory, as its supervisor would.
"""

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from luigi_ha.appliance.drill import effects
from luigi_ha.appliance.drill.pipeline import LATEST, MODULE, WORKERS, Pipeline
from luigi_ha.appliance.drill.pipeline_tasks import BY
from luigi_ha.appliance.drill.place import BIN, Breakable, DrillError, ask, now
from luigi_ha.appliance.lab import processes

ENDS_WITHIN = 60.0  # s for a worker that has nothing to do any more
GONE_WITHIN = 10.0
Seen = Callable[[], list[effects.Effect]]


class Daemon:
    """One `luigi-ha worker`. `seen`: what the pipeline's tasks have written until now."""

    def __init__(
        self, place: Breakable, directory: Path, environ: dict[str, str], lot: str, name: str, seen: Seen
    ) -> None:
        self.name = name
        self.killed_at: float | None = None
        self._place, self._environ = place, {**environ, BY: name}
        self._directory, self._id = directory, f"{lot}-{name}"
        self._seen = seen
        self._codes: list[int | None] = []  # of drains, and of ends that nobody asked for
        self._asked = False
        self._process = self._started()

    @property
    def at_work(self) -> bool:
        """Whether a task of its own has begun and not ended."""
        own = [each for each in self._seen() if each.by == self.name]
        return 2 * sum(each.what == "start" for each in own) > len(own)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> str:
        """SIGKILL to the worker alone, as the kernel's does when memory is short; its tasks end with it. The proof."""
        pid = self._require_alive()
        self._asked = True
        self._process.kill()
        try:
            self._process.wait(GONE_WITHIN)
        except subprocess.TimeoutExpired:
            raise DrillError(f"{self.name}: killed, and still there after {GONE_WITHIN:g} s") from None
        self.killed_at = now()
        return f"SIGKILL to {self.name} {pid}: gone"

    def stop(self) -> str:
        """SIGTERM: it lets its tasks end, reports them, and ends. The proof."""
        return f"SIGTERM to {self.name} {self._require_alive()}; it ended with exit code {self._drained()}"

    def freeze(self) -> str:
        """SIGSTOP to it and its tasks. The proof."""
        self._require_alive()
        frozen = processes.freeze(self._family)
        if not frozen or len(frozen) < len(self._family()):
            raise DrillError(f"{self.name}: SIGSTOP, and not all of it stands still")
        return f"SIGSTOP to {self.name} {', '.join(str(each.pid) for each in frozen)}: state T"

    def heal(self) -> None:
        """Let it go on; start it again if it is gone."""
        processes.thaw(self._family)
        if not self.alive:
            self._note_end()
            self._process = self._started()

    def end(self) -> int | None:
        """Let it end in order; its exit code, or that of the first end that was not 0. None: it had to be killed."""
        processes.thaw(self._family)
        if self.alive:
            self._drained()
        else:
            self._note_end()
        return next((code for code in self._codes if code != 0), 0)

    def _note_end(self) -> None:
        """What it ended with, unless it was asked to."""
        if not self._asked:
            self._codes.append(self._process.returncode)
            self._asked = True

    def _drained(self) -> int | None:
        """SIGTERM, once: a second one would end its tasks."""
        self._asked = True
        self._process.send_signal(signal.SIGTERM)
        try:
            code: int | None = self._process.wait(ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            code = None
        self._codes.append(code)
        return code

    def _require_alive(self) -> int:
        if not self.alive:
            raise DrillError(f"{self.name} has ended already: exit code {self._process.returncode}")
        return self._process.pid

    def _family(self) -> list[processes.Process]:
        found, ours = processes.every(), {self._process.pid}
        for _generation in range(3):
            ours |= {each.pid for each in found if each.parent in ours}
        return [each for each in found if each.pid in ours and each.alive]

    def _started(self) -> "subprocess.Popen[Any]":
        self._asked = False
        argv = [str(BIN / "luigi-ha"), "worker", "--module", MODULE, "--only-modules", MODULE]
        argv += ["--scheduler-url", self._place.url, "--state-dir", str(self._directory / self.name)]
        argv += ["--worker-id", self._id]
        return self._place.popen(argv, self._environ, self._directory, self._directory / f"{self.name}.txt")


class Fleet(Pipeline):
    """The pipeline, run by workers."""

    who = "the workers"

    def __init__(self, place: Breakable, directory: Path, seconds: float | None, retry_wait: float) -> None:
        super().__init__(place, directory, seconds, retry_wait)
        self._place = place
        self.daemons: list[Daemon] = []
        try:
            for number in range(1, WORKERS + 1):
                name = f"worker-{number}"
                self.daemons.append(Daemon(place, directory, self._environ, self._lot, name, self._effects))
        except BaseException:
            self._process.kill()
            self.finish()
            raise

    def _argv(self, place: Breakable, task: list[str]) -> list[str]:
        argv = [str(BIN / "luigi-ha"), "submit", "--module", MODULE, "--scheduler-url", place.url]
        return [*argv, "--wait", "--through-retries", "--give-up-after", "0", "--", *task]

    def finish(self) -> dict[str, Any]:
        killed = {each.name: each.killed_at for each in self.daemons if each.killed_at is not None}
        codes: dict[str, int | None] = {}
        try:
            if killed:
                self._retry(killed)
        finally:
            try:
                told = super().finish()
            finally:
                for daemon in self.daemons:
                    codes[daemon.name] = daemon.end()
        return {**told, "workers": codes, "killed": killed}

    def _retry(self, killed: dict[str, float]) -> None:
        """As an operator would: what was cut off has failed, and its time to be retried comes in minutes. Nothing else
        is retried: it must not have failed."""
        pattern = f"Piece\\_%\\_{self._lot}\\_%"
        where = f"task_id LIKE '{pattern}' ESCAPE '\\' AND status = 'FAILED'"
        until = time.monotonic() + LATEST
        while self._process.poll() is None and time.monotonic() < until:
            cut_off = effects.cut_off(self._effects(), killed)
            for task, params in self._place.rows(f"SELECT task_id, params FROM luigi_task WHERE {where}"):  # noqa: S608
                told = json.loads(params)
                if f"{told['layer']}-{told['number']}" in cut_off:
                    ask(self._place, "POST", f"/api/task/{task}/retry")
            time.sleep(0.5)
