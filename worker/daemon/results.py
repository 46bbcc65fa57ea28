"""What luigi's Worker takes for its queue of results. Each task has a pipe of its own.

Luigi's queue is one pipe with one lock for all tasks: a task killed in the middle of writing would leave it locked for
ever. Here a dead task leaves a closed pipe, and what it had written to the spool counts.

`get` returns as soon as there is a result, a task's death, or somebody woke the worker.
"""

import json
import os
import queue
import signal
from collections.abc import Callable
from multiprocessing.connection import wait
from typing import Any

from luigi.event import Event
from luigi.task_status import FAILED

from luigi_ha.worker import log
from luigi_ha.worker.client.waker import Waker
from luigi_ha.worker.daemon.carriers import HEADER
from luigi_ha.worker.daemon.process import TaskProcess
from luigi_ha.worker.daemon.watch import Watch
from luigi_ha.worker.spool import Finished, Spool

LEAVE_SECONDS = 5.0  # a task's process has so long to end after its result, when the worker ends
Result = tuple[str, str, Any, list[str], list[Any]]
_log = log.get()


class _Pending:
    def __init__(self, task: TaskProcess) -> None:
        self.task = task
        self.text = bytearray()
        self.closed = False

    def read(self) -> None:
        """What is in the pipe now."""
        try:
            while True:
                piece = os.read(self.task.result, 65536)
                if not piece:
                    self.closed = True
                    return
                self.text += piece
        except BlockingIOError:
            return

    def finished(self) -> Finished | None:
        """The result, once it is whole."""
        if len(self.text) < HEADER.size:
            return None
        (length,) = HEADER.unpack_from(self.text)
        if len(self.text) < HEADER.size + length:
            return None
        return Finished(self.task.entry.run, *json.loads(bytes(self.text[HEADER.size :])))


class Results:
    """The queue."""

    def __init__(self, waker: Waker, watch: Watch, spool: Spool, check: Callable[[], None]) -> None:
        """`check` is called before and after each wait, and may raise to end it all."""
        self._waker = waker
        self._watch = watch
        self._spool = spool
        self.check = check
        self._pending: dict[str, _Pending] = {}
        self._found: list[Result] = []
        self._leaving: list[TaskProcess] = []
        self.last = ""  # the task whose result was taken last

    def expect(self, task: TaskProcess) -> None:
        """A task's process was started."""
        os.set_blocking(task.result, False)
        self._pending[task.entry.run.key] = _Pending(task)
        self._watch.add(task)

    def put(self, result: Result) -> None:
        """A result from elsewhere: of an earlier worker."""
        self._found.append(result)

    def get(self, timeout: float) -> Result:
        """The next result; queue.Empty after so many seconds, or when woken."""
        self.check()
        if not self._found:
            self._await(timeout)
        self.check()
        if not self._found:
            raise queue.Empty
        found = self._found.pop(0)
        self.last = found[0]
        return found

    def close(self) -> None:
        """Luigi calls this at its end."""
        for task in self._leaving:
            task.join(LEAVE_SECONDS)
            if task.is_alive():
                task.terminate()
                task.join()

    def _await(self, timeout: float) -> None:
        self._reap()
        whose: dict[Any, _Pending] = {}
        for pending in self._pending.values():
            whose[pending.task.result] = whose[pending.task.sentinel] = pending
        ready = wait([self._waker.fileno(), *whose], timeout)
        self._waker.clear()
        for pending in dict.fromkeys(whose[found] for found in ready if found in whose):
            dead = not pending.task.is_alive()
            pending.read()
            finished = pending.finished()
            if finished is not None or dead:
                self._over(pending, finished)

    def _over(self, pending: _Pending, finished: Finished | None) -> None:
        task, run = pending.task, pending.task.entry.run
        del self._pending[run.key]
        os.close(task.result)
        why = self._watch.remove(run)
        if finished is None:
            finished = self._written(task) or self._died(task, why)
        elif finished.status == FAILED and why:
            finished = Finished(run, FAILED, f"{why}\n\n{finished.explanation}")
        self._leaving.append(task)
        self._found.append(
            (run.task_id, finished.status, finished.explanation, finished.missing, finished.new_deps)
        )

    def _written(self, task: TaskProcess) -> Finished | None:
        """It died between writing its result down and telling us."""
        try:
            return self._spool.outcome(task.entry)
        except OSError as error:
            _log.error("spool_not_read", error=str(error), **task.entry.run.fields)
            return None

    def _died(self, task: TaskProcess, why: str) -> Finished:
        run = task.entry.run
        if why:
            event = Event.TIMEOUT if "timed out after" in why else Event.PROCESS_FAILURE
        else:
            # luigi's words, and what the number means
            why, event = f"Task {run.task_id} died unexpectedly with exit code {task.exitcode}", Event.PROCESS_FAILURE
            if task.exitcode is not None and task.exitcode < 0:
                name = signal.Signals(-task.exitcode).name
                why += f" ({name})" + (": perhaps the kernel was out of memory" if name == "SIGKILL" else "")
        task.task.trigger_event(event, task.task, why)
        return Finished(run, FAILED, why)

    def _reap(self) -> None:
        """Processes that gave their result and have ended since."""
        self._leaving = [task for task in self._leaving if task.is_alive()]
