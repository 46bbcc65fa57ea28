"""Between the engine's objects and the records of `changes`: what a take hands over, and how it is taken back."""

import heapq
import json
import sys
from collections.abc import Iterable

from luigi_ha.appliance.engine.changes import (
    AnswerPut,
    AnswersForgotten,
    BatcherPut,
    BatcherRemoved,
    Change,
    Changes,
    ResourcePut,
    SettingPut,
    TaskDefinition,
    TaskPut,
    TaskRemoved,
    TaskState,
    WorkerPut,
    WorkerRemoved,
)
from luigi_ha.appliance.engine.mailbox import NEXT_SEND, BatchMailbox
from luigi_ha.appliance.engine.model import (
    FAILED,
    UNKNOWN,
    Task,
    Worker,
    shared,
    to_json,
)
from luigi_ha.appliance.engine.pruning import Pruning
from luigi_ha.appliance.engine.recording import policy_of, task_record, worker_record
from luigi_ha.appliance.engine.settings import after
from luigi_ha.appliance.engine.submissions import SUBMISSIONS
from luigi_ha.appliance.engine.worker_calls import WorkerCalls

_Rest = ResourcePut | BatcherPut | BatcherRemoved | SettingPut | AnswerPut | AnswersForgotten


class Records(WorkerCalls, Pruning):
    """Taking changes, and restoring from them."""

    def take_changes(self) -> Changes:
        """Everything that changed since the last take."""
        records: list[Change] = []
        if self._dirty_workers:
            records += [worker_record(worker) for worker in self._dirty_workers]
            self._dirty_workers = {}
        if self._dirty:
            records += [task_record(task, what) for task, what in self._dirty.items()]
            self._dirty = {}
        if self._gone:
            records += self._gone
            self._gone = []
        if self._dirty_settings or self._dirty_resources or self._dirty_batchers:
            self._take_rest(records)
        if self._new_answers:
            records += self._new_answers
            self._new_answers = []
        many = (len(self.tasks), len(self.workers), len(self.resources), len(self._answers))  # as `_sizes`: hot
        self._taken_sizes = (*many, self._next_num, self._next_wid)
        mails, transitions = self._mails, self._transitions
        if mails:
            self._mails = []
        if transitions:
            self._transitions = []
        return Changes(records, mails, transitions)

    def _take_rest(self, records: list[Change]) -> None:
        records += [self._mail_setting(name) or self._setting(name) for name in sorted(self._dirty_settings)]
        records += [ResourcePut(name, to_json(self.resources[name])) for name in sorted(self._dirty_resources)]
        records += [self._batcher(worker_id, family) for worker_id, family in self._dirty_batchers]
        self._dirty_settings = set()
        self._dirty_resources = set()
        self._dirty_batchers = {}

    # -- taking records back ------------------------------------------------------------------------------

    def restore(self, records: Iterable[Change]) -> None:
        """Apply records in order: all of them to an empty engine, or a tail to one that mirrors."""
        self._apply(records)
        while self.unsettled:
            self.settle(sys.maxsize)
        self._by_num = self._by_wid = None

    def follow(self, records: Iterable[Change]) -> None:
        """Apply a piece of the log's tail. From the first one until `started` this engine mirrors another's work: it
        decides nothing by itself, and a piece costs what it holds, however many tasks there are."""
        self.mirrors = True
        self._apply(records)
        for heap, field in ((self._retries, "retry_at"), (self._removals, "remove_at")):
            # Who mirrors takes nothing off these heaps: entries that no longer hold are thrown out here.
            if len(heap) > 2 * len(self.tasks) + 1000:
                heap[:] = {
                    (e[0], e[1]): e for e in heap if getattr(e[2], field) == e[0] and self._is_known(e[2])
                }.values()
                heapq.heapify(heap)

    def _apply(self, records: Iterable[Change]) -> None:
        if self._by_num is None or self._by_wid is None:
            self._by_num = {task.num: task for task in self.tasks.values()}
            self._by_wid = {worker.wid: worker for worker in self.workers.values()}
            if self._submissions is not None:
                self._by_wid[self._submissions.wid] = self._submissions
        by_num, by_wid = self._by_num, self._by_wid
        for record in records:
            if isinstance(record, TaskPut):
                self._restore_task(record, by_num, by_wid)
            elif isinstance(record, TaskRemoved):
                gone = by_num.pop(record.num, None)
                if gone is not None:
                    self._remove(gone)
            elif isinstance(record, WorkerPut):
                self._restore_worker(record, by_wid)
            elif isinstance(record, WorkerRemoved):
                worker = by_wid.pop(record.wid, None)
                if worker is not None:
                    self._forget_worker(worker)
            else:
                self._restore_rest(record)
        self._discard_changes()

    def _discard_changes(self) -> None:
        """What was read is stored already."""
        self._dirty, self._dirty_workers, self._dirty_batchers = {}, {}, {}
        self._dirty_settings, self._dirty_resources = set(), set()
        self._gone, self._mails, self._transitions, self._new_answers = [], [], [], []
        self._taken_sizes = self._sizes

    def started(self) -> None:
        """The scheduler is open: known workers count as heard of now, and have their grace (silence is not death)."""
        self.mirrors = False
        self._by_num = self._by_wid = None
        now = self._clock()
        for worker in self.workers.values():
            worker.last_active = now
            worker.grace_until = after(now, self.settings.worker_grace)

    def _restore_worker(self, record: WorkerPut, by_wid: dict[int, Worker]) -> None:
        worker = by_wid.get(record.wid)
        if worker is None:
            worker = Worker(record.wid, record.worker_id, record.started_at)
            worker.last_active = self._clock()
            by_wid[record.wid] = worker
            if record.worker_id == SUBMISSIONS:
                self._submissions = worker
            else:
                self.workers[record.worker_id] = worker
            self._next_wid = max(self._next_wid, record.wid + 1)
        if record.disabled and not worker.disabled:
            self._teams.forget(worker)
        worker.disabled = record.disabled
        worker.draining = record.draining
        worker.info = json.loads(record.info)
        worker.messages = json.loads(record.messages)

    def _restore_task(self, record: TaskPut, by_num: dict[int, Task], by_wid: dict[int, Worker]) -> None:
        num, task_id, definition, state, detail = record
        task = by_num.get(num)
        if task is None:
            after, self._next_num = self._next_num, num
            if num >= self._numbers_reserved:
                self._numbers_reserved = num + 1
            task = by_num[num] = self._create(task_id, UNKNOWN if state is None else state.status)
            self._next_num = max(after, num + 1)
        else:
            self._leave(task)
        if definition is not None:
            self._restore_definition(task, definition)
        if state is not None:
            self._restore_state(task, state, by_wid)
        if detail is not None:
            task.expl = shared(detail.expl)
            task.tracking_url = detail.tracking_url
            task.status_message = shared(detail.status_message)
            task.progress_percentage = shared(detail.progress_percentage)
            task.responses = shared(detail.message_responses)
        self._enter(task)

    def _restore_definition(self, task: Task, told: TaskDefinition) -> None:
        self._name(task, sys.intern(told.family))
        task.namespace = sys.intern(told.namespace)
        task.module = None if told.module is None else sys.intern(told.module)
        task.params = shared(told.params)
        task.param_visibilities = shared(told.param_visibilities)
        if told.resources == "{}" and not self._limits and not told.capabilities:
            task.demand = self._demands.nothing
        else:
            task.demand = self._demands.of(json.loads(told.resources), told.namespace, told.capabilities)
        policy = policy_of(told.retry_policy)
        task.retry_policy = self._default_policy if policy == self._default_policy else policy
        task.runnable, task.batchable = told.runnable, told.batchable
        task.accepts_messages = shared(told.accepts_messages)
        task.added_at = told.added_at
        if told.deps or task.deps:
            self._set_deps(task, told.deps)

    def _restore_state(self, task: Task, told: TaskState, by_wid: dict[int, Worker]) -> None:
        if told.status != task.status:
            self._move(task, told.status)
        task.priority = told.priority
        task.updated_at = told.updated_at
        task.worker_running = told.worker_id
        task.time_running = told.run_time
        held = told.resources_running
        task.resources_running = None if held is None else json.loads(held)
        task.run_id = told.run_id
        task.attempt = told.attempt
        task.run_reported = told.run_reported
        task.retry_at = told.retry_at
        task.remove_at = told.remove_at
        task.disabled_at = told.disabled_at
        task.failures = told.failures
        task.first_failure_at = told.first_failure_at
        task.failed_in_row = told.failed_in_row
        task.batch_id = told.batch_id
        task.cancelled = told.cancelled
        team = self._teams.known(told.workers)
        if team is None:
            team = self._teams.of([by_wid[wid] for wid in told.workers if wid in by_wid and not by_wid[wid].disabled])
        self._teams.join(task, task.team, team)
        task.team = team
        stakes = self._stakes.known(told.stakeholders)
        if stakes is None:
            stakes = self._stakes.of([by_wid[wid] for wid in told.stakeholders if wid in by_wid])
        self._stakes.join(task, task.stakes, stakes)
        task.stakes = stakes
        if task.remove_at is not None:
            self._unwanted.pop(task.num, None)
            heapq.heappush(self._removals, (task.remove_at, task.num, task))
        elif stakes.members:
            self._unwanted.pop(task.num, None)
        else:
            self._unwanted[task.num] = task
        if task.status == FAILED:
            self._arm(task)

    def _restore_rest(self, record: _Rest) -> None:
        if isinstance(record, ResourcePut):
            self.resources[record.name] = json.loads(record.total)
        elif isinstance(record, AnswerPut):
            self._keep_answer(record)
            self._next_num = max(self._next_num, record.num + 1)
        elif isinstance(record, AnswersForgotten):
            self._drop_answers(record.up_to)
        elif isinstance(record, BatcherPut):
            arguments = tuple(json.loads(record.batched_args))
            self.batchers.setdefault(record.worker_id, {})[record.family] = (
                arguments,
                json.loads(record.max_batch_size),
            )
            self._learn_batcher(record.family, arguments)
        elif isinstance(record, BatcherRemoved):
            self.batchers.get(record.worker_id, {}).pop(record.family, None)
        elif record.name == "numbers":
            self._next_num = max(self._next_num, json.loads(record.value))
            self._next_wid = max(self._next_wid, json.loads(record.value))
        elif record.name == "paused":
            self.paused = json.loads(record.value)
        elif record.name == "drained":
            self.drained = json.loads(record.value)
        elif record.name.startswith(NEXT_SEND) and isinstance(self.mailbox, BatchMailbox):
            self.mailbox.load(record.name, record.value)
