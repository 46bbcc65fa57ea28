"""Changes made ready for one transaction: log rows, and the rows they leave in the snapshot tables.

Invariant: writing a batch's snapshot rows after the snapshot at `previous` gives what replaying its log rows gives.
Several changes of one task collapse to the last of each column group, so a row is written once per transaction.

Made once per batch, in the writer thread; a batch whose outcome is unknown is sent again as it is. This is the hot
path: it shares the interpreter with the event loop, so it counts microseconds (bench/store_bench.py).
"""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from luigi_ha.appliance.engine.changes import (
    AnswerPut,
    AnswersForgotten,
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
from luigi_ha.appliance.store.position import Position, call_bytes, chained, event_bytes
from luigi_ha.appliance.store.records import KINDS, TASK
from luigi_ha.appliance.store.text import dumps, escape

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
        "answers",
        "answers_forgotten",
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
        self.answers: dict[int, Row] = {}
        self.answers_forgotten = 0  # up to this number

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
    tasks: dict[int, _Task] = {}
    removed: dict[int, None] = {}
    add = batch.events.append
    epoch, seq = previous.epoch, previous.seq
    chain = bytes.fromhex(previous.hash)
    size = 0
    for records, moment_given, method_text, actor_text in units:
        at = float(moment_given)  # read back as one: the chain must not depend on how it was given
        method, actor = escape(method_text), escape(actor_text)
        call = call_bytes(epoch, at, method, actor)
        batch.time = at
        for record in records:
            seq += 1
            if type(record) is TaskPut:
                kind = TASK
                task = tasks.get(record.num)
                if task is None:
                    task = tasks[record.num] = _Task()
                columns, data = task.put(record)
            else:
                kind = KINDS[type(record)]
                data = dumps(record)
                if type(record) is TaskRemoved:
                    tasks.pop(record.num, None)
                    removed[record.num] = None
                    columns = (record.num, escape(record.task_id), None, None, None, None)
                else:
                    columns = (None, None, None, escape(_other(batch, record)), None, None)
            add((seq, epoch, at, method, actor, kind, *columns, data))
            size += len(data)
            chain = chained(chain, event_bytes(seq, call, kind, data))
    batch.last = Position(epoch, seq, chain.hex())
    batch.bytes = size
    batch.tasks_removed = list(removed)
    for num, task in tasks.items():
        _task_row(batch, num, task)
    return batch


class _Task:
    """What a batch leaves of one task: the last of each group."""

    __slots__ = ("definition", "detail", "plain", "state", "state_json", "task_id")

    def __init__(self) -> None:
        self.task_id = ""
        self.definition: TaskDefinition | None = None
        self.state: TaskState | None = None
        self.detail: TaskDetail | None = None
        self.state_json = ""
        self.plain = True  # no string in it needs escaping

    def put(self, record: TaskPut) -> tuple[Row, str]:
        """Take over the record; its columns of a log row, and its data."""
        num, task_id, definition, state, detail = record
        self.task_id = task_id
        status = worker_id = run_id = attempt = None
        state_json = definition_json = detail_json = "null"
        if state is not None:
            status, worker_id, run_id, attempt = state.status, state.worker_id, state.run_id, state.attempt
            state_json = dumps(state)
            self.state, self.state_json = state, state_json
        if definition is not None:
            self.definition = definition
            definition_json = dumps(definition)
        if detail is not None:
            self.detail = detail
            detail_json = dumps(detail)
        data = f"[{num},{dumps(task_id)},{definition_json},{state_json},{detail_json}]"
        if "\\u" in data:
            # Only then has it a string that is not plain ASCII: that is how JSON writes NULs and surrogates too.
            self.plain = False
            task_id, status, worker_id, run_id = escape(task_id), escape(status), escape(worker_id), escape(run_id)
        return (num, task_id, status, worker_id, run_id, attempt), data


def _task_row(batch: Batch, num: int, task: _Task) -> None:
    groups = 0
    kept = _same if task.plain else escape
    row: Row = (num, kept(task.task_id))
    if (definition := task.definition) is not None:
        groups |= DEFINITION
        row += (
            kept(definition.family), kept(definition.namespace), kept(definition.module), definition.params,
            definition.param_visibilities, dumps(definition.deps) if definition.deps else "[]", definition.resources,
            definition.retry_policy, bool(definition.runnable), bool(definition.batchable), definition.accepts_messages,
            definition.added_at, dumps(definition.capabilities) if definition.capabilities else "[]",
        )  # fmt: skip
    if (state := task.state) is not None:
        groups |= STATE
        priority = state.priority
        row += (
            kept(state.status), float(priority) if -1e300 < priority < 1e300 else None, moment(state.updated_at),
            kept(state.worker_id), moment(state.run_time), kept(state.run_id), state.attempt, moment(state.retry_at),
            task.state_json,
        )  # fmt: skip
    if (detail := task.detail) is not None:
        groups |= DETAIL
        row += (
            detail.expl, kept(detail.tracking_url), detail.status_message, detail.progress_percentage,
            detail.message_responses,
        )  # fmt: skip
    rows = batch.tasks.get(groups)
    if rows is None:
        batch.tasks[groups] = [row]
    else:
        rows.append(row)


def _same(text: str | None) -> str | None:
    return text


def _other(batch: Batch, record: Change) -> str | None:  # noqa: PLR0911 - one for each kind
    """Note a change that is not a task's; the worker it concerns, if any."""
    match record:
        case WorkerPut(wid, worker_id, started_at, disabled, info, messages, draining):
            batch.workers_removed.pop(wid, None)
            batch.workers[wid] = (wid, escape(worker_id), started_at, bool(disabled), info, messages, bool(draining))
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
        case AnswerPut(num, caller_key, method, fingerprint, status, reply, at):
            told = (escape(caller_key), escape(method), escape(fingerprint), status, escape(reply))
            batch.answers[num] = (num, *told, float(at))
            return None
        case AnswersForgotten(up_to):
            batch.answers = {num: row for num, row in batch.answers.items() if num > up_to}
            batch.answers_forgotten = max(batch.answers_forgotten, up_to)
            return None
    raise TypeError(f"not a record: {type(record).__name__}")
