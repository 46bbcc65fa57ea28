"""What may be said in requests to the REST API. Nothing else may be in them."""

from collections.abc import Mapping

from luigi_ha.appliance.api.rest.building import (
    LONGEST_ERROR,
    LONGEST_MESSAGE,
    LONGEST_OUTPUT,
    LONGEST_WAIT,
    MOST_DEPS,
    MOST_HELD,
    MOST_REPORTS,
    MOST_TASKS,
    integer,
    listed,
    mapped,
    nullable,
    number,
    request_object,
    shown,
    text,
)
from luigi_ha.appliance.api.rest.schema import ELSEWHERE, Schema

TASK_ID = text("the task's id", least=1)
WORKER_ID = {
    **text("the worker's id: stable, and unique among all workers", least=1),
    "pattern": "^[^@]",
    "x-in-words": " that does not begin with @",
}
ATTEMPT = integer("which run of the task: 1, 2, ...", 1, 1 << 53)
RUN_ID = text("the random id of this run, as it was assigned", least=1)
AMOUNT = number("how much", 0)
PRIORITY = {"type": "number", "description": "higher comes first"}
NAMES = listed(text(least=1), 1_000)
RETRY_POLICY = request_object(
    retry_count=shown(["number", "null"], "failures within disable_window after which the task is disabled"),
    disable_hard_timeout=shown(["number", "null"], "s after the first failure at which it is disabled"),
    disable_window=shown(["number", "null"], "s for which failures count"),
)
_TASK_FIELDS: Mapping[str, Schema] = {
    "family": text("the name of what it does; what is before its last dot is its namespace", least=1),
    "module": nullable(text("for workers that load it from Python")),
    "params": mapped({}, "its parameters, for its worker"),
    "deps": {
        **listed(TASK_ID, MOST_DEPS, "ids of the tasks that must be DONE before it may run; they may be added later"),
        ELSEWHERE: 1_000,  # there may be hundreds of thousands of them: the engine checks each anyway
    },
    "priority": PRIORITY,
    "resources": mapped(AMOUNT, "what it occupies while it runs"),
    "capabilities": listed(text(least=1), None, "what its worker must be able to do"),
    "retry_policy": nullable(RETRY_POLICY),
    "submitter": nullable(text("who wants it")),
}
NEW_TASK = request_object(("family",), **_TASK_FIELDS)
NEW_TASK_WITH_ID = request_object(("task_id", "family"), task_id=TASK_ID, **_TASK_FIELDS)
NEW_TASKS = request_object(
    ("tasks",),
    tasks={
        **listed(NEW_TASK_WITH_ID, MOST_TASKS, "all are added, or none if there is something wrong with one"),
        ELSEWHERE: 0,  # thousands of them: the engine checks each anyway
    },
)
HELD = request_object(("task_id", "attempt", "run_id"), task_id=TASK_ID, attempt=ATTEMPT, run_id=RUN_ID)
TAKE = request_object(
    ("worker",),
    worker=WORKER_ID,
    slots=integer("how many tasks this worker runs at most at a time", 1, 100_000),
    namespaces=nullable({**NAMES, "description": "only tasks of these, and of those below them; null: of any"}),
    families=nullable({**NAMES, "description": "only tasks of these; null: of any"}),
    capabilities={**NAMES, "description": "what this worker is able to do"},
    holding=nullable(
        listed(HELD, MOST_HELD, "what it runs now. A run of this worker that is not listed is given to it again (its "
              "assignment was lost on the way); null: nothing is")
    ),
    wait=number("s to wait for work if there is none", 0, LONGEST_WAIT),
)  # fmt: skip
REPORT = request_object(
    ("task_id", "attempt", "run_id", "status"),
    task_id=TASK_ID,
    attempt=ATTEMPT,
    run_id=RUN_ID,
    status={
        "type": "string",
        "enum": ["RUNNING", "DONE", "FAILED", "PENDING"],
        "description": "PENDING: the run has found out that it needs `deps` first, and has ended",
    },
    error=nullable(text("of FAILED: why", LONGEST_ERROR)),
    progress=nullable(number("percent", 0, 100)),
    message=nullable(text("what it does now, for people", LONGEST_MESSAGE)),
    tracking_url=nullable(text("where people can watch it", 10_000)),
    deps=nullable(
        {
            **listed({"anyOf": [TASK_ID, NEW_TASK_WITH_ID]}, MOST_TASKS, "of PENDING: ids, or tasks to be added"),
            ELSEWHERE: 1_000,
        }
    ),
)
HEARTBEAT = request_object(
    ("worker",),
    worker=WORKER_ID,
    slots=nullable(integer("how many tasks this worker runs at most at a time", 1, 100_000)),
    tasks=listed(REPORT, MOST_REPORTS, "what runs, and what has ended and was not acknowledged yet"),
)
DRAIN = request_object(
    ("worker_id",),
    worker_id=WORKER_ID,
    draining={"type": "boolean", "description": "false: it gets work again", "default": True},
)
UNDRAIN = request_object(("worker_id",), worker_id=WORKER_ID)
OUTPUT = request_object(
    ("attempt", "run_id", "text"),
    attempt=ATTEMPT,
    run_id=RUN_ID,
    text=text("the end of what it has printed", LONGEST_OUTPUT),
)
NO_FIELDS = request_object()
CANCEL = request_object(reason=text("why, for people", LONGEST_MESSAGE))
NEW_PRIORITY = request_object(("priority",), priority=PRIORITY)
TOTAL = request_object(("total",), total=AMOUNT)
NAMED_TOTAL = request_object(("name", "total"), name=text("of the resource", least=1), total=AMOUNT)
PAUSED = request_object(("paused",), paused={"type": "boolean", "description": "true: no work is handed out"})
PATH_PARAMETERS: Mapping[str, Schema] = {
    "task_id": TASK_ID,
    "worker_id": text("the worker's id", least=1),
    "name": text("the resource's name", least=1),
}
