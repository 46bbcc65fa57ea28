"""Submitting tasks by the REST API: `rest_put_task` and `rest_put_tasks`.

Putting a task is idempotent: it says that the task exists and is wanted, and fills in what was not known. It restarts
nothing: what is done stays done, what failed waits for its retry, what was cancelled stays cancelled.
A submitted task needs no worker that wants it, and any worker that offers what it asks for may run it.
"""

import sys
from typing import Any, Final, NamedTuple

from luigi_ha.appliance.engine import checks
from luigi_ha.appliance.engine.changes import JsonText
from luigi_ha.appliance.engine.demand import checked_resources
from luigi_ha.appliance.engine.errors import BadArgument
from luigi_ha.appliance.engine.lifecycle import Lifecycle
from luigi_ha.appliance.engine.links import dependents_of
from luigi_ha.appliance.engine.model import (
    DEFINITION,
    DONE,
    EMPTY_OBJECT,
    PENDING,
    UNKNOWN,
    RetryPolicy,
    Task,
    to_json,
)

_FIELDS: Final = frozenset(
    {
        "task_id", "family", "module", "params", "deps", "priority", "resources", "capabilities", "retry_policy",
        "submitter",
    }
)  # fmt: skip
_REQUIRED: Final = frozenset({"task_id", "family"})


class Submission(NamedTuple):
    """A task as it was put, checked. None: not said."""

    task_id: str
    family: str
    module: str | None
    params: JsonText
    deps: tuple[str, ...] | None
    priority: float
    resources: dict[str, float] | None
    capabilities: tuple[str, ...] | None
    policy: RetryPolicy | None


class Added(NamedTuple):
    """What came of many tasks that were put."""

    added: int
    known: int


class RestTasks(Lifecycle):
    """REST calls that add tasks."""

    def rest_put_task(  # noqa: PLR0917 - called by keyword
        self,
        task_id: str,
        family: str,
        module: str | None = None,
        params: Any = None,
        deps: Any = None,
        priority: float = 0,
        resources: Any = None,
        capabilities: Any = None,
        retry_policy: Any = None,
        submitter: str | None = None,
    ) -> dict[str, Any]:
        """Add a task, or say again that it is wanted. `created` tells whether it is new."""
        put = self._checked(
            task_id, family, module, params, deps, priority, resources, capabilities, retry_policy, submitter
        )
        created = self._submit(put) or put.task_id in self._begun
        self._begun.discard(put.task_id)
        return {"task_id": put.task_id, "status": self.tasks[put.task_id].status, "created": created}

    def rest_put_tasks(self, tasks: Any) -> dict[str, int]:
        """Add many tasks, all or none: nothing changes before all are checked."""
        if isinstance(tasks, Added):  # in portions, before
            return tasks._asdict()
        puts = [self._checked_at("tasks", i, task) for i, task in enumerate(checks.listed("tasks", tasks))]
        added = sum([self._submit(put) for put in puts])
        return {"added": added, "known": len(puts) - added}

    # -- checking -------------------------------------------------------------------------------------------

    def _checked_at(self, argument: str, place: int, described: Any) -> Submission:
        """A task out of a list; errors say where it stands."""
        if type(described) is not dict or not (described.keys() <= _FIELDS and described.keys() >= _REQUIRED):
            checks.described(f"{argument}[{place}]", described, _FIELDS, ("task_id", "family"))
        try:
            return self._checked(**described)
        except BadArgument as error:
            raise BadArgument(f"{argument}[{place}].{error.argument}", error.problem, error.expected) from error

    def _checked(  # noqa: PLR0917 - the fields in order
        self,
        task_id: Any,
        family: Any,
        module: Any = None,
        params: Any = None,
        deps: Any = None,
        priority: Any = 0,
        resources: Any = None,
        capabilities: Any = None,
        retry_policy: Any = None,
        submitter: Any = None,
    ) -> Submission:
        task_id = checks.text("task_id", task_id, empty=False)
        wanted = checks.ids("deps", deps, empty=False)
        needed = checks.ids("capabilities", capabilities, empty=False, what="names", most=checks.MAX_NAMES)
        if wanted and task_id in wanted:
            raise BadArgument("deps", "names the task itself", "ids of other tasks")
        checks.optional_text("submitter", submitter)
        return Submission(
            task_id,
            sys.intern(checks.text("family", family, empty=False)),
            None if module is None else sys.intern(checks.text("module", module)),
            EMPTY_OBJECT if params is None else to_json(checks.mapping("params", params)),
            wanted,
            checks.number("priority", priority),
            None if resources is None else checked_resources("resources", resources, 0),
            None if needed is None else tuple(sorted(needed)),
            None if retry_policy is None else checks.retry_policy(retry_policy, self._default_policy, "retry_policy"),
        )

    # -- doing ----------------------------------------------------------------------------------------------

    def _submit(self, put: Submission) -> bool:
        """Add or complete a task; whether it is new."""
        task = self.tasks.get(put.task_id)
        if task is None:
            self._submit_new(put)
            return True
        if task.status == DONE:
            return False
        self._leave(task)
        self._complete(task, put)
        if put.priority > task.priority:
            task.priority = put.priority
            self._touched(task)
        if task.status == UNKNOWN:
            self._set_status(task, PENDING)
        self._hold(task)
        self._raise_dependencies(task)
        self._enter(task)
        return False

    def _submit_new(self, put: Submission) -> None:
        # Hot: tasks are put by the ten thousand.
        task = self._create(put.task_id, PENDING, put.family)
        task.module, task.params, task.runnable = put.module, put.params, True
        if put.policy is not None:
            task.retry_policy = put.policy
        if put.resources or put.capabilities or self._limits:
            task.demand = self._demands.of(put.resources or {}, task.namespace, put.capabilities or ())
        task.priority = put.priority
        if task.dependents is not None:
            task.priority = max([put.priority, *(waiting.priority for waiting in dependents_of(task))])
        if put.deps:
            self._set_deps(task, put.deps)
            self._raise_dependencies(task)
        self._hold_new(task)
        self._enter(task)

    def _complete(self, task: Task, put: Submission) -> None:
        """Fill in what is not known of a task, and what may change."""
        before = (task.family, task.module, task.params, task.deps, task.demand, task.retry_policy, task.runnable)
        if not task.family:
            self._name(task, put.family)
        task.module = task.module or put.module
        if task.params is EMPTY_OBJECT:
            task.params = put.params
        if put.deps is not None and put.deps != task.deps:
            self._set_deps(task, put.deps)
        resources = task.demand.resources if put.resources is None else put.resources
        capabilities = task.demand.capabilities if put.capabilities is None else put.capabilities
        task.demand = self._demands.of(resources, task.namespace, capabilities)
        if put.policy is not None:
            task.retry_policy = put.policy
        task.runnable = True
        now = (task.family, task.module, task.params, task.deps, task.demand, task.retry_policy, task.runnable)
        if now != before:
            self._touched(task, DEFINITION)
