"""One service of a host: started, restarted, stopped, as systemd would with `Restart=always`.

    waiting --its time--> running --main process dead--> swept --> hook --> waiting
                            | held back: SIGTERM --> stopping --main process dead--> swept --> hook --> waiting

"Swept": what is left of the service is killed at once, wherever it is (its processes carry its name in their
environment, so that sessions of their own do not hide them). The hook is what `ExecStopPost=` is to a unit: it runs
after that, whatever state the service died in. A service is held back while a file of its name is in `held/`.

Not promised: anything about a process that has wiped its environment.
"""

import contextlib
import enum
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from luigi_ha.appliance.lab.processes import SERVICE_VARIABLE, every

STOP_SECONDS = 20.0  # SIGTERM to SIGKILL
HOOK_SECONDS = 10.0  # the longest time a stop hook may take
SWEEP_SECONDS = 2.0
ENVIRON = {"PATH": os.defpath + ":/usr/sbin:/sbin", "HOME": "/root", "LANG": "C.UTF-8"}  # nothing of whoever ran `up`


class Phase(enum.Enum):
    """Where a service is; see the module's picture."""

    WAITING = "waiting"
    RUNNING = "running"
    STOPPING = "stopping"
    HOOK = "hook"


@dataclass(frozen=True)
class Recipe:
    """How a service is run."""

    name: str
    argv: tuple[str, ...]
    restart_after: float  # s
    sweep: bool  # kill what is left when the main process has died (PostgreSQL survives Patroni)
    hook: tuple[str, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)


Told = Callable[..., None]


class Service:
    """One service. `tick` and `reaped` are called by the host's only loop."""

    def __init__(self, recipe: Recipe, place: Path, log: Path, told: Told) -> None:
        self.recipe = recipe
        self.phase = Phase.WAITING
        self.starts = 0
        self.since = _now()
        self.last_end = ""
        self._place, self._log, self._told = place, log, told
        self._process: subprocess.Popen[bytes] | None = None
        self._due = 0.0  # when the phase ends by itself
        self.shutting_down = False

    @property
    def pid(self) -> int | None:
        """Of the main process, in the host's own numbers."""
        return self._process.pid if self._process and self.phase in (Phase.RUNNING, Phase.STOPPING) else None

    @property
    def held_back(self) -> bool:
        return self.shutting_down or (self._place / "held" / self.recipe.name).exists()

    @property
    def hook_off(self) -> bool:
        return not self.recipe.hook or (self._place / "held" / "stop-hook").exists()

    def tick(self) -> bool:
        """Do what is due; whether something changed."""
        now, held_back = _now(), self.held_back
        match self.phase:
            case Phase.WAITING if now >= self._due and not held_back:
                self._start()
            case Phase.RUNNING if held_back:
                self._signal(signal.SIGTERM)
                self._enter(Phase.STOPPING, now + STOP_SECONDS)
            case Phase.STOPPING | Phase.HOOK if now >= self._due:
                self._told("too_slow", service=self.recipe.name, phase=self.phase.value)
                self._signal(signal.SIGKILL)
                self._due = now + STOP_SECONDS
            case _:
                return False
        return True

    def reaped(self, pid: int, code: int) -> bool:
        """A process was reaped; whether it was this service's. `code`: negative for a signal."""
        if self._process is None or pid != self._process.pid:
            return False
        self._process.returncode = code
        self._process = None
        if self.phase is Phase.HOOK:
            self._told("hook_done", service=self.recipe.name, code=code, seconds=round(_now() - self.since, 4))
            self._wait()
            return True
        self.last_end = signal.Signals(-code).name if code < 0 else f"exit {code}"
        self._told("ended", service=self.recipe.name, how=self.last_end, inner=pid)
        if self.recipe.sweep:
            self._sweep()
        if self.hook_off:
            self._wait()
        else:
            self._run(self.recipe.hook, f"{self.recipe.name}-hook")
            self._enter(Phase.HOOK, _now() + HOOK_SECONDS)
        return True

    def _start(self) -> None:
        self.starts += 1
        self._run(self.recipe.argv, self.recipe.name)
        self._enter(Phase.RUNNING, 0.0)
        self._told("started", service=self.recipe.name, inner=self.pid, starts=self.starts)

    def _run(self, argv: tuple[str, ...], mark: str) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                argv, env={**ENVIRON, **self.recipe.environ, SERVICE_VARIABLE: mark}, cwd=self._place,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def _signal(self, number: int) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    def _sweep(self) -> None:
        """Kill all that carries the service's name, until nothing does: those just being started too."""
        deadline, killed = _now() + SWEEP_SECONDS, set()
        while left := [found.pid for found in every() if found.alive and found.service == self.recipe.name]:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            killed.update(left)
            if _now() > deadline:
                self._told("sweep_failed", service=self.recipe.name, left=left)
                break
            time.sleep(0.001)
        if killed:
            self._told("swept", service=self.recipe.name, killed=sorted(killed))

    def _wait(self) -> None:
        self._enter(Phase.WAITING, _now() + self.recipe.restart_after)

    def _enter(self, phase: Phase, due: float) -> None:
        self.phase, self.since, self._due = phase, _now(), due


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
