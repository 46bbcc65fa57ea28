"""What time does to the state: silent workers are forgotten, their runs fail, failures are retried, disabled tasks
come back, and tasks that nobody wants are removed.

Everything is driven by heaps and small sets of candidates, so a prune costs what there is to do. With
`settings.prune_limit` it does at most so much at once; `prune_pending` says whether some is left.
"""

import heapq
import sys

from luigi_ha.appliance.engine.answers import Answers
from luigi_ha.appliance.engine.changes import WorkerRemoved
from luigi_ha.appliance.engine.lifecycle import Lifecycle
from luigi_ha.appliance.engine.mailbox import MailboxCalls
from luigi_ha.appliance.engine.model import BATCH_RUNNING, DONE, FAILED, RUNNING, Task, Worker
from luigi_ha.appliance.engine.settings import after
from luigi_ha.appliance.engine.workersets import WorkerSet

REST = 2.0  # s after a failure in which only a prune retries, however short retry_delay is: as Luigi's own tests expect
HEAD_REMOVED = 1.0  # s after its failure at most, for which the head of a batch is marked
LOOKS = 20  # tasks looked at for whether another is awaited, which cost as much as one removed
AWAITED_AGAIN = 60.0  # s, at least, until a task that a submitted one waits for is looked at again


class Pruning(MailboxCalls, Answers, Lifecycle):
    """The `prune` RPC; the views call it too, as in Luigi."""

    def prune(self) -> None:
        """Apply what is due by now; nothing in an engine that mirrors another's work."""
        if self.mirrors:
            return
        self._forget_answers()
        budget = self._prune_workers(self.settings.prune_limit or sys.maxsize)
        self._fail_runs_of_gone_workers()
        budget = self._mark_unwanted(budget)
        self._re_enable_disabled()
        budget = self._retry_failed(budget)
        self._remove_marked(budget)
        if self.mailbox is not None:
            self.mailbox.update()

    def retry_failed(self) -> None:
        """Retry what is due by now, at most as much as a prune does at once."""
        budget = self.settings.prune_limit or sys.maxsize
        while budget > 0 and not self.mirrors and self.retry_due:
            budget -= 1
            self._retry_failed(1)

    @property
    def retry_due(self) -> bool:
        """Whether a failed task is to be retried now, without a prune. Costs nothing."""
        if not self._retries:
            return False
        when, _num, task = self._retries[0]
        return max(when, task.updated_at + REST) < self._clock()

    @property
    def prune_pending(self) -> bool:
        """Whether the last prune stopped at its limit."""
        now = self._clock()
        return bool(
            self._emptied
            or self._bequests
            or (self._removals and self._removals[0][0] <= now)
            or (self._retries and self._retries[0][0] < now)
        )

    # -- workers ----------------------------------------------------------------------------------------

    def _prune_workers(self, budget: int) -> int:
        now = self._clock()
        delay = self.settings.worker_disconnect_delay
        for worker in list(self.workers.values()):
            if worker.last_active + delay >= now or worker.grace_until >= now:
                self._bequests.pop(worker, None)  # it is back
                continue
            if worker.submits:
                budget = self._pass_on(worker, budget)
                if worker in self._bequests:
                    break
            if worker.draining:
                self._set_drained(worker.id, True)  # an earlier version did not keep ids
            self._forget_worker(worker)
        return budget

    def _forget_worker(self, worker: Worker) -> None:
        del self.workers[worker.id]
        self._teams.forget(worker)
        self._emptied += self._stakes.forget(worker)
        self._dirty_workers.pop(worker, None)
        self._gone.append(WorkerRemoved(worker.wid, worker.id))

    def _fail_runs_of_gone_workers(self) -> None:
        assistants = {worker.id for worker in self.workers.values() if worker.assistant}
        taken = [*self.by_status.get(RUNNING, {}).values(), *self.by_status.get(BATCH_RUNNING, {}).values()]
        for task in sorted(taken, key=lambda task: task.num):
            self._fail_if_worker_gone(task, assistants)

    # -- tasks --------------------------------------------------------------------------------------------

    def _mark_unwanted(self, budget: int) -> int:
        """Tasks that lost their last stakeholder are to be removed after `remove_delay`; running ones later."""
        when = after(self._clock(), self.settings.remove_delay)
        while self._emptied and budget > 0:
            budget = self._unwant_some(self._emptied[-1], budget)
            if not self._emptied[-1].tasks:
                self._emptied.pop()
        for task in list(self._unwanted.values()):
            if budget <= 0:
                break
            if task.stakes.members or task.remove_at is not None:
                del self._unwanted[task.num]
            elif task.status != RUNNING:
                budget -= 1
                self._remove_at(task, when)
        return budget

    def _unwant_some(self, emptied: WorkerSet, budget: int) -> int:
        tasks = emptied.tasks or {}
        for task in list(tasks.values())[:budget]:
            budget -= 1
            del tasks[task.num]
            task.stakes = self._stakes.nobody
            task.settled = None
            if task.remove_at is None:
                self._unwanted[task.num] = task
        return budget

    def _re_enable_disabled(self) -> None:
        now = self._clock()
        for task in list(self._disabled.values()):
            if task.disabled_at is not None and now - task.disabled_at > self.settings.disable_persist:
                self._re_enable(task)

    def _retry_failed(self, budget: int) -> int:
        now = self._clock()
        while self._retries and self._retries[0][0] < now and budget > 0:
            when, _num, task = heapq.heappop(self._retries)
            if task.retry_at == when and self._is_known(task):
                budget -= 1
                self._retry(task)
        return budget

    def _remove_marked(self, budget: int) -> None:
        now = self._clock()
        free: set[int] = set()
        kept: set[int] = set()
        while self._removals and self._removals[0][0] <= now and budget > 0:
            when, _num, task = heapq.heappop(self._removals)
            if task.remove_at == when and self._is_known(task):
                budget -= 1
                looked = len(free) + len(kept)
                awaited = self._is_awaited(task, free, kept)
                budget -= (len(free) + len(kept) - looked) // LOOKS
                if awaited:
                    self._remove_at(task, after(now, max(self.settings.remove_delay, AWAITED_AGAIN)))
                else:
                    self._remove(task, self._why_removed(task))

    def _why_removed(self, task: Task) -> str:
        """For the log, the history and who asks."""
        delay = f"{self.settings.remove_delay:g} s (remove_delay)"
        if task.cancelled is not None:
            because = f" ({task.cancelled})" if task.cancelled else ""
            return f"it was cancelled{because}, and nobody has wanted it for {delay}"
        if task.status == DONE:
            return f"it was done, and nobody has wanted it for {delay}"
        if task.status == FAILED and task.remove_at is not None and task.remove_at < task.updated_at + HEAD_REMOVED:
            return "it stood for a batch, and failed"
        silence = f"{self.settings.worker_disconnect_delay:g} s (worker_disconnect_delay)"
        return f"it was {task.status}, and no client that wanted it was heard of for {silence}, nor for {delay} more"

    def _is_known(self, task: Task) -> bool:
        return self.tasks.get(task.id) is task
