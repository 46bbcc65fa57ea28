"""luigi's Worker with the parts replaced that a daemon cannot live with. The loop, the scheduling of dynamic
dependencies, batches, events, mails and retries are luigi's.

What is overridden, and why:

__enter__, __exit__     luigi's ping thread holds the lock that starting a task needs (worker.daemon.heartbeat)
_get_work               histories for luigi's summary would grow for ever; a stop must be noticed
_get_work_task_id       a task that cannot be loaded is given back, and does not end the worker (worker.daemon.loading)
_create_task_process    our process: session, output, spool
_run_task               the queue of results must know of it; a process that cannot be started ends its task only
_handle_next_task       what a user's requires() of new dependencies raises ends its task only
_purge_children         dead tasks are seen by the queue of results, limits by the watch
_sleeper                luigi's cannot be woken
_start_phasing_out      is told in the log (worker.daemon.commands)
"""

import contextlib
import json
import multiprocessing
import random
import time
import traceback
from collections.abc import Iterator
from typing import Any, Self

import luigi
from luigi.scheduler import WORKER_STATE_ACTIVE
from luigi.task_register import Register, TaskClassException
from luigi.task_status import FAILED, RUNNING
from luigi.worker import GetWorkResponse, TaskStatusReporter, fork_lock

from luigi_ha.worker import log
from luigi_ha.worker.client import CallError, GaveUp
from luigi_ha.worker.client.waker import Waker
from luigi_ha.worker.daemon import remains
from luigi_ha.worker.daemon.carriers import Carriers
from luigi_ha.worker.daemon.commands import Commands
from luigi_ha.worker.daemon.fenced import FencedScheduler
from luigi_ha.worker.daemon.loading import CannotLoad, Description, Loader
from luigi_ha.worker.daemon.output import Output
from luigi_ha.worker.daemon.process import TaskProcess, ready
from luigi_ha.worker.daemon.results import Results
from luigi_ha.worker.daemon.status import Status
from luigi_ha.worker.daemon.watch import Watch
from luigi_ha.worker.spool import Leftover, Run

GIVEN_BACK_AT_ONCE = 50  # tasks, one after another, before it rests
FORGET_EVERY = 1000  # tasks, after which luigi's cache of task objects is emptied
NO_WORK = GetWorkResponse(None, [], 0, 0, 0, WORKER_STATE_ACTIVE)
_log = log.get()


class LuigiWorker(Commands):
    """An assistant that stays until it is drained."""

    def __init__(
        self, scheduler: FencedScheduler, loader: Loader, status: Status, waker: Waker, watch: Watch,
        results: Results, output: Output, close_in_task: list[int],
    ) -> None:  # fmt: skip
        options = loader.options
        super().__init__(
            scheduler=scheduler, worker_id=status.worker_id, worker_processes=options.workers, assistant=True,
            keep_alive=True, force_multiprocessing=True, no_install_shutdown_handler=True,
            wait_interval=float(options.poll_interval), wait_jitter=float(options.poll_interval) / 2,
        )  # fmt: skip
        self._fenced = scheduler
        self._options = options
        self._status = status
        self._waker = waker
        self._watch = watch
        self._output = output
        self._loader = loader
        self._gave_back = False
        self._carriers = Carriers(close_in_task, ready)
        self._task_result_queue.close()  # luigi's own
        self._task_result_queue = results  # type: ignore[assignment]
        self._results = results
        self._began = 0
        self._beginning = ""
        self._announced: dict[str, type[luigi.Task]] = {}  # families with batches
        self._worker_info += [("commands", True), ("version", status.version), ("luigi", luigi.__version__)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for task in self._running_tasks.values():
            if isinstance(task, TaskProcess) and task.is_alive():
                task.terminate()
        self._carriers.discard()
        self._results.close()

    def _get_work(self) -> GetWorkResponse:
        self._forget()
        if self._options.max_tasks and self._began >= self._options.max_tasks and not self.draining:
            self.drain_because(f"it has run {self._began} tasks (--max-tasks)")
        try:
            for _ in range(GIVEN_BACK_AT_ONCE):
                self._gave_back = False
                found: GetWorkResponse = super()._get_work()
                if not self._gave_back:
                    return found
        except GaveUp:
            if not self.draining:
                raise
        return NO_WORK  # no scheduler to ask, and nothing that one could have handed out; or nothing for us

    def _forget(self) -> None:
        """What luigi keeps for a summary that a daemon never writes."""
        self._add_task_history.clear()
        self._get_work_response_history.clear()
        for task_id in [task_id for task_id in self._scheduled_tasks if task_id not in self._running_tasks]:
            del self._scheduled_tasks[task_id]
        if len(self.unfulfilled_counts) > FORGET_EVERY:
            self.unfulfilled_counts.clear()

    def _get_work_task_id(self, work: dict[str, Any]) -> str | None:
        task_id: str | None = work.get("task_id")
        batch = work.get("batch_task_ids", [])
        if task_id is None and not batch:
            return None
        if task_id in self._running_tasks:
            return task_id
        told = Description(task_id or batch[0], work.get("task_module"), work["task_family"], work["task_params"])
        try:
            task = self._loader.load(told)
        except CannotLoad as cannot:
            self._give_back(told, batch or [told.task_id], cannot)
            return None
        if task_id is None:
            task_id = task.task_id
            self._scheduler.add_task(  # as luigi's
                worker=self._id, task_id=task_id, module=told.module, family=told.family, params=task.to_str_params(),
                status=RUNNING, batch_id=work["batch_id"],
            )  # fmt: skip
            if task_id not in self._fenced.entries:
                return None  # the batch was no longer ours when we named its head
        self._scheduled_tasks[task_id] = task
        self.announce_batches(type(task))
        return task_id

    def _give_back(self, told: Description, task_ids: list[str], cannot: CannotLoad) -> None:
        self._loader.refuse(told, cannot)
        why = f"The worker cannot load {', '.join(task_ids)}: {cannot}"
        self._gave_back = self._fenced.give_back(task_ids, why)
        for task_id in task_ids:
            _log.warning(
                "task_not_loaded", task_id=task_id, module=told.module, family=told.family, error=str(cannot),
                given_back=self._gave_back, not_asked_again=cannot.kind,
            )  # fmt: skip
            if not self._gave_back:  # luigid takes nothing back
                self._add_task(worker=self._id, task_id=task_id, status=FAILED, runnable=False, expl=json.dumps(why))

    def _run_task(self, task_id: str) -> None:
        self._beginning = task_id  # what the scheduler calls it; a task submitted by REST may have any name
        try:
            super()._run_task(task_id)
        except OSError as error:  # no memory, no process, no descriptor, no disk
            self._running_tasks.pop(task_id, None)
            self._failed(task_id, f"The worker could not start its process: {error}")
            self._waker.wait(self._options.poll_interval)
            return
        task = self._running_tasks.get(task_id)
        if isinstance(task, TaskProcess) and task_id not in self._status.running:
            self._began += 1
            if self._began % FORGET_EVERY == 0:
                Register.clear_instance_cache()
            self._results.expect(task)
            self._status.running[task_id] = time.monotonic()
            run = task.entry.run
            _log.info("task_started", pid=task.pid, output=str(self._output.path(run)), **_told(task.task, run))
            if not self.draining:
                with fork_lock:  # nobody looks up a name meanwhile
                    self._carriers.prepare()

    def _create_task_process(self, task: luigi.Task) -> TaskProcess:
        entry = self._fenced.entries[self._beginning]
        messages: Any = multiprocessing.Queue() if task.accepts_messages else None
        reporter = TaskStatusReporter(self._scheduler, entry.run.task_id, self._id, messages)
        return TaskProcess(
            self._carriers, entry, lambda source: self._output.capture(entry.run, source), task, reporter,
            context=self._config.task_process_context, worker_id=self._id,
            worker_timeout=self._options.task_timeout or self._config.timeout,
            check_unfulfilled_deps=self._config.check_unfulfilled_deps,
            check_complete_on_run=self._config.check_complete_on_run,
            task_completion_cache=self._task_completion_cache,
        )  # fmt: skip

    def _add_task(self, *args: Any, **kwargs: Any) -> None:
        task_id = kwargs["task_id"]
        entry, refused = self._fenced.entries.get(task_id), self._status.refused
        super()._add_task(*args, **kwargs)
        if entry is not None and task_id not in self._fenced.entries:  # that was the end of it
            now = time.monotonic()
            seconds = now - self._status.running.pop(task_id, now)
            self._status.task_seconds += seconds
            if self._status.refused > refused:
                return  # which has been said
            told = {"status": kwargs["status"], "seconds": round(seconds, 3)}
            if kwargs["status"] == FAILED and kwargs.get("expl"):
                told["error"] = str(json.loads(kwargs["expl"]))[-2000:]
            level = _log.warning if kwargs["status"] == FAILED else _log.info
            level("task_finished", **told, **_told(self._scheduled_tasks.get(task_id), entry.run))

    def _handle_next_task(self) -> None:
        try:
            super()._handle_next_task()
        except CallError as error:
            if isinstance(error, GaveUp):
                raise
            self._not_handled(error)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - users' modules, reported as the task's failure
            self._not_handled(error)

    def _not_handled(self, error: BaseException) -> None:
        task_id = self._results.last
        self._running_tasks.pop(task_id, None)
        told = "".join(traceback.format_exception(error))
        self._failed(task_id, f"The worker could not take its result or schedule its new dependencies:\n{told}")

    def _failed(self, task_id: str, why: str) -> None:
        if task_id in self._fenced.entries:
            self._add_task(worker=self._id, task_id=task_id, status=FAILED, runnable=None, expl=json.dumps(why))

    def _purge_children(self) -> None:
        """See above."""

    def _sleeper(self) -> Iterator[None]:
        for pause in pauses(self._options.poll_interval):
            self._results.check()
            self._waker.wait(pause)
            self._results.check()
            yield

    @property
    def busy(self) -> bool:
        """Whether a task runs."""
        return bool(self._running_tasks)

    def report_next(self) -> None:
        """Wait for a result and report it."""
        self._handle_next_task()

    def introduce(self) -> None:
        """Tell the scheduler that this worker begins: whatever it was told to do before, such as to drain, is over."""
        self._scheduler.add_worker(self._id, dict(self._worker_info))
        for name in Register.task_names():
            with contextlib.suppress(TaskClassException):  # two modules have a task of this name
                self.announce_batches(Register.get_task_cls(name))

    def remind(self) -> None:
        """Schedulers answer again; they may have forgotten what we can batch."""
        for family in list(self._announced.values()):
            self._announce(family)

    def announce_batches(self, family: type[luigi.Task]) -> None:
        """Luigi tells which tasks it can batch when it schedules them. We schedule none, and still run batches."""
        name = family.get_task_family()
        if name not in self._batch_families_sent:
            self._batch_families_sent.add(name)
            if family.batch_param_names():
                self._announced[name] = family
                self._announce(family)

    def _announce(self, family: type[luigi.Task]) -> None:
        self._scheduler.add_task_batcher(
            worker=self._id, task_family=family.get_task_family(), batched_args=family.batch_param_names(),
            max_batch_size=family.max_batch_size,
        )  # fmt: skip

    def resume(self, leftover: Leftover, status: str, explanation: Any) -> None:
        """Report on a run of an earlier worker, as luigi reports on one of its own."""
        run, started, finished = leftover.run, leftover.started, leftover.finished
        self._fenced.adopt(leftover.entry)
        missing, new_deps = (finished.missing, finished.new_deps) if finished is not None else ([], [])
        module, family, params = (None, "", {}) if started is None else (started.module, started.family, started.params)
        try:
            task = self._loader.load(Description(run.task_id, module, family, params))
        except CannotLoad as cannot:
            _log.warning("task_not_loaded", error=str(cannot), **run.fields)
            if new_deps:
                status, explanation = FAILED, f"Its new dependencies cannot be loaded: {cannot}"
            self._add_task(
                worker=self._id, task_id=run.task_id, status=status, expl=json.dumps(explanation), runnable=None
            )
            return
        self._scheduled_tasks[run.task_id] = task
        self._running_tasks[run.task_id] = remains.Ended()
        self._results.put((run.task_id, status, explanation, missing, new_deps))
        self._handle_next_task()


def pauses(interval: float) -> Iterator[float]:
    """Luigi's pauses between two questions for work: with jitter, so that a fleet does not ask in step."""
    while True:
        yield interval * random.uniform(1.0, 1.5)  # noqa: S311


def _told(task: luigi.Task | None, run: Run) -> dict[str, Any]:
    return {**run.fields, "namespace": task.get_task_namespace() if task is not None else None}
