"""The order of work: tasks that could run now, ready to be taken from the front.

Luigi's order is (priority, oldest first). Ready tasks with the same workers, the same demand, the same module and the
same `runnable` flag behave alike in every decision, so they form one group, kept sorted; who looks for work looks
at the heads of the groups only. Who takes tasks of some families only looks at the heads of those: the groups keep
their tasks by family too, from the first time that somebody asks for that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sortedcontainers import SortedList

if TYPE_CHECKING:
    from luigi_ha.appliance.engine.demand import Demand
    from luigi_ha.appliance.engine.model import Task
    from luigi_ha.appliance.engine.workersets import WorkerSet

ReadyKey = tuple[float, float, int, Any]  # (-priority, added_at, num, task): smallest first


class ReadyGroup:
    """Ready tasks that behave alike, in the order of work."""

    __slots__ = ("demand", "families", "module", "runnable", "tasks", "team")

    def __init__(self, team: WorkerSet, demand: Demand, runnable: bool, module: str | None) -> None:
        self.team = team
        self.demand = demand
        self.runnable = runnable
        self.module = module
        self.tasks: SortedList[ReadyKey] = SortedList()
        self.families: dict[str, SortedList[ReadyKey]] | None = None  # the same tasks; None: nobody has asked yet

    def split(self) -> dict[str, SortedList[ReadyKey]]:
        """Its tasks by family."""
        if self.families is None:
            sorted_keys: dict[str, list[ReadyKey]] = {}
            for key in self.tasks:
                sorted_keys.setdefault(key[3].family, []).append(key)
            self.families = {family: SortedList(keys) for family, keys in sorted_keys.items()}
        return self.families


class BatchPool:
    """Ready batchable tasks of one family, by the parameters that a batch must have in common."""

    __slots__ = ("batched_args", "pools")

    def __init__(self, batched_args: tuple[str, ...]) -> None:
        self.batched_args = frozenset(batched_args)
        self.pools: dict[tuple[str, Demand], SortedList[ReadyKey]] = {}

    def key_of(self, task: Task) -> tuple[str, Demand]:
        """Equal for tasks that may share a batch."""
        common = {name: value for name, value in task.all_params().items() if name not in self.batched_args}
        return json.dumps(common, sort_keys=True), task.demand


class ReadyIndex:
    """All ready tasks."""

    def __init__(self) -> None:
        self.groups: dict[ReadyGroup, None] = {}  # those that are not empty
        self._batchers: dict[str, dict[tuple[str, ...], BatchPool]] = {}  # by family and batched arguments

    def add(self, task: Task) -> None:
        """Enter a task that is PENDING and has no unmet dependency."""
        which = (task.demand, task.runnable, task.module)
        group = task.team.groups.get(which)
        if group is None:
            group = task.team.groups[which] = ReadyGroup(task.team, *which)
            self.groups[group] = None
        key = task.ready_key = (-task.priority, task.added_at, task.num, task)
        task.ready_group = group
        group.tasks.add(key)
        if group.families is not None:
            family = group.families.get(task.family)
            if family is None:
                family = group.families[task.family] = SortedList()
            family.add(key)
        if task.batchable and task.family in self._batchers:
            self._pool(task, key)

    def discard(self, task: Task) -> None:
        """Take a task out, if it is in."""
        key, group = task.ready_key, task.ready_group
        if key is None or group is None:
            return
        group.tasks.remove(key)
        if group.families is not None:
            family = group.families[task.family]
            family.remove(key)
            if not family:
                del group.families[task.family]
        if not group.tasks:
            del self.groups[group]
            del group.team.groups[group.demand, group.runnable, group.module]
        for pools, which in task.batch_keys:
            pool = pools[which]
            pool.remove(key)
            if not pool:
                del pools[which]
        task.batch_keys = ()
        task.ready_key = task.ready_group = None

    def batchers_of(self, family: str, batched_args: tuple[str, ...]) -> int:
        """Over how many other sets of parameters a family is batched; 0 if it is over these."""
        known = self._batchers.get(family, {})
        return 0 if batched_args in known else len(known)

    def learn_batcher(self, family: str, batched_args: tuple[str, ...], ready: Iterator[Task]) -> None:
        """Keep batchable tasks of `family` by their other parameters; `ready` are the family's tasks so far."""
        known = self._batchers.setdefault(family, {})
        if batched_args in known:
            return
        pool = known[batched_args] = BatchPool(batched_args)
        for task in ready:
            if task.ready_key is not None and task.batchable:
                self._enter(pool, task, task.ready_key)

    def mates(self, task: Task, batched_args: tuple[str, ...], after: ReadyKey) -> Iterator[Task]:
        """Ready tasks behind `after` in the order of work that may share a batch with `task`."""
        pool = self._batchers[task.family][batched_args]
        tasks = pool.pools.get(pool.key_of(task))
        if tasks is None:
            return
        for key in tasks.irange(after, inclusive=(False, False)):
            yield key[3]

    def _pool(self, task: Task, key: ReadyKey) -> None:
        for pool in self._batchers[task.family].values():
            self._enter(pool, task, key)

    def _enter(self, pool: BatchPool, task: Task, key: ReadyKey) -> None:
        which = pool.key_of(task)
        tasks = pool.pools.get(which)
        if tasks is None:
            tasks = pool.pools[which] = SortedList()
        tasks.add(key)
        task.batch_keys = (*task.batch_keys, (pool.pools, which))
