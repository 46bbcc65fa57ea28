"""What people do to tasks and to the scheduler by the REST API.

Each call answers with the task's status as it is then, and `changed`. Asking for what is so already changes nothing.
"""

from typing import Any

from luigi_ha.appliance.engine import checks
from luigi_ha.appliance.engine.demand import checked_resources
from luigi_ha.appliance.engine.errors import BadArgument
from luigi_ha.appliance.engine.model import BATCH_RUNNING, DISABLED, DONE, FAILED, PENDING, UNKNOWN, Task
from luigi_ha.appliance.engine.rest_views import RestViews
from luigi_ha.appliance.engine.runs import Runs
from luigi_ha.appliance.engine.worker_calls import WorkerCalls


class RestPeople(RestViews, WorkerCalls, Runs):
    """REST calls of people and their tools."""

    def rest_retry(self, task_id: str) -> dict[str, Any]:
        """Run a task that failed or was disabled or cancelled again; its failures are forgiven."""
        task = self._known_task(task_id)
        described = bool(task.family)  # else nobody knows how to run it
        if task.status not in (FAILED, DISABLED, UNKNOWN) or not described:
            return _told(task, False)
        self._leave(task)
        task.disabled_at = None
        self._set_status(task, PENDING)
        self._forget_failures(task)
        if not task.stakes.members:
            self._hold(task)
        self._enter(task)
        return _told(task, True)

    def rest_cancel(self, task_id: str, reason: str = "") -> dict[str, Any]:
        """Have a task run by nobody. If it runs, its worker is told to stop, and it does not run again."""
        task = self._known_task(task_id)
        why = checks.long_text("reason", reason) or ""
        if task.status == DONE or task.cancelled is not None:
            return _told(task, False)
        self._leave(task)
        task.cancelled = why
        self._set_status(task, DISABLED)  # a run goes on until it is reported
        self._let_go(task)
        self._touched(task)
        self._enter(task)
        return _told(task, True)

    def rest_done(self, task_id: str) -> dict[str, Any]:
        """Count a task as done. One that runs in a batch goes on."""
        task = self._known_task(task_id)
        if task.status in (DONE, BATCH_RUNNING):
            return _told(task, False)
        self._transition(task, DONE)
        return _told(task, True)

    def rest_priority(self, task_id: str, priority: float) -> dict[str, Any]:
        """Set a task's priority, higher or lower. What it depends on is raised to it, never lowered."""
        task = self._known_task(task_id)
        priority = checks.number("priority", priority)
        changed = priority != task.priority
        if changed:
            self._leave(task)
            task.priority = priority
            self._raise_dependencies(task)
            self._enter(task)
            self._touched(task)
        return {**_told(task, changed), "priority": task.priority}

    def rest_put_resource(self, name: str, total: float) -> dict[str, Any]:
        """Set a resource's total."""
        checks.text("name", name, empty=False)
        amount = checked_resources("total", {"total": total}, 0)["total"]
        if self.resources.get(name) != amount:
            self._set_totals({name: amount})
        return {"name": name, "total": amount, "used": self._usage.amounts.get(name, 0)}

    def rest_put_scheduler(self, paused: bool) -> dict[str, Any]:
        """Hand out no work, or work again."""
        if not isinstance(paused, bool):
            raise BadArgument("paused", f"is {paused!r}"[:80], "true or false")
        self._set_paused(paused)
        return self.rest_scheduler()


def _told(task: Task, changed: bool) -> dict[str, Any]:
    return {"task_id": task.id, "status": task.status, "changed": changed}
