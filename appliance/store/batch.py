"""Changes made ready for one transaction: log rows, and the rows they leave in the snapshot tables.

Invariant: writing a batch's snapshot rows after the snapshot at `previous` gives what replaying its log rows gives. Several
changes of one task collapse to the last of each column group, so a row is written once per transaction.

Made once per batch, in the writer thread; a batch whose outcome is unknown is sent again as it is. This is the hot path:
it shares the interpreter with the event loop, so it counts microseconds (bench/store_bench.py).
"""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from appliance.engine.changes import (
    BatcherPut,
    BatcherRemoved,
    Change,
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
from appliance.store.position import Position, call_bytes, chained, event_bytes
from appliance.store.records import KINDS, TASK, TASK_REMOVED
from appliance.store.text import dumps, escape

# Which column groups a task row carries.
DEFINITION, STATE, DETAIL = 1, 2, 4
ALL_GROUPS = DEFINITION | STATE | DETAIL
_LAST_MOMENT = 253402300800.0  # the year 10000: beyond what a column for people can hold

Row = tuple[Any, ...]


class Unit(NamedTuple):
    """The changes of one call: they share a transaction."""

    records: Sequence[Change]
    at: float
    method: str
    actor: str | None


class Batch:
    """One transaction. Rows are tuples in the order of the columns named in `tables`, text already escaped."""

    __slots__ = (
        "batchers",
        "batchers_removed",
        "bytes",
        "events",
        "last",
        "previous",
        "resources",
        "settings",
        "tasks",
        "tasks_removed",
        "time",
        "workers",
        "workers_removed",
    )

    def __init__(self, previous: Position) -> None:
        self.previous = previous
        self.last = previous
        self.time = 0.0
        self.bytes = 0  # of the log rows' data, about
        self.events: list[Row] = []
        self.tasks: dict[int, list[Row]] = {}  # by groups: (num, task_id, columns of the groups)
        self.tasks_removed: list[int] = []
        self.workers: dict[int, Row] = {}
        self.workers_removed: dict[int, None] = {}
        self.resources: dict[str, Row] = {}
        self.batchers: dict[str, Row] = {}
        self.batchers_removed: dict[str, None] = {}
        self.settings: dict[str, Row] = {}

    @property
    def records(self) -> int:
        """How many log entries it has."""
        return len(self.events)


def key(*names: str) -> str:
    """A fixed-size key for names of any length and alphabet."""
    return hashlib.blake2b(dumps(names).encode(), digest_size=16).hexdigest()


@lru_cache(maxsize=1024)
def moment(seconds: float | None) -> str | None:
    """UTC, as ISO 8601 with a space, for people; None where a timestamp column has no such value."""
    if seconds is None or not 0 <= seconds < _LAST_MOMENT:
        return None
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat(" ")


def build(units: Iterable[Unit], previous: Position) -> Batch:
    """The transaction that follows `previous`. Raises UnicodeError, TypeError or the like for what is no record."""
    batch = Batch(previous)
    merged: dict[int, list[Any]] = {}  # num: task id, definition, state, detail, state's JSON
    removed: dict[int, None] = {}
    events = batch.events
    seq = previous.seq
    epoch = previous.epoch
    chain = bytes.fromhex(previous.hash)
    for records, at, method_text, actor_text in units:
        method, actor = escape(method_text), escape(actor_text)
        head = call_bytes(epoch, at, method, actor)
        batch.time = at
        for record in records:
            seq += 1
            task_num = task_id = status = worker_id = run_id = attempt = None
            if type(record) is TaskPut:
                kind = TASK
                task_num, raw_id, definition, state, detail = record
                entry = merged.get(task_num)
                if entry is None:
                    entry = merged[task_num] = [escape(raw_id), None, None, None, None]
                task_id = entry[0]
                if state is None:
                    data = dumps(record)
                else:
                    state_json = dumps(state)
                    status, worker_id, run_id, attempt = state.status, state.worker_id, state.run_id, state.attempt
                    entry[2] = state
                    entry[4] = state_json
                    data = (
                        f"[{task_num},{dumps(raw_id)},{'null' if definition is None else dumps(definition)},"
                        f"{state_json},{'null' if detail is None else dumps(detail)}]"
                    )
                if definition is not None:
                    entry[1] = definition
                if detail is not None:
                    entry[3] = detail
            else:
                kind = KINDS[type(record)]
                data = dumps(record)
                if type(record) is TaskRemoved:
                    task_num, task_id = record.num, escape(record.task_id)
                    merged.pop(task_num, None)
                    removed[task_num] = None
                else:
                    worker_id = _other(batch, record)
            row = (
                seq, epoch, at, method, actor, kind, task_num, task_id,
                escape(status), escape(worker_id), escape(run_id), attempt, data,
            )  # fmt: skip
            events.append(row)
            batch.bytes += len(data)
            chain = chained(chain, event_bytes(seq, head, kind, data))
    batch.last = Position(epoch, seq, chain.hex())
    batch.tasks_removed = list(removed)
    for num, entry in merged.items():
        _task_row(batch, num, *entry)
    return batch


def _task_row(
    batch: Batch,
    num: int,
    task_id: str,
    definition: TaskDefinition | None,
    state: TaskState | None,
    detail: TaskDetail | None,
    state_json: str | None,
) -> None:
    groups = 0
    row: Row = (num, task_id)
    if definition is not None:
        groups |= DEFINITION
        row += _definition_row(definition)
    if state is not None:
        groups |= STATE
        priority, attempt = state.priority, state.attempt
        row += (
            escape(state.status),
            priority if -1e300 < priority < 1e300 else None,
            moment(state.updated_at),
            escape(state.worker_id),
            moment(state.run_time),
            escape(state.run_id),
            attempt,
            moment(state.retry_at),
            state_json,
        )
    if detail is not None:
        groups |= DETAIL
        expl, tracking_url, status_message, progress_percentage, message_responses = detail
        row += (expl, escape(tracking_url), status_message, progress_percentage, message_responses)
    batch.tasks.setdefault(groups, []).append(row)


def _definition_row(definition: TaskDefinition) -> Row:
    family, namespace, module, params, visibilities, deps, resources, policy, runnable, batchable, messages, at = (
        definition
    )
    return (
        escape(family), escape(namespace), escape(module), params, visibilities, dumps(deps) if deps else "[]",
        resources, policy, bool(runnable), bool(batchable), messages, at,
    )  # fmt: skip


def _other(batch: Batch, record: Change) -> str | None:
    """Note a change that is not a task's; the worker it concerns, if any."""
    match record:
        case WorkerPut(wid, worker_id, started_at, disabled, info, messages):
            batch.workers[wid] = (wid, escape(worker_id), started_at, bool(disabled), info, messages)
            return worker_id
        case WorkerRemoved(wid, worker_id):
            batch.workers.pop(wid, None)
            batch.workers_removed[wid] = None
            return worker_id
        case ResourcePut(name, total):
            name_key = key(name)
            batch.resources[name_key] = (name_key, escape(name), total)
            return None
        case BatcherPut(worker_id, family, batched_args, max_batch_size):
            name_key = key(worker_id, family)
            batch.batchers_removed.pop(name_key, None)
            batch.batchers[name_key] = (name_key, escape(worker_id), escape(family), batched_args, max_batch_size)
            return worker_id
        case BatcherRemoved(worker_id, family):
            name_key = key(worker_id, family)
            batch.batchers.pop(name_key, None)
            batch.batchers_removed[name_key] = None
            return worker_id
        case SettingPut(name, value):
            name_key = key(name)
            batch.settings[name_key] = (name_key, escape(name), value)
            return None
    raise TypeError(f"not a record: {type(record).__name__}")
