"""Dependencies, in both directions.

A task counts its dependencies that are not DONE (`unmet`) and those that are disabled or wait for a disabled one
(`blocked`), by the `mark` each of them last told. Dependencies on ids that do not exist (yet, or any more) are kept
by id. A task that depends on itself waits for ever.
"""

from __future__ import annotations

from collections.abc import Iterator

from luigi_ha.appliance.engine.model import (
    MARK_BLOCKING,
    MARK_DONE,
    Task,
)
from luigi_ha.appliance.engine.state import State


class Links(State):
    """Edges between tasks."""

    def _set_deps(self, task: Task, deps: tuple[str, ...]) -> None:
        """Replace a task's dependencies; it must be out of the indexes."""
        wanted = deps if len(deps) < 2 else dict.fromkeys(deps)
        for dep_id in task.deps:
            if dep_id not in wanted:
                self._unlink(task, dep_id)
        had = task.deps and set(task.deps)
        kept = []
        for dep_id in wanted:
            dep = self.tasks.get(dep_id)
            kept.append(dep_id if dep is None else dep.id)
            if dep_id not in had:
                self._link(task, dep_id, dep)
        task.deps = tuple(kept)
        task.settled = None

    def _link_more(self, task: Task, deps: list[str]) -> None:
        """Add dependencies that a task does not have yet; it must be out of the indexes."""
        kept = []
        for dep_id in deps:
            dep = self.tasks.get(dep_id)
            kept.append(dep_id if dep is None else dep.id)
            self._link(task, dep_id, dep)
        task.deps = (*task.deps, *kept)
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


def dependents_of(task: Task) -> Iterator[Task]:
    """The tasks that depend on `task`."""
    if task.dependents is None:
        return iter(())
    if isinstance(task.dependents, Task):
        return iter((task.dependents,))
    return iter(list(task.dependents))
