"""The calls that describe tasks: `add_task`, its report of every transition, and what people do to a task.

`add_task` is Luigi's one call for everything a worker has to say about a task; the order of its steps is Luigi's.
"""

from typing import Any

from luigi_ha.appliance.engine import checks
from luigi_ha.appliance.engine.changes import JsonText
from luigi_ha.appliance.engine.demand import checked_resources
from luigi_ha.appliance.engine.mailbox import MailboxCalls
from luigi_ha.appliance.engine.model import (
    BATCH_RUNNING,
    DEFINITION,
    DETAIL,
    DISABLED,
    DONE,
    EMPTY_OBJECT,
    FAILED,
    FALSE,
    PENDING,
    RUNNING,
    SUSPENDED,
    UNKNOWN,
    Task,
    Worker,
    to_json,
)
from luigi_ha.appliance.engine.runs import Runs, is_fenced, named_run
from luigi_ha.appliance.engine.serializer import Serializer


class TaskCalls(Serializer, MailboxCalls, Runs):
    """RPCs about one task."""

    def add_task(  # noqa: C901, PLR0912, PLR0915, PLR0917 - Luigi's signature and Luigi's order of steps
        self,
        task_id: str | None = None,
        status: str = PENDING,
        runnable: bool = True,
        deps: Any = None,
        new_deps: Any = None,
        expl: Any = None,
        resources: Any = None,
        priority: float = 0,
        family: str = "",
        module: str | None = None,
        params: Any = None,
        param_visibilities: Any = None,
        accepts_messages: Any = False,
        assistant: bool = False,
        tracking_url: str | None = None,
        worker: str | None = None,
        batchable: bool | None = None,
        batch_id: str | None = None,
        retry_policy_dict: Any = None,
        owners: Any = None,
        run_id: str | None = None,
        attempt: int | None = None,
        required_by: str | None = None,
        **_kwargs: Any,
    ) -> None:
        """Add a task if it is new; update its description, status, dependencies, workers and stakeholders.

        A report that names the run it is about (`run_id`, `attempt`) is refused with Conflict if that run is over.
        A task that another one has found out to need while it ran (`required_by`) is held if that one is.
        """
        worker_id = checks.worker(worker)
        task_id = checks.text("task_id", task_id)
        status = checks.status(status)
        wanted_deps = checks.ids("deps", deps)
        more_deps = None if new_deps is None else checks.ids("new_deps", new_deps)
        needs = checked_resources("resources", resources)
        priority = checks.number("priority", priority)
        family = checks.text("family", family)
        module = checks.optional_text("module", module)
        params = checks.mapping("params", params)
        visibilities = checks.mapping("param_visibilities", param_visibilities)
        tracking_url = checks.long_text("tracking_url", tracking_url)
        batch_id = checks.optional_text("batch_id", batch_id)
        policy = checks.retry_policy(retry_policy_dict, self._default_policy)
        checks.ids("owners", owners, what="e-mail addresses", most=checks.MAX_NAMES)
        needing = self.tasks.get(checks.text("required_by", required_by)) if required_by is not None else None
        task = self.tasks.get(task_id)
        run = named_run(run_id, attempt)
        claimed = None
        if run is not None and is_fenced(status, more_deps):
            news, claimed = self._admit(task, worker_id, status, *run, batch_id)
            if not news:
                return

        caller = self._heard_of(worker_id)
        if task is None:
            if caller.disabled:
                return
            task = self._create(task_id, PENDING, family)
            task.priority = priority
        else:
            if caller.disabled and task.status != RUNNING:
                return
            if status == PENDING and task.status == DONE and self._is_cooling_down(task):
                return
            self._leave(task)
        self._describe(task, family, module, params, visibilities, accepts_messages, batchable)
        if batch_id is not None and batch_id != task.batch_id:
            task.batch_id = batch_id
            self._touched(task)
        if status == RUNNING and (claimed is not None or not task.worker_running):
            self._claim(task, worker_id, batch_id, claimed)
        self._say(task, tracking_url, None if expl is None else to_json(expl))
        if task.remove_at is not None:
            task.remove_at = None  # wanted again
            self._touched(task)
            if not task.stakes.members:
                self._unwanted[task.num] = task
        self._report(task, worker_id, status, more_deps, repeatable=expl is not None)
        if run is not None and status != RUNNING and is_fenced(status, more_deps):
            task.run_reported = True
            self._touched(task)
        if status == FAILED and self.settings.batch_emails:
            self._mail_failure(task, worker_id, family, expl, owners)
        self._need(task, wanted_deps, more_deps, needs)
        self._rank(task, caller, priority, assistant)
        if task.retry_policy != policy:
            task.retry_policy = policy
            self._touched(task, DEFINITION)
        if runnable and status != FAILED and not caller.disabled:
            self._offer(task, caller)
        if needing is not None and self.is_held(needing):
            self._hold(task)
        self._enter(task)

    # -- the steps of add_task ----------------------------------------------------------------------

    def _is_cooling_down(self, task: Task) -> bool:
        return self._clock() - task.updated_at < self.settings.stable_done_cooldown_secs

    def _describe(
        self,
        task: Task,
        family: str,
        module: str | None,
        params: dict[str, Any],
        visibilities: dict[str, Any],
        accepts_messages: Any,
        batchable: bool | None,
    ) -> None:
        """Fill in what is not known yet: a placeholder knows its id only."""
        changed = False
        if not task.family and family:
            self._name(task, family)
            changed = True
            task.demand = self._demands.of(task.demand.resources, task.namespace, task.demand.capabilities)
        if not task.module and module is not None and module != task.module:
            task.module, changed = module, True
        if task.param_visibilities is EMPTY_OBJECT and visibilities:
            task.param_visibilities, changed = to_json(visibilities), True
        if task.params is EMPTY_OBJECT and params:
            task.params, changed = to_json(params), True
        if accepts_messages is not None:
            accepts = FALSE if accepts_messages is False else to_json(accepts_messages)
            if accepts != task.accepts_messages:
                task.accepts_messages, changed = accepts, True
        if batchable is not None and bool(batchable) != task.batchable:
            task.batchable, changed = bool(batchable), True
        if changed:
            self._touched(task, DEFINITION)

    def _claim(self, task: Task, worker_id: str, batch_id: str | None, claimed: Task | None) -> None:
        """A worker says that it runs a task which nobody ran before: the head of a batch.

        `claimed`: the member whose run was named when the batch was handed out; the head takes it over.
        """
        self._start_run(task, worker_id)
        if claimed is not None:
            task.run_id, task.attempt = claimed.run_id, claimed.attempt
        members = self.batch_members(batch_id)
        if members:
            held = members[0].resources_running
            task.resources_running = dict(members[0].demand.resources if held is None else held)

    def _say(self, task: Task, tracking_url: str | None, expl: JsonText | None) -> None:
        if (tracking_url is not None or task.status != RUNNING) and (
            tracking_url != task.tracking_url or task.batch_id is not None
        ):
            task.tracking_url = tracking_url
            self._touched(task, DETAIL)
            self._copy_to_members(task, "tracking_url")
        if expl is not None and (expl != task.expl or task.batch_id is not None):
            task.expl = expl
            self._touched(task, DETAIL)
            self._copy_to_members(task, "expl")

    def _report(
        self, task: Task, worker_id: str, status: str, new_deps: tuple[str, ...] | None, *, repeatable: bool
    ) -> None:
        """A task that runs is changed only by the worker that runs it, or by new dependencies."""
        idle = task.status not in (RUNNING, BATCH_RUNNING)
        its_runner = status in (DONE, FAILED, RUNNING) and task.worker_running == worker_id
        if not (idle or its_runner or new_deps):
            return
        if status == PENDING and task.status == PENDING:
            return  # the most frequent call: nothing to change
        if repeatable and self._is_repeated_failure(task, worker_id, status):
            return
        was_running = not idle
        self._set_status(task, PENDING if status == SUSPENDED else status)
        if was_running and task.worker_running == worker_id and status in (DONE, FAILED):
            task.run_reported = True
            self._touched(task)

    def _need(
        self, task: Task, deps: tuple[str, ...] | None, new_deps: tuple[str, ...] | None, needs: dict[str, float]
    ) -> None:
        wanted = task.deps if deps is None else deps
        if new_deps:
            wanted = (*wanted, *new_deps)
        if wanted is not task.deps and wanted != task.deps:
            before = set(task.deps)
            if before != set(wanted):
                self._set_deps(task, wanted)
                self._touched(task, DEFINITION)
        demand = self._demands.of(needs, task.namespace, task.demand.capabilities)
        if demand is not task.demand:
            task.demand = demand
            self._touched(task, DEFINITION)

    def _rank(self, task: Task, caller: Worker, priority: float, assistant: bool) -> None:
        """Stakeholders and priorities, of the task and of what it depends on. Priorities only increase."""
        stakes = not caller.disabled and not assistant
        if stakes:
            self._want(task, caller)
        settled = task.settled
        if settled is not None and priority <= task.priority and (not stakes or caller in settled.members):
            return
        if stakes:
            for dep_id in task.deps:
                dep = self.tasks.get(dep_id)
                if dep is None:
                    dep = self._create(dep_id, UNKNOWN)
                    dep.priority = priority
                    self._enter(dep)
                self._want(dep, caller)
        if priority > task.priority:
            task.priority = priority
            self._touched(task)
        self._raise_dependencies(task)
        if task.deps:
            already = [] if settled is None else settled.members
            task.settled = self._stakes.of([*already, caller]) if stakes else settled or self._stakes.nobody

    def _offer(self, task: Task, worker: Worker) -> None:
        """`worker` can run the task."""
        if worker not in task.team.members:
            team = self._teams.of([*task.team.members, worker])
            self._teams.join(task, task.team, team)
            task.team = team
            self._touched(task)
        if not task.runnable:
            task.runnable = True
            self._touched(task, DEFINITION)

    # -- what people do to a task -------------------------------------------------------------------

    def forgive_failures(self, task_id: str | None = None) -> dict[str, Any]:
        """A FAILED task may run again at once; its failures stay counted."""
        task = self.tasks.get(checks.text("task_id", task_id))
        if task is None:
            return {"task_id": task_id, "status": None}
        if task.status == FAILED:
            self._transition(task, PENDING)
        return {"task_id": task_id, "status": task.status}

    def mark_as_done(self, task_id: str | None = None) -> dict[str, Any]:
        """Say that a running, failed or disabled task is done."""
        task = self.tasks.get(checks.text("task_id", task_id))
        if task is None:
            return {"task_id": task_id, "status": None}
        if task.status in (RUNNING, FAILED, DISABLED):
            self._transition(task, DONE)
        return {"task_id": task_id, "status": task.status}

    def re_enable_task(self, task_id: str) -> dict[str, Any]:
        """Enable a task that the scheduler disabled. Replies with the task, or {} if it did not."""
        task = self.tasks.get(checks.text("task_id", task_id))
        if task is None or task.status != DISABLED or not task.disabled_at:
            return {}
        self._re_enable(task)
        return self._serialize(task)
