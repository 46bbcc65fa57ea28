"""Workers on the REST API: `rest_take`, `rest_heartbeat`, `rest_drain`, `rest_undrain`.

Such a worker runs anybody's tasks, as an assistant of Luigi's does, within what it offers. Each task it takes is one
attempt with a run_id; what it reports names both, and changes nothing if that run is over.
What a worker shall do (drain, cancel) follows from the state and is said with every heartbeat until it is done.
Messages are delivered once.
"""

from typing import Any, Final, NamedTuple

from luigi_ha.appliance.engine import checks
from luigi_ha.appliance.engine.changes import JsonText
from luigi_ha.appliance.engine.errors import BadArgument
from luigi_ha.appliance.engine.model import (
    BATCH_RUNNING,
    DEFINITION,
    DETAIL,
    DONE,
    FAILED,
    PENDING,
    RUNNING,
    Task,
    Worker,
    to_json,
)
from luigi_ha.appliance.engine.offers import OFFERED, Offer
from luigi_ha.appliance.engine.rest_tasks import RestTasks, Submission
from luigi_ha.appliance.engine.rest_views import RestViews
from luigi_ha.appliance.engine.runs import Runs
from luigi_ha.appliance.engine.settings import after
from luigi_ha.appliance.engine.work_calls import WorkCalls
from luigi_ha.appliance.engine.worker_calls import WorkerCalls

_RUN: Final = ("task_id", "attempt", "run_id")
_REPORT: Final = frozenset((*_RUN, "status", "error", "progress", "message", "tracking_url", "deps"))
_STATUSES: Final = (RUNNING, DONE, FAILED, PENDING)
_COMMANDS: Final = {"cancel_task": "cancel"}  # of Luigi's style to ours


class Report(NamedTuple):
    """What a worker says of one run, checked. None: nothing said."""

    task_id: str
    attempt: int
    run_id: str
    status: str
    error: JsonText | None
    progress: JsonText | None
    message: JsonText | None
    tracking_url: str | None
    deps: tuple[str | Submission, ...]


class RestWork(RestViews, RestTasks, WorkerCalls, WorkCalls, Runs):
    """REST calls of workers."""

    def rest_take(
        self,
        worker: str,
        slots: int = 1,
        namespaces: Any = None,
        families: Any = None,
        capabilities: Any = None,
        holding: Any = None,
    ) -> dict[str, Any] | None:
        """The next task for a worker, or null. A run of its own that it does not list in `holding` comes first."""
        worker_id = checks.worker(worker)
        slots = checks.whole("slots", slots, least=1)
        offer = Offer.of(namespaces, families, capabilities)
        held = None if holding is None else {_run(f"holding[{i}]", run) for i, run in enumerate(_list(holding))}
        if self.settings.prune_on_get_work:
            self.prune()
        caller = self._heard_of(worker_id)
        caller.last_get_work = caller.last_active
        self._note(caller, {"assistant": True, "workers": slots, **offer.shown()}, OFFERED)
        task = None
        if held is not None:
            task = self._lost_run(worker_id, lambda task: (task.id, task.attempt, task.run_id) in held)
        again = task is not None
        if task is None and not (self.paused or caller.disabled or caller.draining):
            task = self._choose(caller, offer, assistant=True, own_only=False)
        if task is None:
            return None
        self._hand_out(task, worker_id, again)
        return {
            "task_id": task.id,
            "family": task.family,
            "module": task.module,
            "params": task.all_params(),
            "attempt": task.attempt,
            "run_id": task.run_id,
            "deadline": self._deadline(caller),
            "resources": task.demand.resources,
            "priority": task.priority,
        }

    def rest_heartbeat(self, worker: str, slots: int | None = None, tasks: Any = None) -> dict[str, Any]:
        """A sign of life, and what a worker has to say of its runs. Tells what it shall do and which runs are over."""
        worker_id = checks.worker(worker)
        if slots is not None:
            checks.whole("slots", slots, least=1)
        listed = [] if tasks is None else checks.listed("tasks", tasks)
        deps = [told.get("deps") for told in listed if isinstance(told, dict)]
        many = sum(len(ids) for ids in deps if isinstance(ids, list))
        if many > checks.MAX_ENTRIES:
            what = f"name {many} dependencies together"
            raise BadArgument("tasks", what, f"at most {checks.MAX_ENTRIES} in one call; the rest in the next")
        reports = [self._report_of(f"tasks[{i}]", told) for i, told in enumerate(listed)]
        caller = self._heard_of(worker_id)
        self._note(caller, {"assistant": True} | ({} if slots is None else {"workers": slots}))
        accepted, lost = [], []
        for report in reports:
            task = self.tasks.get(report.task_id)
            objection = self._objection(task, worker_id, report.attempt, report.run_id, report.status)
            if objection is None and task is not None:
                self._hear(task, report, worker_id)
            if objection:
                lost.append({"task_id": report.task_id, "attempt": report.attempt, "reason": objection})
            else:
                accepted.append(report.task_id)
        messages = [*self._delivered(caller), *self._commands(caller)]
        return {
            "accepted": accepted,
            "lost": lost,
            "commands": [{"name": _COMMANDS.get(m["name"], m["name"]), **m["kwargs"]} for m in messages],
            "deadline": self._deadline(caller),
            "state": caller.stage,
        }

    def rest_drain(self, worker_id: str, draining: bool = True) -> dict[str, Any]:
        """Give a worker no new work; what it runs it finishes. Its id stays drained, however often it is started again.
        `draining` false: give it work again."""
        if not isinstance(draining, bool):
            raise BadArgument("draining", f"is {draining!r}"[:80], "true or false")
        return self._drain(worker_id) if draining else self.rest_undrain(worker_id)

    def rest_undrain(self, worker_id: str) -> dict[str, Any]:
        """Give a worker work again that was drained, or disabled. It need not be there."""
        if checks.text("worker_id", worker_id) in self.drained and worker_id not in self.workers:
            self._set_drained(worker_id, False)
            return {"worker_id": worker_id, "state": "absent", "running": []}
        worker = self._known_worker(worker_id)
        self._set_drained(worker.id, False)
        if worker.draining or worker.disabled:
            worker.draining = worker.disabled = False
            self._dirty_workers[worker] = None
        return self._staged(worker)

    def _drain(self, worker_id: str) -> dict[str, Any]:
        worker = self._known_worker(worker_id)
        self._set_drained(worker.id, True)
        if not worker.draining:
            worker.draining = True
            self._dirty_workers[worker] = None
        return self._staged(worker)

    def _staged(self, worker: Worker) -> dict[str, Any]:
        running = self._running_on.get(worker.id, {}).values()
        return {"worker_id": worker.id, "state": worker.stage, "running": [task.id for task in running]}

    # -- inside ---------------------------------------------------------------------------------------------

    def _deadline(self, worker: Worker) -> float:
        """When a worker that stays silent is given up (scheduler time, s)."""
        return max(after(worker.last_active, self.settings.worker_disconnect_delay), worker.grace_until)

    def _report_of(self, where: str, told: Any) -> Report:
        fields = checks.described(where, told, _REPORT, (*_RUN, "status"))
        task_id, attempt, run_id = _run(where, fields, more=True)
        status = fields["status"]
        if status not in _STATUSES:
            raise BadArgument(f"{where}.status", f"is {status!r}"[:80], "one of " + ", ".join(_STATUSES))
        deps = fields.get("deps")
        if deps is not None and status != PENDING:
            raise BadArgument(f"{where}.deps", f"comes with {status}", "new dependencies with the status PENDING only")
        return Report(
            task_id,
            attempt,
            run_id,
            status,
            _said(fields, "error"),
            _said(fields, "progress"),
            _said(fields, "message"),
            checks.long_text(f"{where}.tracking_url", fields.get("tracking_url")),
            () if deps is None else self._deps_of(f"{where}.deps", deps, task_id),
        )

    def _deps_of(self, where: str, deps: Any, task_id: str) -> tuple[str | Submission, ...]:
        found: list[str | Submission] = []
        for i, dep in enumerate(checks.listed(where, deps)):
            put = self._checked_at(where, i, dep) if isinstance(dep, dict) else checks.text(f"{where}[{i}]", dep)
            if (put if isinstance(put, str) else put.task_id) == task_id:
                raise BadArgument(f"{where}[{i}]", "names the task itself", "another task")
            found.append(put)
        return tuple(found)

    def _hear(self, task: Task, report: Report, worker_id: str) -> None:
        """Take over what is said of the run that the task has now."""
        for dep in report.deps:
            if isinstance(dep, Submission):
                self._submit(dep)
        told = {
            "expl": report.error,
            "progress_percentage": report.progress,
            "status_message": report.message,
            "tracking_url": report.tracking_url,
        }
        for name, value in told.items():
            if value is not None and value != getattr(task, name):
                setattr(task, name, value)
                self._touched(task, DETAIL)
        if report.status == RUNNING:
            return
        if task.status == BATCH_RUNNING:
            self._give_back_batch(task)
            return
        self._leave(task)
        if report.status == PENDING:
            new = [dep if isinstance(dep, str) else dep.task_id for dep in report.deps]
            if not set(task.deps).issuperset(new):
                self._set_deps(task, (*task.deps, *new))
                self._touched(task, DEFINITION)
                self._raise_dependencies(task)
        self._set_status(task, report.status)
        task.run_reported = True
        self._enter(task)
        if report.status == FAILED and self.settings.batch_emails:
            self._mail_failure(task, worker_id, task.family, report.error, None)

    def _give_back_batch(self, task: Task) -> None:
        """The worker that was given a batch has named no head of it, and runs none of its tasks."""
        for member in self.batch_members(task.batch_id):
            member.expl = task.expl
            self._touched(member, DETAIL)
            self._transition(member, PENDING)
            member.run_reported = True


def _list(holding: Any) -> list[Any]:
    return checks.listed("holding", holding)


def _run(where: str, told: Any, *, more: bool = False) -> tuple[str, int, str]:
    """The run that something is about."""
    fields = told if more else checks.described(where, told, frozenset(_RUN), _RUN)
    return (
        checks.text(f"{where}.task_id", fields["task_id"]),
        checks.whole(f"{where}.attempt", fields["attempt"], least=1),
        checks.text(f"{where}.run_id", fields["run_id"]),
    )


def _said(fields: dict[str, Any], name: str) -> JsonText | None:
    return to_json(fields[name]) if fields.get(name) is not None else None
