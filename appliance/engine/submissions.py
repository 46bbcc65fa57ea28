"""The durable stakeholder: a task that was submitted stays until it is done or cancelled, whoever submitted it.

It is one internal worker that never grows silent and is never shown. It wants each submitted task until that is
finished; from then on the task ages out like any other, but not while a submitted task still waits for it.

Submitted is what was put by the REST API, and what a client has described that runs nothing itself
(`luigi --workers 0`). Such a client is a stakeholder of its own while it is heard of; when it grows silent, what it
wanted passes to ours, some tasks with each prune, and only then it is forgotten: whenever a scheduler dies in between,
the next one goes on.
"""

from typing import Final

from luigi_ha.appliance.engine.indexes import Indexes
from luigi_ha.appliance.engine.links import dependents_of
from luigi_ha.appliance.engine.model import DISABLED, DONE, UNKNOWN, Task, Worker

SUBMISSIONS: Final = "@submissions"
MOST_ABOVE: Final = 10_000  # tasks looked at, whether one of them is submitted


class Submissions(Indexes):
    """Holding tasks, and letting them go."""

    def _holder(self) -> Worker:
        """The stakeholder of submitted tasks; made when the first is submitted."""
        holder = self._submissions
        if holder is None:
            holder = self._submissions = self._new_worker(SUBMISSIONS)
        return holder

    def is_held(self, task: Task) -> bool:
        """Whether a submission keeps the task."""
        if self._is_ours(task):
            return True
        finished = task.status == DONE or task.cancelled is not None
        return not finished and any(worker.submits for worker in task.stakes.members)

    def _is_ours(self, task: Task) -> bool:
        return self._submissions is not None and self._submissions in task.stakes.members

    def _hold(self, task: Task) -> None:
        """Keep a task until it is finished."""
        if task.status == DONE or task.cancelled is not None or (task.status == DISABLED and task.disabled_at is None):
            return
        self._want(task, self._holder())
        if task.remove_at is not None:
            task.remove_at = None
            self._touched(task)

    def _hold_new(self, task: Task) -> None:
        """Keep a task that was created now."""
        holder = self._submissions or self._holder()
        alone = self._stakes.known((holder.wid,)) or self._stakes.of([holder])
        self._stakes.join(task, task.stakes, alone)
        task.stakes = alone
        del self._unwanted[task.num]

    def _let_go(self, task: Task) -> None:
        """Keep a task no longer."""
        if not self._is_ours(task):
            return
        others = self._stakes.of([worker for worker in task.stakes.members if worker is not self._submissions])
        self._stakes.join(task, task.stakes, others)
        task.stakes = others
        if not others.members and task.remove_at is None:
            self._unwanted[task.num] = task
        self._touched(task)

    def _pass_on(self, worker: Worker, budget: int) -> int:
        """Want what a client that has gone has submitted: at most so many tasks. What is left of the budget; with 0,
        there may be more."""
        waiting = self._bequests.get(worker)
        if waiting is None:
            tasks = [task for group in worker.staked if group.tasks for task in group.tasks.values()]
            waiting = self._bequests[worker] = iter(tasks)
        for task in waiting:
            described = task.status != UNKNOWN or bool(task.family)  # else it is kept by who waits for it
            if described and worker in task.stakes.members and self.tasks.get(task.id) is task:
                budget -= 1
                self._hold(task)
                if budget <= 0:
                    return 0
        del self._bequests[worker]
        return budget

    def _is_awaited(self, task: Task, free: set[int], kept: set[int]) -> bool:
        """Whether a submitted task still needs this one, at whatever distance. `free`: numbers of tasks that none
        needs, as was found out before; `kept`: of those that have too many above them to know. Both are added to."""
        if self._submissions is None:
            return False
        if task.num in kept:
            return True
        found, above = {task.num}, [task]
        while above and len(found) < MOST_ABOVE:
            for dependent in dependents_of(above.pop()):
                if dependent.num in free or dependent.num in found or dependent.status == DONE:
                    continue
                if dependent.num in kept or self.is_held(dependent):
                    return True
                found.add(dependent.num)
                above.append(dependent)
        if above:
            kept |= found
            return True  # too many to look at now: those at the top go first
        free |= found
        return False
