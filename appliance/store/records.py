"""Records to and from the log's `data` column: JSON arrays with the fields in order, exact for every value.

The kind says which record it is. An entry of an earlier version has fewer fields: those added since have their
defaults. Decoding what was encoded gives an equal record, floats, NaN, huge whole numbers, NULs
and lone surrogates included.
"""

from typing import Any

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
from luigi_ha.appliance.store.errors import Corrupt
from luigi_ha.appliance.store.text import loads

TASK = "task"
TASK_REMOVED = "task_removed"
WORKER = "worker"
WORKER_REMOVED = "worker_removed"
RESOURCE = "resource"
BATCHER = "batcher"
BATCHER_REMOVED = "batcher_removed"
SETTING = "setting"
ANSWER = "answer"
ANSWERS_FORGOTTEN = "answers_forgotten"

KINDS: dict[type, str] = {
    TaskPut: TASK,
    TaskRemoved: TASK_REMOVED,
    WorkerPut: WORKER,
    WorkerRemoved: WORKER_REMOVED,
    ResourcePut: RESOURCE,
    BatcherPut: BATCHER,
    BatcherRemoved: BATCHER_REMOVED,
    SettingPut: SETTING,
    AnswerPut: ANSWER,
    AnswersForgotten: ANSWERS_FORGOTTEN,
}
_TYPES: dict[str, Any] = {kind: record for record, kind in KINDS.items()}
_DEPS = TaskDefinition._fields.index("deps")
_CAPABILITIES = TaskDefinition._fields.index("capabilities")
_WORKERS = TaskState._fields.index("workers")
_STAKEHOLDERS = TaskState._fields.index("stakeholders")
_FAILURES = TaskState._fields.index("failures")


def decode_state(values: list[Any]) -> TaskState:
    """A task's state from its JSON array, which is changed on the way."""
    values[_WORKERS] = tuple(values[_WORKERS])
    values[_STAKEHOLDERS] = tuple(values[_STAKEHOLDERS])
    values[_FAILURES] = tuple(values[_FAILURES])
    return TaskState(*values)


def _decode_definition(values: list[Any]) -> TaskDefinition:
    values[_DEPS] = tuple(values[_DEPS])
    if len(values) > _CAPABILITIES:
        values[_CAPABILITIES] = tuple(values[_CAPABILITIES])
    return TaskDefinition(*values)


def decode(kind: str, data: str) -> Change:
    """The record of a log entry."""
    try:
        values = loads(data)
        if kind != TASK:
            record: Change = _TYPES[kind](*values)
            return record
        num, task_id, definition, state, detail = values
        return TaskPut(
            num,
            task_id,
            None if definition is None else _decode_definition(definition),
            None if state is None else decode_state(state),
            None if detail is None else TaskDetail._make(detail),
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise Corrupt(f"luigi_event: cannot read an entry of kind {kind!r}: {error}") from error
