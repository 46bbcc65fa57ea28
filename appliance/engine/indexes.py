"""The indexes, kept true between any two calls.

Invariants, for every task that is *in* (between `_enter` and `_leave`):
* it is counted in its team and stands in the index of its status;
* it is in the ready index exactly if it is PENDING and no dependency is unmet;
* `unmet` and `blocked` count its dependencies by their `mark`, and its own `mark` is what its dependents counted, or
  will have counted once `settle` has told them.

A change takes the task out, alters it, and puts it back (`_leave` … `_enter`), so that no index has to know what
can change. Both cost O(log tasks), plus the dependents whose readiness the change decides.

In a cycle of dependencies the mark "below a disabled task" may outlive its cause; nothing in a cycle can run anyhow.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

from luigi_ha.appliance.engine.changes import TaskRemoved, Transition
from luigi_ha.appliance.engine.demand import Items
from luigi_ha.appliance.engine.links import Links, dependents_of
from luigi_ha.appliance.engine.model import (
    BATCH_RUNNING,
    CREATED,
    DISABLED,
    DONE,
    FAILED,
    MARK_BLOCKING,
    MARK_DONE,
    PENDING,
    RUNNING,
    Task,
    Worker,
    namespace_of,
)

AT_ONCE = 2_000  # dependents that one call tells of a change; those beyond are told in portions


class Untold(NamedTuple):
    """Tasks that count a dependency as it was. Differences add up in any order, so they may be told late."""

    dependents: Iterator[Task]
    unmet: int
    blocked: int


def _marked(task: Task, mark: int) -> Untold:
    """Give a task its mark; what its dependents have to be told."""
    before, task.mark = task.mark, mark
    unmet = ((before & MARK_DONE) - (mark & MARK_DONE)) // MARK_DONE
    blocked = ((mark & MARK_BLOCKING) - (before & MARK_BLOCKING)) // MARK_BLOCKING
    return Untold(dependents_of(task), unmet, blocked)


class Indexes(Links):
    """Tasks into and out of the indexes; their creation and removal."""

    def _held(self, task: Task) -> Items:
        """What a RUNNING task holds."""
        if task.resources_running is None:
            return task.demand.items
        limits = tuple(item for item in task.demand.items if isinstance(item[0], tuple))
        return (*task.resources_running.items(), *limits)

    def _leave(self, task: Task) -> None:
        """Take a task out of the indexes, so that it can be changed."""
        task.out = True
        self._changing += 1
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
        self._changing -= 1
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
        """Tell those that depend on `task` what it has become; at most AT_ONCE of them now, the rest by `settle`."""
        told = [(task, mark)]
        budget = AT_ONCE
        while told:
            task, mark = told.pop()
            many = len(task.dependents) if isinstance(task.dependents, set) else 1
            untold = _marked(task, mark)
            # Only what frees dependents may reach them late: else one of them could run too early.
            if many > budget and untold.unmet <= 0 and untold.blocked <= 0:
                self._untold.append(untold)
                continue
            budget -= many
            for dependent in untold.dependents:
                self._adjust(dependent, untold.unmet, untold.blocked, told)

    def _tell_some(self, limit: int) -> int:
        """Tell at most so many of those that were not told yet; how many more may be told now."""
        while self._untold and limit > 0:
            untold = self._untold[0]
            told: list[tuple[Task, int]] = []
            for dependent in islice(untold.dependents, limit):
                limit -= 1
                self._adjust(dependent, untold.unmet, untold.blocked, told)
            if limit > 0:
                self._untold.popleft()
            self._untold += [_marked(task, mark) for task, mark in told]
        return limit

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

    # -- creation and removal ---------------------------------------------------------------------

    def _create(self, task_id: str, status: str, family: str = "") -> Task:
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
        self._changing += 1
        task.stakes = self._stakes.nobody
        if family:
            task.family, task.namespace = family, namespace_of(family)
        self.tasks[task_id] = task
        self.by_status.setdefault(status, {})[task.num] = task
        self._order.add(task)
        self._count(task.namespace, "", status)
        waiting = self._missing.pop(task_id, None)
        if waiting:
            task.dependents = waiting
            for dependent in waiting:
                dependent.settled = None
        self._unwanted[task.num] = task
        self._dirty[task] = CREATED
        self._transitions.append(Transition(family, task.namespace, "", status))
        return task

    def _remove(self, task: Task, reason: str = "") -> None:
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
        self._order.remove(task)
        self._count(task.namespace, task.status, "")
        if waiting:
            self._missing[task.id] = waiting
            for dependent in waiting:
                dependent.settled = None
        self._unwanted.pop(task.num, None)
        self._disabled.pop(task.num, None)
        if not self._dirty.pop(task, 0) & CREATED:
            self._gone.append(TaskRemoved(task.num, task.id, reason, task.status))
        self._transitions.append(Transition(task.family, task.namespace, task.status, ""))
        self._changing -= 1

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
