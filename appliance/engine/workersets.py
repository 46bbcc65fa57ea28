"""Sets of workers, shared by all tasks that have the same ones.

A hundred thousand tasks of one worker point to one object. What is asked per worker (how many tasks wait for
it, which run, which is next) is kept per set, so a task's transition costs the same however many workers want
it, and forgetting a worker costs the number of its sets, not of its tasks.

Two sets with equal members may exist after a worker left; they behave alike and cost nothing but themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luigi_ha.appliance.engine.demand import Demand
    from luigi_ha.appliance.engine.model import Task, Worker
    from luigi_ha.appliance.engine.ready import ReadyGroup


class WorkerSet:
    """Workers in the order in which they came, and what is counted of the tasks that share the set."""

    __slots__ = ("groups", "heavy", "key", "members", "pending", "running", "size", "tasks", "waiting")

    def __init__(self, members: list[Worker], *, enumerate_tasks: bool) -> None:
        self.members = members
        self.key = tuple(worker.wid for worker in members)
        self.size = 0  # tasks that point here
        self.pending = 0  # of them PENDING
        self.waiting = 0  # PENDING or FAILED, and not below a disabled task
        self.heavy = 0  # PENDING with a demand for resources
        self.running: dict[int, Task] = {}  # RUNNING, by number
        self.groups: dict[tuple[Demand, bool, str | None], ReadyGroup] = {}  # ready tasks that behave alike
        self.tasks: dict[int, Task] | None = {} if enumerate_tasks else None


class WorkerSets:
    """All sets of one kind: the teams that can run tasks, or the stakeholders that want them."""

    def __init__(self, *, stakes: bool) -> None:
        self._stakes = stakes
        self._sets: dict[tuple[int, ...], WorkerSet] = {}
        self.nobody = WorkerSet([], enumerate_tasks=False)

    def _sets_of(self, worker: Worker) -> dict[WorkerSet, None]:
        return worker.staked if self._stakes else worker.teams

    def of(self, members: list[Worker]) -> WorkerSet:
        """The set with exactly these members in this order."""
        if not members:
            return self.nobody
        key = tuple([worker.wid for worker in members])
        found = self._sets.get(key)
        if found is None:
            found = self._sets[key] = WorkerSet(members, enumerate_tasks=self._stakes)
            for worker in members:
                self._sets_of(worker)[found] = None
        return found

    def known(self, key: tuple[int, ...]) -> WorkerSet | None:
        """The set of exactly these workers, by their numbers, if there is one."""
        return self._sets.get(key)

    def join(self, task: Task, old: WorkerSet, new: WorkerSet) -> None:
        """Count `task` out of one set and into another."""
        if old is new:
            return
        self.leave(task, old)
        new.size += 1
        if new.tasks is not None:
            new.tasks[task.num] = task

    def leave(self, task: Task, old: WorkerSet) -> None:
        """Count `task` out of a set; a set without tasks is dropped."""
        if old is self.nobody:
            return
        old.size -= 1
        if old.tasks is not None:
            old.tasks.pop(task.num, None)
        if not old.size:
            self._drop(old)

    def forget(self, worker: Worker) -> list[WorkerSet]:
        """Take `worker` out of all its sets. Returns the sets that are now empty of workers."""
        mine = self._sets_of(worker)
        emptied = []
        for group in mine:
            if self._sets.get(group.key) is group:
                del self._sets[group.key]
            group.members = [member for member in group.members if member is not worker]
            group.key = tuple([member.wid for member in group.members])
            if not group.members:
                emptied.append(group)
            else:
                self._sets.setdefault(group.key, group)
        mine.clear()
        return emptied

    def _drop(self, group: WorkerSet) -> None:
        if self._sets.get(group.key) is group:
            del self._sets[group.key]
        for worker in group.members:
            self._sets_of(worker).pop(group, None)
