"""What the REST API shows. Every call does a bounded amount of work, however many tasks there are; nothing is pruned.

A list of tasks comes in pages, in the order in which the tasks were added. A page looks at so many tasks and no more:
it may be empty and yet not the last one.
"""

import json
import math
import sys
from typing import Any, Final

from luigi_ha.appliance.engine import checks
from luigi_ha.appliance.engine.errors import BadArgument, NoSuch
from luigi_ha.appliance.engine.failure import error_shown
from luigi_ha.appliance.engine.lifecycle import Lifecycle
from luigi_ha.appliance.engine.model import BATCH_RUNNING, PENDING, RUNNING, STATUSES, Task, Worker
from luigi_ha.appliance.engine.offers import Offer
from luigi_ha.appliance.engine.ready import ReadyGroup
from luigi_ha.appliance.engine.reserving import Reserving

LOOKED_AT: Final = 10_000  # tasks, for one page
MOST_SHOWN: Final = 1_000
_ALL: Final = 0


class RestViews(Lifecycle, Reserving):
    """Reads only."""

    @property
    def anything_ready(self) -> bool:
        """Whether any task could be handed out, to somebody, as far as dependencies go."""
        return bool(self._ready.groups) and not self.paused

    def rest_task(self, task_id: str) -> dict[str, Any]:
        """A task, whole."""
        task = self._known_task(task_id)
        return {
            **_short(task),
            "module": task.module,
            "params": task.public_params(),
            "deps": list(task.deps),
            "resources": task.demand.resources,
            "resources_running": task.resources_running if task.status == RUNNING else None,
            "capabilities": list(task.demand.capabilities),
            "run_id": task.run_id,
            "added_at": task.added_at,
            "retry_at": task.retry_at,
            "disabled_at": task.disabled_at,
            "failures": len(self.recent_failures(task)),
            "failed_in_row": task.failed_in_row,
            "progress": json.loads(task.progress_percentage),
            "message": json.loads(task.status_message),
            "tracking_url": task.tracking_url,
            "error": error_shown(task),
            "batch": task.batch_id,
            "submitted": self.is_held(task),
            "cancelled": task.cancelled,
        }

    def rest_tasks(
        self,
        status: str | None = None,
        family: str | None = None,
        namespace: str | None = None,
        worker: str | None = None,
        search: str | None = None,
        prefix: str | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> dict[str, Any]:
        """A page of the tasks that fit, and where the next one begins."""
        if status is not None and status not in STATUSES:
            raise BadArgument("status", f"is {status!r}"[:80], "one of " + ", ".join(STATUSES))
        texts = {"family": family, "namespace": namespace, "worker": worker, "search": search, "prefix": prefix}
        for name, value in texts.items():
            checks.optional_text(name, value)
        limit = min(checks.whole("limit", limit, least=1), MOST_SHOWN)
        start = _cursor(after)

        def fits(task: Task) -> bool:
            return (
                (status is None or task.status == status)
                and (family is None or task.family == family)
                and (namespace is None or task.namespace == namespace)
                and (worker is None or task.worker_running == worker)
                and (search is None or search in task.id)
                and (prefix is None or _begins(task, prefix))
            )

        few = None
        if worker is not None and status == RUNNING:
            few = self._running_on.get(worker, {})
        elif status is not None and len(self.by_status.get(status, {})) <= LOOKED_AT:
            few = self.by_status.get(status, {})
        if few is not None:
            candidates = iter([few[num] for num in sorted(few) if num > start])
            end = None
        else:
            candidates = self._order.after(start, LOOKED_AT)
            end = self._order.place_after(start, LOOKED_AT)
        shown: list[dict[str, Any]] = []
        last = start
        for task in candidates:
            if not fits(task):
                continue
            if len(shown) == limit:
                return {"tasks": shown, "next": str(last)}
            last = task.num
            shown.append(_short(task))
        return {"tasks": shown, "next": None if end is None else str(end)}

    def rest_workers(self) -> list[dict[str, Any]]:
        """The workers that were heard of lately."""
        return [self._shown_worker(worker) for worker in self.workers.values()]

    def rest_worker(self, worker_id: str) -> dict[str, Any]:
        """A worker, and what it runs."""
        worker = self._known_worker(worker_id)
        running = self._running_on.get(worker.id, {}).values()
        return {**self._shown_worker(worker), "tasks": [_short(task) for task in running]}

    def rest_resources(self) -> list[dict[str, Any]]:
        """Totals, and what is in use."""
        names = dict.fromkeys((*self.resources, *(name for name in self._usage.amounts if isinstance(name, str))))
        return [
            {"name": name, "total": self.resources.get(name, 1), "used": self._usage.amounts.get(name, 0)}
            for name in names
        ]

    def rest_scheduler(self) -> dict[str, Any]:
        """Whether work is handed out."""
        return {"paused": self.paused, "pause_enabled": self.settings.pause_enabled}

    def rest_drained(self) -> list[dict[str, Any]]:
        """Ids of workers that get no work until they are undrained, whether they are there or not."""
        return [
            {"worker_id": worker_id, "since": since, "known": worker_id in self.workers}
            for worker_id, since in self.drained.items()
        ]

    def rest_namespaces(self) -> list[dict[str, Any]]:
        """How many tasks each namespace has, by status, and how many of them may run at once."""
        limits = self.settings.namespace_limits
        return [
            {"name": name, "counts": {**self._namespaces.get(name, {})}, "limit": limits.get(name)}
            for name in sorted({*self._namespaces, *limits})
        ]

    def rest_queue(self) -> dict[str, int]:
        """How much there is to do, and how much of it could be begun now."""
        return {
            "ready": 0 if self.paused else self.startable()[0],
            "pending": len(self.by_status.get(PENDING, {})),
            "running": len(self.by_status.get(RUNNING, {})) + len(self.by_status.get(BATCH_RUNNING, {})),
        }

    def startable(self) -> tuple[int, int]:
        """How many ready tasks could run now beside each other, in the order of work, if there were workers enough; and
        how many only resources keep from that. What clients run themselves is not counted, nor what nobody can run."""
        used, capacity = dict(self._usage.amounts), self.capacity
        startable = waiting = 0
        for group in sorted(self._ready.groups, key=lambda group: group.tasks[0]):
            if not group.runnable and not group.team.members:
                continue
            ready = self._for_workers(group)
            fitting = min([ready, *(_times(used.get(n, 0), capacity.get(n, 1), a) for n, a in group.demand.items)])
            for name, amount in group.demand.items:
                used[name] = used.get(name, 0) + amount * fitting
            startable += fitting
            waiting += ready - fitting
        return startable, waiting

    def _for_workers(self, group: ReadyGroup) -> int:
        """How many tasks of a group a worker that runs others' tasks may take."""
        if not any(self._runs_itself(worker) for worker in group.team.members):
            return len(group.tasks)
        offers = [Offer.noted(worker.info) for worker in self.workers.values() if worker.assistant]
        if any(offer.modules is None for offer in offers):
            return len(group.tasks)  # an assistant of Luigi's takes anything
        return len(group.tasks) if any(offer.has_loaded(group.module) for offer in offers) else 0

    # -- inside ---------------------------------------------------------------------------------------------

    def _known_task(self, task_id: str) -> Task:
        task = self.tasks.get(checks.text("task_id", task_id))
        if task is None:
            raise NoSuch("task_id", f"no task {task_id!r}"[:200], "the id of a task that the scheduler knows")
        return task

    def _known_worker(self, worker_id: str) -> Worker:
        worker = self.workers.get(checks.text("worker_id", worker_id))
        if worker is None:
            raise NoSuch("worker_id", f"no worker {worker_id!r}"[:200], "a worker that was heard of lately")
        return worker

    def _shown_worker(self, worker: Worker) -> dict[str, Any]:
        return {
            "worker_id": worker.id,
            "state": worker.stage,
            "started_at": worker.started_at,
            "last_active": worker.last_active,
            "slots": worker.slots,
            "running": len(self._running_on.get(worker.id, {})),
            "assistant": worker.assistant,
            "info": worker.info,
        }


def _times(used: float, total: float, amount: float) -> int:
    """How often an amount fits into what is left, before the sum of what is in use exceeds the total."""
    if amount <= 0:
        return sys.maxsize if used <= total else 0
    return max(0, min(sys.maxsize, math.floor((total - used) / amount + 1e-9)))


def _short(task: Task) -> dict[str, Any]:
    return {
        "task_id": task.id,
        "status": task.status,
        "family": task.family,
        "namespace": task.namespace,
        "priority": task.priority,
        "worker": task.worker_running,
        "attempt": task.attempt,
        "updated_at": task.updated_at,
        "run_time": task.time_running,
    }


def _begins(task: Task, prefix: str) -> bool:
    """Whether the task's id or family begins so, with its namespace or without."""
    names = (task.id, task.family)
    if any(name.startswith(prefix) for name in names):
        return True
    before = f"{task.namespace}."
    return len(before) > 1 and any(name.startswith(before + prefix) for name in names)


def _cursor(after: Any) -> int:
    if after is None:
        return _ALL
    if not isinstance(after, str) or not after.isascii() or not after.isdigit() or len(after) > 18:
        raise BadArgument("after", f"is {after!r}"[:80], "what the page before gave as `next`")
    return int(after)
