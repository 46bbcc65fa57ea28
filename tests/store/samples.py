"""Records to write, and a model that says what they leave: the state as plain dictionaries."""

import asyncio
import time
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

from luigi_ha.appliance.engine.changes import (
    AnswerPut,
    AnswersForgotten,
    BatcherPut,
    BatcherRemoved,
    Change,
    JsonText,
    ResourcePut,
    SettingPut,
    TaskDefinition,
    TaskDetail,
    TaskPut,
    TaskRemoved,
    TaskState,
    WorkerPut,
    WorkerRemoved,
)
from luigi_ha.appliance.store import Journal, Position, Store
from luigi_ha.appliance.store.batch import Batch, Unit, build
from tests.support.patience import patient

T = TypeVar("T")
NOW = 1_700_000_000.0


def definition(**fields: Any) -> TaskDefinition:
    plain: dict[str, Any] = {
        "family": "Load", "namespace": "", "module": "pipeline", "params": '{"day": "2024-01-01"}',
        "param_visibilities": "{}", "deps": (), "resources": "{}", "retry_policy": "[3, 10, 60]", "runnable": True,
        "batchable": False, "accepts_messages": "false", "added_at": NOW,
    }  # fmt: skip
    return TaskDefinition(**{**plain, **fields})


def state(**fields: Any) -> TaskState:
    plain: dict[str, Any] = {
        "status": "PENDING", "priority": 0, "updated_at": NOW, "workers": (1,), "stakeholders": (1,), "worker_id": None,
        "run_time": None, "resources_running": None, "run_id": None, "attempt": 0, "run_reported": False,
        "retry_at": None, "remove_at": None, "disabled_at": None, "failures": (), "first_failure_at": None,
        "failed_in_row": 0, "batch_id": None,
    }  # fmt: skip
    return TaskState(**{**plain, **fields})


def detail(**fields: Any) -> TaskDetail:
    plain: dict[str, Any] = {
        "expl": "null", "tracking_url": None, "status_message": "null", "progress_percentage": "null",
        "message_responses": "{}",
    }  # fmt: skip
    return TaskDetail(**{**plain, **fields})


def creation(num: int, task_id: str | None = None, **fields: Any) -> TaskPut:
    return TaskPut(num, task_id or f"Load_{num}", definition(), state(**fields), detail())


def change(num: int, task_id: str | None = None, **fields: Any) -> TaskPut:
    return TaskPut(num, task_id or f"Load_{num}", None, state(**fields), None)


class Model:
    """What a log of records leaves, by the words of `luigi_ha.appliance.engine.changes`."""

    def __init__(self, records: Iterable[Change] = ()) -> None:
        self.tasks: dict[int, tuple[Any, ...]] = {}
        self.workers: dict[int, WorkerPut] = {}
        self.resources: dict[str, ResourcePut] = {}
        self.batchers: dict[tuple[str, str], BatcherPut] = {}
        self.settings: dict[str, SettingPut] = {}
        self.answers: dict[int, AnswerPut] = {}
        for record in records:
            self.apply(record)

    def apply(self, record: Change) -> None:
        match record:
            case TaskPut():
                num, task_id, *groups = record
                before = self.tasks.get(num, (task_id, None, None, None))[1:]
                now = (new if new is not None else old for new, old in zip(groups, before, strict=True))
                self.tasks[num] = (task_id, *now)
            case TaskRemoved(num, _):
                self.tasks.pop(num, None)
            case WorkerPut():
                self.workers[record.wid] = record
            case WorkerRemoved(wid, _):
                self.workers.pop(wid, None)
            case ResourcePut():
                self.resources[record.name] = record
            case BatcherPut():
                self.batchers[record.worker_id, record.family] = record
            case BatcherRemoved(worker_id, family):
                self.batchers.pop((worker_id, family), None)
            case SettingPut():
                self.settings[record.name] = record
            case AnswerPut():
                self.answers[record.num] = record
            case AnswersForgotten(up_to):
                self.answers = {num: answer for num, answer in self.answers.items() if num > up_to}

    def __eq__(self, other: object) -> bool:
        # By text: NaN is not equal to itself, and 1 is not 1.0 on the wire.
        return isinstance(other, Model) and repr(self) == repr(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        def ordered(things: dict[Any, Any]) -> list[tuple[Any, Any]]:
            return sorted(things.items(), key=lambda item: repr(item[0]))

        return "\n".join(f"{name}: {ordered(things)!r}" for name, things in sorted(vars(self).items()))


def loaded(store: Store) -> Model:
    return Model(store.load().records)


def replayed(store: Store) -> Model:
    """The state by the log, after checking the log's chain against the leadership row."""
    end = store.position()
    entries = store.log(0, 1_000_000)
    chain = "0" * 32
    for entry in entries:
        chain = entry.after(chain)
    assert (end.seq, end.hash) == (len(entries), chain)
    return Model(entry.change for entry in entries)


def batch(previous: Position, *records: Change, at: float = NOW) -> Batch:
    return build([Unit(records, at, "add_task", "worker")], previous)


def write(store: Store, position: Position, *records: Change, at: float = NOW) -> Position:
    """Write records in one transaction, without a journal."""
    writer = store.writer()
    try:
        made = batch(position, *records, at=at)
        writer.write(made)
        return made.last
    finally:
        writer.close()


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def add(journal: Journal, *records: Change, at: float | None = None) -> int:
    return journal.append(records, at=time.time() if at is None else at, method="add_task", actor="worker")


async def until(condition: Any, seconds: float = 20.0) -> None:
    """Wait until `condition()` is true, at most `seconds`."""
    deadline = time.monotonic() + patient(seconds)
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


NOTHING = JsonText("null")
