"""How a task's status changes: Luigi's rules, in one place.

`_set_status` works on a task that is out of the indexes; `_transition` takes it out and puts it back.
A status reported for the head of a batch is given to its members.
"""

import heapq

from luigi_ha.appliance.engine.changes import Mail, Transition
from luigi_ha.appliance.engine.indexes import AT_ONCE
from luigi_ha.appliance.engine.model import BATCH_RUNNING, DETAIL, DISABLED, DONE, FAILED, PENDING, RUNNING, Task
from luigi_ha.appliance.engine.settings import after
from luigi_ha.appliance.engine.submissions import Submissions


class Lifecycle(Submissions):
    """Transitions, failures, retries."""

    def _transition(self, task: Task, status: str) -> None:
        self._leave(task)
        self._set_status(task, status)
        self._enter(task)

    def _set_status(self, task: Task, status: str) -> None:  # noqa: C901, PLR0912 - Luigi's rules in Luigi's order
        before = task.status
        if status == DISABLED and before in (RUNNING, BATCH_RUNNING):
            return
        remove_on_failure = task.batch_id is not None and not task.batchable
        if before == DISABLED:
            if status == DONE:
                self._forget_failures(task)
                task.disabled_at = None
            elif task.disabled_at is not None and status != DISABLED:
                return  # workers cannot override what the scheduler disabled
        if before == RUNNING and task.batch_id is not None and status != RUNNING:
            self._set_members(task.batch_id, status)
            task.batch_id = None
            self._touched(task)
        if task.cancelled is not None and before in (RUNNING, BATCH_RUNNING) and status in (FAILED, PENDING):
            status = DISABLED  # its run has ended, and there shall be no other
        elif status == FAILED and before != DISABLED:
            self._add_failure(task)
            if self.has_excessive_failures(task):
                task.disabled_at = self._clock()
                status = DISABLED
                self._mail_disabled(task)
        elif status == DISABLED and task.disabled_at is not None:
            task.disabled_at = None
            self._touched(task)
        if status != before:
            self._move(task, status)
        if status == FAILED:
            self._retry_later(task)
            if remove_on_failure:
                self._remove_at(task, self._clock())
        if status == DONE and task.failed_in_row:
            task.failed_in_row = 0
            self._touched(task)

    def _set_members(self, batch_id: str, status: str) -> None:
        for member in self.batch_members(batch_id):
            self._leave(member)
            self._set_status(member, status)
            member.batch_id = None
            member.run_reported = status != RUNNING
            self._touched(member)
            self._enter(member)

    def _move(self, task: Task, status: str) -> None:
        del self.by_status[task.status][task.num]
        self.by_status.setdefault(status, {})[task.num] = task
        self._transitions.append(Transition(task.family, task.namespace, task.status, status))
        self._count(task.namespace, task.status, status)
        task.status = status
        task.updated_at = self._clock()
        self._touched(task)
        if status == DONE:
            self._let_go(task)
        if task.cancelled is not None and status not in (DISABLED, RUNNING, BATCH_RUNNING):
            task.cancelled = None
        if not task.stakes.members and task.remove_at is None:
            self._unwanted[task.num] = task

    # -- priorities -------------------------------------------------------------------------------

    def _raise_dependencies(self, task: Task) -> None:
        """Give a task's priority to all that it waits for; at most AT_ONCE of them now, the rest by `settle`."""
        budget = AT_ONCE
        below = [task]
        while below:
            raised = self._raise_those_of(below.pop())
            budget -= len(raised)
            below += raised
            if budget < 0:
                self._unraised += below
                return

    def _raise_those_of(self, task: Task) -> list[Task]:
        """Raise what a task directly depends on; those that were lower."""
        tasks, priority = self.tasks, task.priority
        raised = []
        for dep_id in task.deps:
            dep = tasks.get(dep_id)
            if dep is None or dep.priority >= priority or dep is task:
                continue
            self._leave(dep)
            dep.priority = priority
            self._enter(dep)
            self._touched(dep)
            raised.append(dep)
        return raised

    # -- what is left of large changes ---------------------------------------------------------------

    @property
    def unsettled(self) -> bool:
        """Whether a change has not reached all tasks that it concerns."""
        return bool(self._untold or self._unraised)

    @property
    def raising(self) -> bool:
        """Whether a priority has not reached all that it is to reach: what is left is still to be stored."""
        return bool(self._unraised)

    def settle(self, limit: int) -> None:
        """Let large changes reach at most about `limit` tasks more.

        A task with 300,000 dependents that becomes DONE makes ready a few thousand of them at once, and the others in
        portions, between other calls. Until then they wait; nothing runs too early.
        """
        limit = self._tell_some(limit)
        while self._unraised and limit > 0:
            raised = self._raise_those_of(self._unraised.popleft())
            self._unraised += raised
            limit -= 1 + len(raised)

    # -- failures ---------------------------------------------------------------------------------

    def _add_failure(self, task: Task) -> None:
        now = self._clock()
        if not task.first_failure_at:
            task.first_failure_at = now
        task.failures = (*self.recent_failures(task), now)
        task.failed_in_row += 1
        self._touched(task)

    def recent_failures(self, task: Task) -> tuple[float, ...]:
        """Times of the failures inside the task's disable window."""
        least = self._clock() - task.retry_policy.disable_window
        if not task.failures or task.failures[0] >= least:
            return task.failures
        return tuple(time for time in task.failures if time >= least)

    def has_excessive_failures(self, task: Task) -> bool:
        """Whether the task's retry policy says to disable it."""
        policy = task.retry_policy
        if task.first_failure_at is not None and self._clock() >= task.first_failure_at + policy.disable_hard_timeout:
            return True
        return len(self.recent_failures(task)) >= policy.retry_count

    def _forget_failures(self, task: Task) -> None:
        self._touched(task)
        task.failures = ()
        task.first_failure_at = None
        task.failed_in_row = 0

    def _re_enable(self, task: Task) -> None:
        """A scheduler-disabled task becomes FAILED, with a clean record, to be retried."""
        self._leave(task)
        task.disabled_at = None
        self._set_status(task, FAILED)
        self._forget_failures(task)
        self._enter(task)

    def _retry_later(self, task: Task) -> None:
        wait = self.settings.retry_wait(task.failed_in_row, self._random.random())
        task.retry_at = after(self._clock(), wait)
        self._touched(task)
        self._arm(task)

    def _arm(self, task: Task) -> None:
        """Put a FAILED task's retry on the heap; entries that no longer hold are skipped when they come up."""
        if self.settings.retries and task.retry_at is not None:
            heapq.heappush(self._retries, (task.retry_at, task.num, task))

    def _remove_at(self, task: Task, when: float) -> None:
        task.remove_at = when
        self._unwanted.pop(task.num, None)
        heapq.heappush(self._removals, (when, task.num, task))

    def _mail_disabled(self, task: Task) -> None:
        if self.settings.batch_emails:
            return
        policy = task.retry_policy
        self._mails.append(
            Mail(
                None,
                f"Luigi Scheduler: DISABLED {task.id} due to excessive failures",
                f"{task.id} failed {policy.retry_count} times in the last {policy.disable_window} seconds, "
                f"so it is being disabled for {self.settings.disable_persist} seconds",
            )
        )

    # -- runs -------------------------------------------------------------------------------------

    def _start_run(self, task: Task, worker_id: str) -> None:
        """Give a task that is out of the indexes a new run on a worker."""
        task.worker_running = worker_id
        task.time_running = self._clock()
        task.run_id = self._random_id()
        task.attempt += 1
        task.run_reported = False
        self._touched(task)

    def _is_repeated_failure(self, task: Task, worker_id: str, status: str) -> bool:
        """A FAILED report for a run whose failure is already counted: mostly the same call, sent after a lost reply.

        Workers explain every failed run. A report without an explanation is not of a run, and counts, as in Luigi.
        """
        return (
            status == FAILED
            and task.run_reported
            and task.failed_in_row > 0
            and task.worker_running == worker_id
            and task.status in (FAILED, PENDING, DISABLED)
        )

    def _fail_if_worker_gone(self, task: Task, assistants: set[str]) -> None:
        """A worker that was pruned took its running task with it."""
        worker_id = task.worker_running
        if task.status not in (RUNNING, BATCH_RUNNING) or not worker_id or worker_id in assistants:
            return
        if any(worker.id == worker_id for worker in task.stakes.members):
            return
        self._leave(task)
        task.worker_running = None
        self._set_status(task, FAILED)
        if task.retry_at is None:
            self._retry_later(task)
        self._enter(task)

    def _retry(self, task: Task) -> None:
        if task.status == FAILED:
            self._transition(task, PENDING)

    def _copy_to_members(self, task: Task, field: str) -> None:
        """A batch's head speaks for its members."""
        for member in self.batch_members(task.batch_id):
            setattr(member, field, getattr(task, field))
            self._touched(member, DETAIL)
