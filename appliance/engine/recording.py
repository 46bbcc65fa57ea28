"""The engine's objects as records. Hot: one for each change of a task; tuples are made without their constructors."""

import functools
import json

from luigi_ha.appliance.engine.changes import JsonText, TaskDefinition, TaskDetail, TaskPut, TaskState, WorkerPut
from luigi_ha.appliance.engine.model import (
    CREATED,
    DEFINITION,
    DETAIL,
    EMPTY_OBJECT,
    NULL,
    STATE,
    RetryPolicy,
    Task,
    Worker,
    to_json,
)

_new = tuple.__new__
NOTHING_SAID = TaskDetail(NULL, None, NULL, NULL, EMPTY_OBJECT)


@functools.lru_cache(maxsize=1024)
def policy_of(text: JsonText) -> RetryPolicy:
    return RetryPolicy(*json.loads(text))


@functools.lru_cache(maxsize=1024)
def policy_text(policy: RetryPolicy) -> JsonText:
    return to_json(policy)


def task_record(task: Task, what: int) -> TaskPut:
    """A task's record with the column groups named by `what`."""
    definition = state = detail = None
    if what & (DEFINITION | CREATED):
        told = (
            task.family,
            task.namespace,
            task.module,
            task.params,
            task.param_visibilities,
            task.deps,
            task.demand.text,
            policy_text(task.retry_policy),
            task.runnable,
            task.batchable,
            task.accepts_messages,
            task.added_at,
            task.demand.capabilities,
        )
        definition = _new(TaskDefinition, told)
    if what & (STATE | CREATED):
        stands = (
            task.status,
            task.priority,
            task.updated_at,
            task.team.key,
            task.stakes.key,
            task.worker_running,
            task.time_running,
            None if task.resources_running is None else to_json(task.resources_running),
            task.run_id,
            task.attempt,
            task.run_reported,
            task.retry_at,
            task.remove_at,
            task.disabled_at,
            task.failures,
            task.first_failure_at,
            task.failed_in_row,
            task.batch_id,
            task.cancelled,
        )
        state = _new(TaskState, stands)
    if what & (DETAIL | CREATED):
        says = (task.expl, task.tracking_url, task.status_message, task.progress_percentage, task.responses)
        detail = NOTHING_SAID if says == NOTHING_SAID else _new(TaskDetail, says)
    return _new(TaskPut, (task.num, task.id, definition, state, detail))


def worker_record(worker: Worker) -> WorkerPut:
    """A worker's record."""
    return WorkerPut(
        worker.wid,
        worker.id,
        worker.started_at,
        worker.disabled,
        to_json(worker.info),
        to_json(worker.messages),
        worker.draining,
    )
