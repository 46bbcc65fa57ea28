"""The durable stakeholder: a task that was submitted stays until it is done or cancelled, whoever submitted it.

It is one internal worker that never grows silent and is never shown. It wants each submitted task until that is
finished; from then on the task ages out like any other, but not while a submitted task still waits for it.
"""

from typing import Final

from appliance.engine.indexes import Indexes
from appliance.engine.links import dependents_of
from appliance.engine.model import DISABLED, DONE, Task, Worker

SUBMISSIONS: Final = "@submissions"


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
        if not self.is_held(task):
            return
        others = self._stakes.of([worker for worker in task.stakes.members if worker is not self._submissions])
        self._stakes.join(task, task.stakes, others)
        task.stakes = others
        if not others.members and task.remove_at is None:
            self._unwanted[task.num] = task
        self._touched(task)

    def _is_awaited(self, task: Task) -> bool:
        """Whether a submitted task still needs this one."""
        if self._submissions is None:
            return False
        return any(self.is_held(dependent) for dependent in dependents_of(task))
