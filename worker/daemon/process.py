"""The process of one task, as luigi sees it: its TaskProcess, with the task's run in it.

That a task began and how it ended its process writes to the spool itself: the worker may die in between. Then it tells
the worker, through a pipe of its own. All else (events, dynamic dependencies, `[worker] task_process_context`) is
luigi's.
"""

import json
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable
from functools import cache
from typing import Any

import luigi
from luigi.task_status import FAILED
from luigi.worker import ContextManagedTaskProcess

from luigi_ha.worker import log
from luigi_ha.worker.daemon import kernel
from luigi_ha.worker.daemon.carriers import HEADER, Carrier, Carriers
from luigi_ha.worker.spool import Entry, Finished

_born = cache(kernel.born)  # of this process alone
EXPLANATION = 256 * 1024  # characters of an error that are reported: its beginning and its end


class Outcome:
    """Where luigi puts a task's result: to the spool first, then through a pipe to the worker."""

    def __init__(self, entry: Entry, sink: int) -> None:
        self._entry = entry
        self._sink = sink

    def put(self, result: tuple[str, str | None, Any, list[str], list[Any]]) -> None:
        _task_id, status, explanation, missing, new_deps = result
        raised = sys.exc_info()[1]
        if (status or FAILED) == FAILED and raised is not None and not _says(explanation):
            explanation = "".join(traceback.format_exception(raised))  # KeyboardInterrupt, which luigi lets through
        required = [list(dep) for dep in new_deps or []]
        finished = Finished(self._entry.run, status or FAILED, _bounded(explanation), list(missing or []), required)
        try:
            self._entry.finished(finished)
        except OSError as error:
            print(f"the result could not be written to the spool: {error}", file=sys.stderr)  # noqa: T201 - its output
        self.send(finished)

    def send(self, finished: Finished) -> None:
        text = json.dumps([finished.status, finished.explanation, finished.missing, finished.new_deps]).encode()
        left = memoryview(HEADER.pack(len(text)) + text)
        while left:
            left = left[os.write(self._sink, left) :]
        os.close(self._sink)


class Job:
    """What the task's process does. Goes there by fork, or in writing."""

    def __init__(self, entry: Entry, task: luigi.Task, reporter: Any, told: dict[str, Any]) -> None:
        self._entry = entry
        self._task = task
        self._params: dict[str, str] = task.to_str_params()
        self._reporter = reporter
        self._told = told

    def __call__(self, sink: int) -> None:
        run, task = self._entry.run, self._task
        os.environ.update(LUIGI_HA_TASK_ID=run.task_id, LUIGI_HA_RUN_ID=run.run_id, LUIGI_HA_ATTEMPT=str(run.attempt))
        outcome = Outcome(self._entry, sink)
        session = os.getpid()
        try:
            self._entry.started(task.task_family, task.task_module, self._params, session, _born(session))
        except OSError as error:
            reason = f"Not begun: that could not be written to the worker's spool: {error}"
            outcome.send(Finished(run, FAILED, reason))
            return
        self._reporter._scheduler.adopt(self._entry)  # noqa: SLF001 - luigi's; its reports shall name the run
        luigi_s = _Explaining(
            task=task, result_queue=outcome, status_reporter=self._reporter, use_multiprocessing=True, **self._told
        )
        luigi_s.run()


class _Explaining(ContextManagedTaskProcess):
    """Luigi's, in which a failure is never without an explanation."""

    def _handle_run_exception(self, ex: BaseException) -> Any:
        try:
            explanation = super()._handle_run_exception(ex)
        except Exception as error:  # noqa: BLE001 - on_failure is the user's, and so are the handlers of events
            told = "".join(traceback.format_exception(error))  # what it met is in there: the error is its context
            return f"The run failed, and on_failure, or a handler of the failure, raised:\n{told}"
        if not _says(explanation):
            told = "".join(traceback.format_exception(ex))
            return f"{told}\n(on_failure returned {explanation!r})"
        return explanation


class TaskProcess(ContextManagedTaskProcess):
    """What the worker keeps of it. The process is a Carrier."""

    def __init__(
        self, carriers: Carriers, entry: Entry, capture: Callable[[int], None], task: luigi.Task, reporter: Any,
        **told: Any,
    ) -> None:  # fmt: skip
        """`capture` reads the task's output from a descriptor; `told`: luigi's own arguments."""
        super().__init__(task=task, result_queue=None, status_reporter=reporter, use_multiprocessing=True, **told)
        self.entry = entry
        self._carriers = carriers
        self._capture = capture
        self._job = Job(entry, task, reporter, told)
        self._carrier: Carrier | None = None

    @property
    def limit(self) -> float:
        """Seconds it may run; 0: no limit."""
        return float(self.worker_timeout or 0)

    def start(self) -> None:
        """OSError."""
        # A queue of messages goes to another process by fork only.
        self._carrier = self._carriers.start(self._job, in_writing=self.status_reporter.scheduler_messages is None)
        self._capture(self._carrier.output)

    @property
    def result(self) -> int:
        """The descriptor on which the result comes."""
        return self._running.result

    @property
    def pid(self) -> int | None:
        return self._running.pid

    @property
    def sentinel(self) -> int:
        return self._running.sentinel

    @property
    def exitcode(self) -> int | None:
        return self._running.exitcode

    def is_alive(self) -> bool:
        return self._carrier is not None and self._carrier.is_alive()

    def join(self, timeout: float | None = None) -> None:
        self._running.join(timeout)

    def terminate(self) -> None:
        """Luigi calls this when the worker leaves with an exception: nothing of the task stays."""
        kernel.kill_session(self.pid, signal.SIGKILL)

    @property
    def _running(self) -> Carrier:
        assert self._carrier is not None  # noqa: S101 - started
        return self._carrier


def _says(explanation: Any) -> bool:
    """Whether somebody who reads it learns anything."""
    return bool(explanation.strip()) if isinstance(explanation, str) else bool(explanation)


def _bounded(explanation: Any) -> Any:
    """Something JSON can hold, not too long."""
    try:
        text = explanation if isinstance(explanation, str) else json.dumps(explanation)
    except (TypeError, ValueError):
        explanation = text = repr(explanation)
    if len(text) <= EXPLANATION:
        return explanation
    half = EXPLANATION // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"


def ready() -> None:
    """What a task's process does before it knows its task; and the pages that every task writes to are its own then."""
    log.configure_task_process()
    json.dumps({"born": _born(os.getpid())})


def use_fork() -> None:
    """Task processes inherit what the worker has loaded; newer Pythons would start them in another way."""
    multiprocessing.set_start_method("fork", force=True)
