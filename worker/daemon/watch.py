"""The thread that ends tasks: those that take too long or too much memory, and those that shall not go on.

It works while the worker itself waits for a scheduler, for hours if need be. A reason is given once, the first one; it
becomes the task's error. A timeout begins with SIGTERM and ends with SIGKILL; too much memory is SIGKILL at once.

Memory is the resident memory of all processes of the task's session, pages they share counted for each. Between two
looks (0.2 s) a task may take more; only the kernel's own limits (cgroups) prevent that.
"""

import os
import signal
import threading
import time
from dataclasses import dataclass

from luigi_ha.worker import log
from luigi_ha.worker.client.waker import Waker
from luigi_ha.worker.daemon import kernel
from luigi_ha.worker.daemon.process import TaskProcess
from luigi_ha.worker.daemon.status import Status
from luigi_ha.worker.spool import Run

LOOK_EVERY = 0.2  # s
PAGE = os.sysconf("SC_PAGE_SIZE")
_log = log.get()


@dataclass(slots=True)
class _Watched:
    task: TaskProcess
    began: float
    reason: str = ""
    kill_at: float | None = None  # SIGKILL, if it has not ended by then


class Watch:
    """`add` when a task begins, `remove` when its result is there; `end` to end it."""

    def __init__(self, memory_limit: int, grace: float, status: Status) -> None:
        self._memory_limit = memory_limit
        self._grace = grace
        self._status = status
        self._watched: dict[str, _Watched] = {}
        self._waker = Waker()
        self._over = False
        self._thread = threading.Thread(target=self._look, name="watch", daemon=True)
        self._thread.start()

    def add(self, task: TaskProcess) -> None:
        self._watched[task.entry.run.key] = _Watched(task, time.monotonic())

    def has(self, run: Run) -> bool:
        """Whether it goes on. Any thread."""
        return run.key in self._watched

    def remove(self, run: Run) -> str:
        """Its result is there, or it is dead; why we ended it, or ""."""
        watched = self._watched.pop(run.key, None)
        return watched.reason if watched is not None else ""

    def end(self, run: Run, kind: str, reason: str, *, at_once: bool = False) -> None:
        """End a task. Any thread."""
        watched = self._watched.get(run.key)
        if watched is None or watched.reason:
            return
        watched.reason = reason
        self._status.killed[kind] += 1
        _log.warning("task_killed", reason=kind, explanation=reason, **run.fields)
        watched.kill_at = time.monotonic() + self._grace
        kernel.kill_session(watched.task.pid, signal.SIGKILL if at_once else signal.SIGTERM)
        self._waker.wake()

    def close(self) -> None:
        self._over = True
        self._waker.wake()
        self._thread.join()
        self._waker.close()

    def _look(self) -> None:
        while not self._over:
            self._waker.wait(LOOK_EVERY)
            now = time.monotonic()
            watched = list(self._watched.values())
            sizes = self._sizes() if self._memory_limit and watched else {}
            for one in watched:
                self._judge(one, now, sizes.get(one.task.pid or 0, 0))

    def _judge(self, one: _Watched, now: float, size: int) -> None:
        run, limit = one.task.entry.run, one.task.limit
        if one.kill_at is not None:
            if now >= one.kill_at:
                one.kill_at = now + self._grace
                kernel.kill_session(one.task.pid, signal.SIGKILL)
        elif limit and now - one.began > limit:
            # luigi's words, which people search for
            reason = f"Task {run.task_id} timed out after {limit:g} seconds and was terminated."
            self.end(run, "timeout", reason)
        elif self._memory_limit and size > self._memory_limit:
            reason = (
                f"Task {run.task_id} took {size / 2**20:.0f} MiB of memory and was killed: "
                f"its limit is {self._memory_limit / 2**20:.0f} MiB (--memory-limit)."
            )
            self.end(run, "memory", reason, at_once=True)

    def _sizes(self) -> dict[int, int]:
        """Resident bytes of each session."""
        found: dict[int, int] = {}
        for _pid, fields in kernel.processes():
            leader = int(fields[3])
            found[leader] = found.get(leader, 0) + int(fields[21]) * PAGE
        return found
