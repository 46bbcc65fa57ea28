"""Luigi's scheduler as the reference: under a fake clock, with sets that keep their order, and counting what it does.

Luigi orders work by the time a task was made, and where times are equal by the order of a hash set. Here each
reading of the clock within one call is a nanosecond later than the one before, and sets keep insertion order, so
the order is defined: first described, first served, which is what ours promises.
"""

import collections
import contextlib
import itertools
import types
from collections.abc import Iterable, Iterator, MutableSet
from typing import Any
from unittest import mock

import luigi.scheduler

from tests.differential.differences import DIFFERENCES, Difference

TICK = 1e-9  # s between two readings of the clock in one call


class Clock:
    """The one clock of both. `now` moves between calls only; the reference's readings differ by a tick."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self._readings = itertools.count(1)

    def advance(self, seconds: float) -> None:
        self.now += seconds
        self._readings = itertools.count(1)

    def read(self) -> float:
        return self.now

    def tick(self) -> float:
        return self.now + TICK * next(self._readings)


class InsertionSet(MutableSet):
    """A set that iterates in the order of insertion; stands in for `set` inside luigi.scheduler."""

    def __init__(self, items: Iterable[Any] = ()) -> None:
        self._items = dict.fromkeys(items)

    def __contains__(self, item: object) -> bool:
        return item in self._items

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def add(self, item: Any) -> None:
        self._items[item] = None

    def discard(self, item: Any) -> None:
        self._items.pop(item, None)

    def update(self, items: Iterable[Any]) -> None:
        self._items.update(dict.fromkeys(items))

    def difference_update(self, items: Iterable[Any]) -> None:
        for item in list(items):
            self._items.pop(item, None)


class MailLog:
    """Luigi's BatchNotifier, keeping what it is told. Both schedulers get one, and the logs are compared."""

    def __init__(self) -> None:
        self.entries: list[Any] = []

    def add_failure(self, name: str, family: str, args: Any, expl: Any, owners: Any) -> None:
        self.entries.append(["failure", name, family, args, expl, owners])

    def add_disable(self, name: str, family: str, args: Any, owners: Any) -> None:
        self.entries.append(["disable", name, family, args, owners])

    def add_scheduling_fail(self, name: str, family: str, args: Any, expl: Any, owners: Any) -> None:
        self.entries.append(["scheduling", name, family, args, expl, owners])

    def update(self) -> None:
        self.entries.append(["update"])

    def send_email(self) -> None:
        self.entries.append(["send"])


class _WatchedState(luigi.scheduler.SimpleTaskState):
    """Counts what happens, for the check that a run was worth something."""

    seen: collections.Counter[str]

    def set_status(self, task: Any, new_status: str, config: Any = None) -> None:
        before = task.status
        super().set_status(task, new_status, config)
        if task.status != before:
            self.seen[f"{before} -> {task.status}"] += 1

    def inactivate_workers(self, delete_workers: Any) -> None:
        self.seen["workers pruned"] += len(delete_workers)
        super().inactivate_workers(delete_workers)

    def inactivate_tasks(self, delete_tasks: Any) -> None:
        self.seen["tasks pruned"] += len(delete_tasks)
        super().inactivate_tasks(delete_tasks)


@contextlib.contextmanager
def luigi_under(clock: Clock, mails: list[tuple[str, str]], mail_log: MailLog) -> Iterator[None]:
    """luigi.scheduler with our clock, ordered sets, and its mails kept instead of sent."""

    def keep_mail(subject: str, body: str) -> None:
        mails.append((subject, body))

    notifications = types.SimpleNamespace(send_error_email=keep_mail)
    with (
        mock.patch.object(luigi.scheduler, "time", types.SimpleNamespace(time=clock.tick)),
        mock.patch.object(luigi.scheduler, "set", InsertionSet, create=True),
        mock.patch.object(luigi.scheduler, "notifications", notifications),
        mock.patch.object(luigi.scheduler, "BatchNotifier", return_value=mail_log),
    ):
        yield


def make_reference(
    options: dict[str, Any], resources: dict[str, int], differences: Iterable[Difference] = DIFFERENCES
) -> Any:
    """Luigi's scheduler with the given differences on purpose built in."""
    differences = tuple(differences)
    seen: collections.Counter[str] = collections.Counter()
    state_bases = [difference.state for difference in differences if difference.state is not None]
    state_class = type("ReferenceState", (*state_bases, _WatchedState), {"seen": seen})
    scheduler_bases = [difference.scheduler for difference in differences if difference.scheduler is not None]
    scheduler_class = type("ReferenceScheduler", (*scheduler_bases, luigi.scheduler.Scheduler), {})
    task_bases = [difference.task for difference in differences if difference.task is not None]
    task_class = type("ReferenceTask", (*task_bases, luigi.scheduler.Task), {})
    with (
        mock.patch.object(luigi.scheduler, "SimpleTaskState", state_class),
        mock.patch.object(luigi.scheduler, "Task", task_class),
    ):
        scheduler = scheduler_class(resources=dict(resources), **options)
    scheduler.seen = seen
    return scheduler
