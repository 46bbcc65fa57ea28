"""The engine's memory: tasks, workers, indexes, and what changed since the last take.

This module holds it; `links` and `indexes` keep it consistent, and everything else changes it through them.
"""

from __future__ import annotations

import random as random_module
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from sortedcontainers import SortedList

from luigi_ha.appliance.engine.changes import (
    AnswerPut,
    AnswersForgotten,
    BatcherPut,
    Mail,
    SettingPut,
    TaskRemoved,
    Transition,
    WorkerRemoved,
)
from luigi_ha.appliance.engine.demand import Demands, ResourceName, Usage, checked_resources
from luigi_ha.appliance.engine.model import (
    STATE,
    RetryPolicy,
    Task,
    Worker,
    namespace_of,
    to_json,
)
from luigi_ha.appliance.engine.order import Order
from luigi_ha.appliance.engine.ready import ReadyIndex, ReadyKey
from luigi_ha.appliance.engine.settings import Settings
from luigi_ha.appliance.engine.workersets import WorkerSet, WorkerSets

MOST_DRAINED = 10_000  # ids; then the one that was drained first is forgotten
NUMBERS_BLOCK = 10_000  # creation numbers are reserved in the log in blocks of this size


class State:
    """Tasks, workers and their indexes. The classes of RPC methods build on it."""

    def __init__(  # noqa: PLR0915 - one line for each part
        self,
        settings: Settings,
        *,
        resources: Mapping[str, float] | None = None,
        clock: Callable[[], float],
        random: random_module.Random | None = None,
    ) -> None:
        self.settings = settings
        self._clock = clock
        self._random = random or random_module.Random(0)  # noqa: S311 - jitter and ids, not secrets
        self._default_policy = RetryPolicy(settings.retry_count, settings.disable_hard_timeout, settings.disable_window)
        self.tasks: dict[str, Task] = {}
        self.workers: dict[str, Worker] = {}
        self._submissions: Worker | None = None  # stakeholder of submitted tasks: not among the workers
        self.by_status: dict[str, dict[int, Task]] = {}
        self._order = Order()  # all tasks
        self._namespaces: dict[str, dict[str, int]] = {}  # how many tasks, by namespace and status
        # The operator's may be as many as luigid takes.
        self.resources: dict[str, float] = checked_resources("resources", resources, most=len(resources or ()))
        self._limits: dict[ResourceName, float] = {
            ("namespace", name): limit for name, limit in settings.namespace_limits.items()
        }
        self.batchers: dict[
            str, dict[str, tuple[tuple[str, ...], float]]
        ] = {}  # worker id -> family -> arguments, size
        self.paused = False
        self.drained: dict[str, float] = {}  # ids of workers that get no work until undrained, and since when
        self._demands = Demands(settings.namespace_limits)
        self._teams = WorkerSets(stakes=False)
        self._stakes = WorkerSets(stakes=True)
        self._ready = ReadyIndex()
        self._usage = Usage()
        self._running: SortedList[ReadyKey] = SortedList()  # RUNNING, in the order of work
        self._running_on: dict[str, dict[int, Task]] = {}  # RUNNING, by worker id
        self._members: dict[str, dict[int, Task]] = {}  # BATCH_RUNNING, by batch id
        self._batched_on: dict[str, dict[int, Task]] = {}  # BATCH_RUNNING, by worker id
        self._missing: dict[str, set[Task]] = {}  # dependents of task ids that do not exist
        self._retries: list[tuple[float, int, Task]] = []  # heap of what to retry when
        self._removals: list[tuple[float, int, Task]] = []  # heap of what to remove when
        self._emptied: list[WorkerSet] = []  # sets of stakeholders that lost their last member
        self._untold: deque[Any] = deque()  # what dependents are still to be told (`indexes.Untold`)
        self._unraised: deque[Task] = deque()  # tasks whose priority their dependencies do not have yet
        self._bequests: dict[Worker, Iterator[Task]] = {}  # silent submitters, and what is not passed on yet
        self._unwanted: dict[int, Task] = {}  # no stakeholder, not yet marked for removal
        self._disabled: dict[int, Task] = {}  # disabled by the scheduler
        self._next_num = 1
        self._next_wid = 1
        self._numbers_reserved = 0
        self._dirty: dict[Task, int] = {}
        self._dirty_workers: dict[Worker, None] = {}
        self._dirty_settings: set[str] = set()
        self._dirty_resources: set[str] = set()
        self._gone: list[TaskRemoved | WorkerRemoved] = []
        self._answers: dict[str, AnswerPut] = {}  # by the caller's key, oldest first
        self._answers_bytes = 0  # what they take, about
        self._new_answers: list[AnswerPut | AnswersForgotten] = []
        self._dirty_batchers: dict[tuple[str, str], None] = {}
        self._mails: list[Mail] = []
        self._transitions: list[Transition] = []
        self._taken_sizes: tuple[int, ...] = ()  # at the last take
        self._begun: set[str] = set()  # tasks that portions of a call have made, whose call is still to come
        self._changing = 0  # tasks that are out of the indexes, being changed
        self.mirrors = False  # another scheduler decides, and this one reads its log
        self._by_num: dict[int, Task] | None = None  # while records are being applied, and between pieces of a tail
        self._by_wid: dict[int, Worker] | None = None

    # -- numbers and records ------------------------------------------------------------------

    def _number(self) -> int:
        num = self._next_num
        self._next_num = num + 1
        if num >= self._numbers_reserved:
            self._reserve_numbers()
        return num

    def _reserve_numbers(self) -> None:
        self._numbers_reserved = max(self._next_num, self._next_wid) + NUMBERS_BLOCK
        self._dirty_settings.add("numbers")

    def _touched(self, task: Task, what: int = STATE) -> None:
        self._dirty[task] = self._dirty.get(task, 0) | what

    @property
    def _sizes(self) -> tuple[int, ...]:
        """What no change leaves as it was without being noted, and a defect may."""
        many = (len(self.tasks), len(self.workers), len(self.resources), len(self._answers))
        return (*many, self._next_num, self._next_wid)

    @property
    def unchanged(self) -> bool:
        """Whether nothing has been changed since the last take, nor begun to be: after an error the engine is whole."""
        return self._sizes == self._taken_sizes and not (
            self._changing or self._dirty or self._dirty_workers or self._dirty_settings or self._dirty_resources
            or self._dirty_batchers or self._gone or self._new_answers or self._mails or self._transitions
        )  # fmt: skip

    def _random_id(self) -> str:
        return f"{self._random.getrandbits(128):032x}"

    def _count(self, namespace: str, before: str, after: str) -> None:
        """A task changed its status, "" before it was there and after it has gone."""
        counts = self._namespaces.get(namespace)
        if counts is None:
            counts = self._namespaces[namespace] = {}
        if after:
            counts[after] = counts.get(after, 0) + 1
        if before:
            left = counts[before] - 1
            if left:
                counts[before] = left
            else:
                del counts[before]
                if not counts:
                    del self._namespaces[namespace]

    def _name(self, task: Task, family: str) -> None:
        """Give a task its family, and so its namespace."""
        task.family = family
        namespace = namespace_of(family)
        if namespace != task.namespace:
            self._count(task.namespace, task.status, "")
            self._count(namespace, "", task.status)
            task.namespace = namespace

    # -- workers ------------------------------------------------------------------------------

    def _worker(self, worker_id: str) -> Worker:
        """The worker of that id; made if it is not known."""
        worker = self.workers.get(worker_id)
        if worker is None:
            worker = self.workers[worker_id] = self._new_worker(worker_id)
        return worker

    def _new_worker(self, worker_id: str) -> Worker:
        worker = Worker(self._next_wid, worker_id, self._clock())
        worker.draining = worker_id in self.drained
        self._next_wid += 1
        if worker.wid >= self._numbers_reserved:
            self._reserve_numbers()
        self._dirty_workers[worker] = None
        return worker

    def _set_drained(self, worker_id: str, drained: bool) -> None:
        """Have a worker's id drained, or no longer: it outlives the worker, and the scheduler."""
        if drained == (worker_id in self.drained):
            return
        if drained:
            if len(self.drained) >= MOST_DRAINED:
                del self.drained[next(iter(self.drained))]
            self.drained[worker_id] = self._clock()
        else:
            del self.drained[worker_id]
        self._dirty_settings.add("drained")

    def _heard_of(self, worker_id: str) -> Worker:
        worker = self._worker(worker_id)
        worker.last_active = self._clock()
        return worker

    def _note(self, worker: Worker, told: Mapping[str, Any], withdrawn: Iterable[str] = ()) -> None:
        """Put what a worker told of itself into its description, and take out what holds no longer."""
        info = worker.info
        gone = [name for name in withdrawn if name in info and name not in told]
        if gone or any(name not in info or info[name] != value for name, value in told.items()):
            for name in gone:
                del info[name]
            info.update(told)
            self._dirty_workers[worker] = None

    # -- what a take hands over besides tasks and workers -------------------------------------------

    def _setting(self, name: str) -> SettingPut:
        if name == "numbers":
            return SettingPut(name, to_json(self._numbers_reserved))
        if name == "drained":
            return SettingPut(name, to_json(self.drained))
        return SettingPut(name, to_json(self.paused))

    def _batcher(self, worker_id: str, family: str) -> BatcherPut:
        arguments, size = self.batchers[worker_id][family]
        return BatcherPut(worker_id, family, to_json(list(arguments)), to_json(size))

    @property
    def capacity(self) -> Mapping[ResourceName, float]:
        """Totals of resources and of namespaces' limits."""
        return {**self.resources, **self._limits} if self._limits else self.resources  # type: ignore[return-value,dict-item]
