"""The engine's memory and its indexes: what is kept true between any two calls.

Invariants, for every task that is *in* (between `_enter` and `_leave`):
* it is counted in its team and stands in the index of its status;
* it is in the ready index exactly if it is PENDING and no dependency is unmet;
* `unmet` and `blocked` count its dependencies by their `mark`, and its own `mark` is what its dependents counted.

A change takes the task out, alters it, and puts it back (`_leave` … `_enter`), so that no index has to know what
can change. Both cost O(log tasks), plus the dependents whose readiness the change decides.

In a cycle of dependencies the mark "below a disabled task" may outlive its cause; nothing in a cycle can run anyhow.
"""

from __future__ import annotations

import random as random_module
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from sortedcontainers import SortedList

from appliance.engine.changes import BatcherPut, Mail, SettingPut, TaskRemoved, Transition, WorkerRemoved
from appliance.engine.demand import Demands, Items, ResourceName, Usage, checked_resources
from appliance.engine.model import (
    BATCH_RUNNING,
    CREATED,
    DISABLED,
    DONE,
    FAILED,
    MARK_BLOCKING,
    MARK_DONE,
    PENDING,
    RUNNING,
    STATE,
    RetryPolicy,
    Task,
    Worker,
    to_json,
)
from appliance.engine.ready import ReadyIndex, ReadyKey
from appliance.engine.settings import Settings
from appliance.engine.workersets import WorkerSet, WorkerSets

NUMBERS_BLOCK = 10_000  # creation numbers are reserved in the log in blocks of this size


class State:
    """Tasks, workers and their indexes. The classes of RPC methods build on it."""

    def __init__(
        self,
        settings: Settings,
        *,
        resources: Mapping[str, float] | None = None,
        clock: Callable[[], float],
        random: random_module.Random | None = None,
    ) -> None:
        self.settings = settings
        self._clock = clock
        self._random = random or random_module.Random(0)  # noqa: S311 - jitter and ids, not secrets
        self._default_policy = RetryPolicy(settings.retry_count, settings.disable_hard_timeout, settings.disable_window)
        self.tasks: dict[str, Task] = {}
        self.workers: dict[str, Worker] = {}
        self.by_status: dict[str, dict[int, Task]] = {}
        self.resources: dict[str, float] = checked_resources("resources", resources)
        self._limits: dict[ResourceName, float] = {
            ("namespace", name): limit for name, limit in settings.namespace_limits.items()
        }
        self.batchers: dict[
            str, dict[str, tuple[tuple[str, ...], float]]
        ] = {}  # worker id -> family -> arguments, size
        self.paused = False
        self._demands = Demands(settings.namespace_limits)
        self._teams = WorkerSets(stakes=False)
        self._stakes = WorkerSets(stakes=True)
        self._ready = ReadyIndex()
        self._usage = Usage()
        self._running: SortedList[ReadyKey] = SortedList()  # RUNNING, in the order of work
        self._running_on: dict[str, dict[int, Task]] = {}  # RUNNING, by worker id
        self._members: dict[str, dict[int, Task]] = {}  # BATCH_RUNNING, by batch id
        self._batched_on: dict[str, dict[int, Task]] = {}  # BATCH_RUNNING, by worker id
        self._missing: dict[str, set[Task]] = {}  # dependents of task ids that do not exist
        self._retries: list[tuple[float, int, Task]] = []  # heap of what to retry when
        self._removals: list[tuple[float, int, Task]] = []  # heap of what to remove when
        self._emptied: list[WorkerSet] = []  # sets of stakeholders that lost their last member
        self._unwanted: dict[int, Task] = {}  # no stakeholder, not yet marked for removal
        self._disabled: dict[int, Task] = {}  # disabled by the scheduler
        self._next_num = 1
        self._next_wid = 1
        self._numbers_reserved = 0
        self._dirty: dict[Task, int] = {}
        self._dirty_workers: dict[Worker, None] = {}
        self._dirty_settings: set[str] = set()
        self._dirty_resources: set[str] = set()
        self._gone: list[TaskRemoved | WorkerRemoved] = []
        self._dirty_batchers: dict[tuple[str, str], None] = {}
        self._mails: list[Mail] = []
        self._transitions: list[Transition] = []

    # -- numbers and records ------------------------------------------------------------------

    def _number(self) -> int:
        num = self._next_num
        self._next_num = num + 1
        if num >= self._numbers_reserved:
            self._reserve_numbers()
        return num

    def _reserve_numbers(self) -> None:
        self._numbers_reserved = max(self._next_num, self._next_wid) + NUMBERS_BLOCK
        self._dirty_settings.add("numbers")

    def _touched(self, task: Task, what: int = STATE) -> None:
        self._dirty[task] = self._dirty.get(task, 0) | what

    def _random_id(self) -> str:
        return f"{self._random.getrandbits(128):032x}"

    # -- workers ------------------------------------------------------------------------------

    def _worker(self, worker_id: str) -> Worker:
        """The worker of that id; made if it is not known."""
        worker = self.workers.get(worker_id)
        if worker is None:
            worker = self.workers[worker_id] = Worker(self._next_wid, worker_id, self._clock())
            self._next_wid += 1
            if worker.wid >= self._numbers_reserved:
                self._reserve_numbers()
            self._dirty_workers[worker] = None
        return worker

    def _heard_of(self, worker_id: str) -> Worker:
        worker = self._worker(worker_id)
        worker.last_active = self._clock()
        return worker

    # -- tasks in and out of the indexes --------------------------------------------------------

    def _held(self, task: Task) -> Items:
        """What a RUNNING task holds."""
        if task.resources_running is None:
            return task.demand.items
        limits = tuple(item for item in task.demand.items if isinstance(item[0], tuple))
        return (*task.resources_running.items(), *limits)

    def _leave(self, task: Task) -> None:
        """Take a task out of the indexes, so that it can be changed."""
        task.out = True
        team, status = task.team, task.status
        if status == PENDING:
            team.pending -= 1
            if not task.blocked:
                team.waiting -= 1
            if task.demand.items:
                team.heavy -= 1
            self._ready.discard(task)
        elif status == FAILED:
            team.waiting -= 1
        elif status == RUNNING:
            del team.running[task.num]
            self._running.remove(task.ready_key)
            task.ready_key = None
            self._usage.remove(self._held(task))
            _drop(self._running_on, task.worker_running, task)
        elif status == BATCH_RUNNING:
            _drop(self._members, task.batch_id, task)
            _drop(self._batched_on, task.worker_running, task)
        elif status == DISABLED:
            self._disabled.pop(task.num, None)

    def _enter(self, task: Task) -> None:  # noqa: C901 - one branch for each status
        """Put a task into the indexes, and tell its dependents if it became DONE or blocking, or ceased to be."""
        team, status = task.team, task.status
        task.out = False
        mark = 0
        if status == PENDING:
            team.pending += 1
            if not task.blocked:
                team.waiting += 1
            else:
                mark = MARK_BLOCKING
            if task.demand.items:
                team.heavy += 1
            if not task.unmet:
                self._ready.add(task)
        elif status == DONE:
            mark = MARK_DONE
        elif status == FAILED:
            team.waiting += 1
        elif status == RUNNING:
            team.running[task.num] = task
            task.ready_key = (-task.priority, task.added_at, task.num, task)
            self._running.add(task.ready_key)
            self._usage.add(self._held(task))
            _keep(self._running_on, task.worker_running, task)
        elif status == BATCH_RUNNING:
            _keep(self._members, task.batch_id, task)
            _keep(self._batched_on, task.worker_running, task)
        elif status == DISABLED:
            mark = MARK_BLOCKING
            if task.disabled_at is not None:
                self._disabled[task.num] = task
        if mark != task.mark:
            self._tell_dependents(task, mark)

    def _tell_dependents(self, task: Task, mark: int) -> None:
        told = [(task, mark)]
        while told:
            task, mark = told.pop()
            before, task.mark = task.mark, mark
            unmet = ((before & MARK_DONE) - (mark & MARK_DONE)) // MARK_DONE
            blocked = ((mark & MARK_BLOCKING) - (before & MARK_BLOCKING)) // MARK_BLOCKING
            for dependent in dependents_of(task):
                self._adjust(dependent, unmet, blocked, told)

    def _adjust(self, task: Task, unmet: int, blocked: int, told: list[tuple[Task, int]]) -> None:
        """A dependency changed its mark. `told` collects those whose own mark changes by it."""
        pending = task.status == PENDING and not task.out
        if blocked:
            was = task.blocked
            task.blocked = was + blocked
            if pending and bool(was) != bool(task.blocked):
                task.team.waiting += 1 if was else -1
                told.append((task, 0 if was else MARK_BLOCKING))
        if unmet:
            task.unmet += unmet
            if pending:
                if not task.unmet:
                    self._ready.add(task)
                else:
                    self._ready.discard(task)

    # -- dependencies -----------------------------------------------------------------------------

    def _set_deps(self, task: Task, deps: Iterable[str]) -> None:
        """Replace a task's dependencies; it must be out of the indexes."""
        wanted = dict.fromkeys(deps)
        for dep_id in task.deps:
            if dep_id not in wanted:
                self._unlink(task, dep_id)
        had = set(task.deps)
        kept = []
        for dep_id in wanted:
            dep = self.tasks.get(dep_id)
            kept.append(dep_id if dep is None else dep.id)
            if dep_id not in had:
                self._link(task, dep_id, dep)
        task.deps = tuple(kept)
        task.settled = None

    def _link(self, task: Task, dep_id: str, dep: Task | None) -> None:
        if dep is task:  # waits for itself: never met
            task.unmet += 1
            return
        if dep is None:
            self._missing.setdefault(dep_id, set()).add(task)
            task.unmet += 1
            return
        if dep.dependents is None:
            dep.dependents = task
        elif isinstance(dep.dependents, Task):
            dep.dependents = {dep.dependents, task}
        else:
            dep.dependents.add(task)
        task.unmet += not dep.mark & MARK_DONE
        task.blocked += bool(dep.mark & MARK_BLOCKING)

    def _unlink(self, task: Task, dep_id: str) -> None:
        dep = self.tasks.get(dep_id)
        if dep is task:
            task.unmet -= 1
            return
        if dep is None:
            waiting = self._missing.get(dep_id)
            if waiting is not None:
                waiting.discard(task)
                if not waiting:
                    del self._missing[dep_id]
            task.unmet -= 1
            return
        if dep.dependents is task:
            dep.dependents = None
        elif isinstance(dep.dependents, set):
            dep.dependents.discard(task)
        task.unmet -= not dep.mark & MARK_DONE
        task.blocked -= bool(dep.mark & MARK_BLOCKING)

    # -- creation and removal ---------------------------------------------------------------------

    def _create(self, task_id: str, status: str) -> Task:
        """A new task, out of the indexes. Whoever waited for its id waits for it now."""
        task = Task(
            self._number(),
            task_id,
            status,
            self._clock(),
            self._demands.nothing,
            self._teams.nobody,
            self._default_policy,
        )
        task.stakes = self._stakes.nobody
        self.tasks[task_id] = task
        self.by_status.setdefault(status, {})[task.num] = task
        waiting = self._missing.pop(task_id, None)
        if waiting:
            task.dependents = waiting
            for dependent in waiting:
                dependent.settled = None
        self._unwanted[task.num] = task
        self._dirty[task] = CREATED
        self._transitions.append(Transition("", "", "", status))
        return task

    def _remove(self, task: Task) -> None:
        """Forget a task. Whoever depends on it waits for its id."""
        self._leave(task)
        if task.mark:
            self._tell_dependents(task, 0)
        waiting = set(dependents_of(task))
        waiting.discard(task)
        for dep_id in task.deps:
            self._unlink(task, dep_id)
        self._teams.leave(task, task.team)
        self._stakes.leave(task, task.stakes)
        del self.tasks[task.id]
        del self.by_status[task.status][task.num]
        if waiting:
            self._missing[task.id] = waiting
            for dependent in waiting:
                dependent.settled = None
        self._unwanted.pop(task.num, None)
        self._disabled.pop(task.num, None)
        if not self._dirty.pop(task, 0) & CREATED:
            self._gone.append(TaskRemoved(task.num, task.id))
        self._transitions.append(Transition(task.family, task.namespace, task.status, ""))

    def _want(self, task: Task, worker: Worker) -> None:
        """Make `worker` a stakeholder of a task."""
        if worker in task.stakes.members:
            return
        new = self._stakes.of([*task.stakes.members, worker])
        self._stakes.join(task, task.stakes, new)
        task.stakes = new
        self._unwanted.pop(task.num, None)
        self._touched(task)

    def batch_members(self, batch_id: str | None) -> list[Task]:
        """The BATCH_RUNNING tasks of a batch, oldest first."""
        members = self._members.get(batch_id) if batch_id is not None else None
        return [members[num] for num in sorted(members)] if members else []

    # -- what a take hands over besides tasks and workers -------------------------------------------

    def _setting(self, name: str) -> SettingPut:
        if name == "numbers":
            return SettingPut(name, to_json(self._numbers_reserved))
        return SettingPut(name, to_json(self.paused))

    def _batcher(self, worker_id: str, family: str) -> BatcherPut:
        arguments, size = self.batchers[worker_id][family]
        return BatcherPut(worker_id, family, to_json(list(arguments)), to_json(size))

    @property
    def capacity(self) -> Mapping[ResourceName, float]:
        """Totals of resources and of namespaces' limits."""
        return {**self.resources, **self._limits} if self._limits else self.resources  # type: ignore[return-value,dict-item]


def dependents_of(task: Task) -> Iterator[Task]:
    """The tasks that depend on `task`."""
    if task.dependents is None:
        return iter(())
    if isinstance(task.dependents, Task):
        return iter((task.dependents,))
    return iter(list(task.dependents))


def _keep(index: dict[str, dict[int, Task]], key: str | None, task: Task) -> None:
    if key is not None:
        index.setdefault(key, {})[task.num] = task


def _drop(index: dict[str, dict[int, Task]], key: str | None, task: Task) -> None:
    if key is None:
        return
    held: dict[int, Any] = index[key]
    del held[task.num]
    if not held:
        del index[key]
