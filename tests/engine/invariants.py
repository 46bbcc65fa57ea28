"""What must hold between any two calls, computed the slow way and compared with the indexes."""

from collections import Counter
from typing import Any

from luigi_ha.appliance.engine import Scheduler
from luigi_ha.appliance.engine.links import dependents_of
from luigi_ha.appliance.engine.model import MARK_BLOCKING, MARK_DONE, Task
from luigi_ha.appliance.engine.submissions import SUBMISSIONS


def check(s: Scheduler) -> None:
    """Raise AssertionError where an index differs from what the tasks say."""
    assert s._changing == 0, "a task was left out of the indexes"
    _check_statuses(s)
    _check_edges(s)
    _check_ready(s)
    _check_teams(s)
    _check_usage(s)


def _check_statuses(s: Scheduler) -> None:
    for task in s.tasks.values():
        assert not task.out, task
        assert s.by_status[task.status][task.num] is task
    assert sum(s.counts().values()) == len(s.tasks)
    counted: dict[str, Counter[str]] = {}
    for task in s.tasks.values():
        assert task.namespace == task.family.rpartition(".")[0]
        counted.setdefault(task.namespace, Counter())[task.status] += 1
    assert s._namespaces == counted
    assert list(s._order.after(0, 1 << 30)) == sorted(s.tasks.values(), key=lambda task: task.num)


def _check_edges(s: Scheduler) -> None:
    for task in s.tasks.values():
        for dependent in dependents_of(task):
            assert s.tasks.get(dependent.id) is dependent
            assert task.id in dependent.deps
        deps = [s.tasks.get(dep_id) for dep_id in task.deps]
        # A task that depends on itself waits for ever, and is not told of its own marks.
        assert task.unmet == sum(1 for dep in deps if dep is None or dep is task or dep.status != "DONE"), task
        others = [dep for dep in deps if dep is not None and dep is not task]
        assert task.blocked == sum(1 for dep in others if dep.mark & MARK_BLOCKING), task
        assert bool(task.mark & MARK_DONE) == (task.status == "DONE")
        blocking = task.status == "DISABLED" or (task.status == "PENDING" and task.blocked > 0)
        assert bool(task.mark & MARK_BLOCKING) == blocking
        for dep_id in task.deps:
            if dep_id not in s.tasks:
                assert task in s._missing[dep_id]


def _check_ready(s: Scheduler) -> None:
    ready = {key[3] for group in s._ready.groups for key in group.tasks}
    assert ready == {task for task in s.tasks.values() if task.status == "PENDING" and not task.unmet}
    for group in s._ready.groups:
        assert list(group.tasks) == sorted(group.tasks)
        for key in group.tasks:
            task: Task = key[3]
            assert task.ready_group is group
            assert (task.team, task.demand, task.runnable) == (group.team, group.demand, group.runnable)
            assert task.module == group.module
            assert key[:3] == (-task.priority, task.added_at, task.num)
        if group.families is not None:
            families: dict[str, list[Any]] = {}
            for key in group.tasks:
                families.setdefault(key[3].family, []).append(key)
            assert {name: list(keys) for name, keys in group.families.items()} == families
    assert [key[3] for key in s._running] == sorted(
        s.by_status.get("RUNNING", {}).values(), key=lambda task: (-task.priority, task.added_at, task.num)
    )


def _check_teams(s: Scheduler) -> None:
    for worker in s.workers.values():
        mine = [task for task in s.tasks.values() if worker in task.team.members]
        assert sum(team.pending for team in worker.teams) == sum(task.status == "PENDING" for task in mine)
        waiting = [t for t in mine if t.status == "FAILED" or (t.status == "PENDING" and not t.blocked)]
        assert sum(team.waiting for team in worker.teams) == len(waiting)
        heavy = [task for task in mine if task.status == "PENDING" and task.demand.items]
        assert sum(team.heavy for team in worker.teams) == len(heavy)
        running = {task.id for team in worker.teams for task in team.running.values()}
        assert running == {task.id for task in mine if task.status == "RUNNING"}
    for task in s.tasks.values():
        for worker in (*task.team.members, *task.stakes.members):
            known = s._submissions if worker.id == SUBMISSIONS else s.workers.get(worker.id)
            assert known is worker, (task, worker.id)
        assert not (s.is_held(task) and (task.status == "DONE" or task.cancelled is not None)), task
    assert SUBMISSIONS not in s.workers


def _check_usage(s: Scheduler) -> None:
    used: dict[Any, float] = {}
    for task in s.by_status.get("RUNNING", {}).values():
        for name, amount in s._held(task):
            used[name] = used.get(name, 0) + amount
    assert {name: round(amount, 6) for name, amount in used.items()} == {
        name: round(amount, 6) for name, amount in s._usage.amounts.items()
    }
