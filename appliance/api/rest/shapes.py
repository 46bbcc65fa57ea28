"""The JSON objects of the REST API, as JSON Schema. What is named in NAMED appears under its name in the document."""

from collections.abc import Mapping
from typing import Any

from appliance.api.rest.schema import ELSEWHERE, Schema

MOST_TASKS = 10_000  # of one call: the scheduler does nothing else meanwhile (50,000 and more a second)
MOST_REPORTS = 1_000
LONGEST_ID = 500
LONGEST_ERROR = 1_000_000
LONGEST_MESSAGE = 100_000
LONGEST_OUTPUT = 65_536
LONGEST_WAIT = 30.0  # s
LARGEST = 1e300
STATUSES = ("PENDING", "RUNNING", "BATCH_RUNNING", "DONE", "FAILED", "DISABLED", "UNKNOWN")


def _object(required: tuple[str, ...] = (), /, **properties: Schema) -> dict[str, Any]:
    """Of a request: nothing else may be in it."""
    schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    return schema | ({"required": list(required)} if required else {})


def _reply(**properties: Schema) -> dict[str, Any]:
    """Of a reply: all of it is always there; a later version may say more."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def _text(description: str = "", most: int = LONGEST_ID, least: int = 0) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string", "maxLength": most}
    if least:
        schema["minLength"] = least
    return schema | ({"description": description} if description else {})


def _list(items: Schema, most: int | None = None, description: str = "") -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "array", "items": items}
    if most is not None:
        schema["maxItems"] = most
    return schema | ({"description": description} if description else {})


def _map(values: Schema, description: str) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": values, "description": description}


def _number(description: str, least: float = -LARGEST, most: float = LARGEST) -> dict[str, Any]:
    return {"type": "number", "minimum": least, "maximum": most, "description": description}


def _integer(description: str, least: int, most: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": least, "maximum": most, "description": description}


def nullable(schema: Schema) -> dict[str, Any]:
    """The same, or null."""
    return {**schema, "type": [schema["type"], "null"]}


def _shown(kind: str | list[str], description: str = "") -> dict[str, Any]:
    """In a reply."""
    return {"type": kind} | ({"description": description} if description else {})


# -- what is said in requests ------------------------------------------------------------------------------------

TASK_ID = _text("the task's id", least=1)
WORKER_ID = {
    **_text("the worker's id: stable, and unique among all workers", least=1),
    "pattern": "^[^@]",
    "x-in-words": " that does not begin with @",
}
ATTEMPT = _integer("which run of the task: 1, 2, ...", 1, 1 << 53)
RUN_ID = _text("the random id of this run, as it was assigned", least=1)
AMOUNT = _number("how much", 0)
PRIORITY = {"type": "number", "description": "higher comes first"}
NAMES = _list(_text(least=1), 1_000)
RETRY_POLICY = _object(
    retry_count=_shown(["number", "null"], "failures within disable_window after which the task is disabled"),
    disable_hard_timeout=_shown(["number", "null"], "s after the first failure at which it is disabled"),
    disable_window=_shown(["number", "null"], "s for which failures count"),
)
_TASK_FIELDS: Mapping[str, Schema] = {
    "family": _text("the name of what it does; what is before its last dot is its namespace", least=1),
    "module": nullable(_text("for workers that load it from Python")),
    "params": _map({}, "its parameters, for its worker"),
    "deps": _list(TASK_ID, None, "ids of the tasks that must be DONE before it may run; they may be added later"),
    "priority": PRIORITY,
    "resources": _map(AMOUNT, "what it occupies while it runs"),
    "capabilities": _list(_text(least=1), None, "what its worker must be able to do"),
    "retry_policy": nullable(RETRY_POLICY),
    "submitter": nullable(_text("who wants it")),
}
NEW_TASK = _object(("family",), **_TASK_FIELDS)
NEW_TASK_WITH_ID = _object(("task_id", "family"), task_id=TASK_ID, **_TASK_FIELDS)
NEW_TASKS = _object(
    ("tasks",),
    tasks={
        **_list(NEW_TASK_WITH_ID, MOST_TASKS, "all are added, or none if there is something wrong with one"),
        ELSEWHERE: True,  # thousands of them: the engine checks each anyway
    },
)
HELD = _object(("task_id", "attempt", "run_id"), task_id=TASK_ID, attempt=ATTEMPT, run_id=RUN_ID)
TAKE = _object(
    ("worker",),
    worker=WORKER_ID,
    slots=_integer("how many tasks this worker runs at most at a time", 1, 100_000),
    namespaces=nullable({**NAMES, "description": "only tasks of these, and of those below them; null: of any"}),
    families=nullable({**NAMES, "description": "only tasks of these; null: of any"}),
    capabilities={**NAMES, "description": "what this worker is able to do"},
    holding=nullable(
        _list(HELD, 100_000, "what it runs now. A run of this worker that is not listed is given to it again (its "
              "assignment was lost on the way); null: nothing is")
    ),
    wait=_number("s to wait for work if there is none", 0, LONGEST_WAIT),
)  # fmt: skip
REPORT = _object(
    ("task_id", "attempt", "run_id", "status"),
    task_id=TASK_ID,
    attempt=ATTEMPT,
    run_id=RUN_ID,
    status={
        "type": "string",
        "enum": ["RUNNING", "DONE", "FAILED", "PENDING"],
        "description": "PENDING: the run has found out that it needs `deps` first, and has ended",
    },
    error=nullable(_text("of FAILED: why", LONGEST_ERROR)),
    progress=nullable(_number("percent", 0, 100)),
    message=nullable(_text("what it does now, for people", LONGEST_MESSAGE)),
    tracking_url=nullable(_text("where people can watch it", 10_000)),
    deps=nullable(
        _list({"anyOf": [TASK_ID, NEW_TASK_WITH_ID]}, MOST_TASKS, "of PENDING: ids of tasks, or tasks to be added")
    ),
)
HEARTBEAT = _object(
    ("worker",),
    worker=WORKER_ID,
    slots=nullable(_integer("how many tasks this worker runs at most at a time", 1, 100_000)),
    tasks=_list(REPORT, MOST_REPORTS, "what runs, and what has ended and was not acknowledged yet"),
)
DRAIN = _object(
    ("worker_id",),
    worker_id=WORKER_ID,
    draining={"type": "boolean", "description": "false: it gets work again", "default": True},
)
OUTPUT = _object(
    ("attempt", "run_id", "text"),
    attempt=ATTEMPT,
    run_id=RUN_ID,
    text=_text("the end of what it has printed", LONGEST_OUTPUT),
)
NO_FIELDS = _object()
CANCEL = _object(reason=_text("why, for people", LONGEST_MESSAGE))
NEW_PRIORITY = _object(("priority",), priority=PRIORITY)
TOTAL = _object(("total",), total=AMOUNT)
NAMED_TOTAL = _object(("name", "total"), name=_text("of the resource", least=1), total=AMOUNT)
PAUSED = _object(("paused",), paused={"type": "boolean", "description": "true: no work is handed out"})

# -- what is in replies ------------------------------------------------------------------------------------------

_STATUS = {"type": "string", "enum": list(STATUSES)}
_NUMBER = _shown("number")
_TIME = _shown(["number", "null"], "s since 1970")
_STRING = _shown("string")
_MAYBE = _shown(["string", "null"])
ADDED = _reply(task_id=_STRING, status=_STATUS, created=_shown("boolean", "false: it was known"))
ADDED_MANY = _reply(added=_shown("integer"), known=_shown("integer"))
ASSIGNMENT = _reply(
    task_id=_STRING,
    family=_STRING,
    module=_MAYBE,
    params=_shown("object"),
    attempt=_shown("integer", "which run of the task this is; name it in each report"),
    run_id=_shown("string", "of this run; name it in each report"),
    deadline=_shown("number", "s since 1970: until then the scheduler must have heard of the worker again"),
    resources=_shown("object"),
    priority=_NUMBER,
)
LOST_RUN = _reply(task_id=_STRING, attempt=_shown("integer"), reason=_STRING)
COMMAND = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": _shown("string", "cancel (task_id, attempt), drain, set_worker_processes (n), or "
                       "dispatch_scheduler_message"),
    },
}  # fmt: skip
HEARD = _reply(
    accepted=_list(_STRING, description="ids of the tasks whose reports were taken"),
    lost=_list(
        LOST_RUN, description="runs that are no longer this worker's: to be stopped, or their results discarded"
    ),
    commands=_list(COMMAND, description="what the worker is to do; each is said once"),
    deadline=_shown("number", "s since 1970: until then the scheduler must have heard of the worker again"),
    state={"type": "string", "enum": ["active", "draining", "disabled"]},
)
DRAINING = _reply(
    worker_id=_STRING, state=_STRING, running=_list(_STRING, description="ids of the tasks it still runs")
)
_FIGURE = _shown(["number", "null"])
DECIDED = _reply(task_id=_STRING, status=_STATUS, changed=_shown("boolean", "false: it was so already"))
PRIORITISED = _reply(task_id=_STRING, status=_STATUS, changed=_shown("boolean"), priority=_FIGURE)
SHORT_TASK = _reply(
    task_id=_STRING,
    status=_STATUS,
    family=_STRING,
    namespace=_STRING,
    priority=_FIGURE,
    worker=_shown(["string", "null"], "who runs it now, or ran it last"),
    attempt=_shown("integer", "how many runs were handed out"),
    updated_at=_TIME,
    run_time=_shown(["number", "null"], "when its last run was handed out, s since 1970"),
)
TASKS = _reply(tasks=_list(SHORT_TASK), next=_shown(["string", "null"], "`after` of the next page; null: that was all"))
TASK = _reply(
    **SHORT_TASK["properties"],
    module=_MAYBE,
    params=_shown("object", "those that are public"),
    deps=_list(_STRING),
    resources=_shown("object"),
    capabilities=_list(_STRING),
    run_id=_MAYBE,
    added_at=_TIME,
    retry_at=_TIME,
    disabled_at=_shown(["number", "null"], "when the scheduler disabled it, s since 1970"),
    failures=_shown("integer", "within the time for which they count"),
    progress={"description": "percent, or what its worker made of it"},
    message={"description": "what its worker said last"},
    tracking_url=_MAYBE,
    error={"description": "of the last failure; text, or what its worker made of it"},
    batch=_MAYBE,
    submitted=_shown("boolean", "it is held until it is done or cancelled"),
    cancelled=_shown(["string", "null"], "why it was cancelled; null: it was not"),
)
WORKER = _reply(
    worker_id=_STRING,
    state={"type": "string", "enum": ["active", "draining", "disabled"]},
    started_at=_TIME,
    last_active=_TIME,
    slots=_FIGURE,
    running=_shown("integer"),
    assistant=_shown("boolean", "it runs anybody's tasks"),
    info=_shown("object", "what it said about itself"),
)
WORKERS = _list(WORKER)
WORKER_AND_TASKS = _reply(**WORKER["properties"], tasks=_list(SHORT_TASK, description="what it runs"))
RESOURCE = _reply(name=_STRING, total=_FIGURE, used=_FIGURE)
RESOURCES = _list(RESOURCE)
SCHEDULER = _reply(paused=_shown("boolean"), pause_enabled=_shown("boolean", "of Luigi's visualiser"))
NAMESPACE = _reply(
    name=_STRING,
    counts=_map({"type": "integer"}, "tasks by status"),
    limit=_shown(["number", "null"], "how many may run at once; null: as many as there are"),
)
NAMESPACES = _list(NAMESPACE)
QUEUE = _reply(ready=_shown("integer"), pending=_shown("integer"), running=_shown("integer"))
FACTS = _reply(task_id=_STRING, status=_STATUS, reason=_shown("string", "one sentence"), facts=_list(_shown("object")))
KEPT_OUTPUT = _reply(task_id=_STRING, attempt=_shown("integer"), kept=_shown("integer", "characters"))
TAIL = _reply(task_id=_STRING, attempt=_shown("integer"), worker=_MAYBE, text=_STRING)
HISTORY = _reply(task_id=_STRING, history=_list(_shown("object"), description="oldest first"))
CLUSTER = {"type": "object", "required": ["node", "state", "leading", "ready"], "properties": {
    "node": _STRING, "state": _STRING, "leading": _shown("boolean"), "ready": _shown("boolean"), "leader": _MAYBE,
}}  # fmt: skip
FAILOVERS = _reply(failovers=_list(_shown("object"), description="oldest first"))
PROBLEM = {
    **_reply(
        type=_shown("string", "leads to what this page says about it"),
        title=_STRING,
        status=_shown("integer"),
        detail=_shown("string", "what was wrong"),
        where=_shown("string", "in which part of the request"),
        expected=_shown("string", "what would have been right"),
    ),
    "description": "RFC 9457 problem details",
}
STALE = {
    **PROBLEM,
    "required": [*PROBLEM["required"], *HEARD["required"]],
    "properties": {**PROBLEM["properties"], **HEARD["properties"]},
    "description": "A report of a finished run was too late. All else in the call was done, and is answered as ever",
}

PATH_PARAMETERS: Mapping[str, Schema] = {
    "task_id": TASK_ID,
    "worker_id": _text("the worker's id", least=1),
    "name": _text("the resource's name", least=1),
}

NAMED: Mapping[str, Schema] = {
    "NewTask": NEW_TASK,
    "NewTaskWithId": NEW_TASK_WITH_ID,
    "NewTasks": NEW_TASKS,
    "RetryPolicy": RETRY_POLICY,
    "Take": TAKE,
    "Held": HELD,
    "Assignment": ASSIGNMENT,
    "Heartbeat": HEARTBEAT,
    "Report": REPORT,
    "Heard": HEARD,
    "LostRun": LOST_RUN,
    "Command": COMMAND,
    "Output": OUTPUT,
    "KeptOutput": KEPT_OUTPUT,
    "Tail": TAIL,
    "Drain": DRAIN,
    "Draining": DRAINING,
    "Added": ADDED,
    "AddedMany": ADDED_MANY,
    "Task": TASK,
    "ShortTask": SHORT_TASK,
    "Tasks": TASKS,
    "Decided": DECIDED,
    "Prioritised": PRIORITISED,
    "Worker": WORKER,
    "WorkerAndTasks": WORKER_AND_TASKS,
    "Resource": RESOURCE,
    "Scheduler": SCHEDULER,
    "Namespace": NAMESPACE,
    "Queue": QUEUE,
    "Facts": FACTS,
    "History": HISTORY,
    "Cluster": CLUSTER,
    "Failovers": FAILOVERS,
    "Problem": PROBLEM,
    "StaleReport": STALE,
}
