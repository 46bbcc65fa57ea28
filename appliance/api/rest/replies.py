"""What the REST API answers. All of it is always there; a later version may say more."""

from luigi_ha.appliance.api.rest.building import (
    STATUSES,
    listed,
    mapped,
    reply_object,
    shown,
)

_STATUS = {"type": "string", "enum": list(STATUSES)}
_NUMBER = shown("number")
_TIME = shown(["number", "null"], "s since 1970")
_STRING = shown("string")
_MAYBE = shown(["string", "null"])
ADDED = reply_object(task_id=_STRING, status=_STATUS, created=shown("boolean", "false: it was known"))
ADDED_MANY = reply_object(added=shown("integer"), known=shown("integer"))
ASSIGNMENT = reply_object(
    task_id=_STRING,
    family=_STRING,
    module=_MAYBE,
    params=shown("object"),
    attempt=shown("integer", "which run of the task this is; name it in each report"),
    run_id=shown("string", "of this run; name it in each report"),
    deadline=shown("number", "s since 1970: until then the scheduler must have heard of the worker again"),
    resources=shown("object"),
    priority=_NUMBER,
)
LOST_RUN = reply_object(task_id=_STRING, attempt=shown("integer"), reason=_STRING)
COMMAND = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": shown("string", "cancel (task_id, attempt), drain, set_worker_processes (n), or "
                       "dispatch_scheduler_message"),
    },
}  # fmt: skip
HEARD = reply_object(
    accepted=listed(_STRING, description="ids of the tasks whose reports were taken"),
    lost=listed(
        LOST_RUN, description="runs that are no longer this worker's: to be stopped, or their results discarded"
    ),
    commands=listed(COMMAND, description="what the worker is to do; each is said once"),
    deadline=shown("number", "s since 1970: until then the scheduler must have heard of the worker again"),
    state={"type": "string", "enum": ["active", "draining", "disabled"]},
)
DRAINING = reply_object(
    worker_id=_STRING,
    state={"type": "string", "enum": ["active", "draining", "disabled", "absent"]},
    running=listed(_STRING, description="ids of the tasks it still runs")
)
_FIGURE = shown(["number", "null"])
DECIDED = reply_object(task_id=_STRING, status=_STATUS, changed=shown("boolean", "false: it was so already"))
PRIORITISED = reply_object(task_id=_STRING, status=_STATUS, changed=shown("boolean"), priority=_FIGURE)
SHORT_TASK = reply_object(
    task_id=_STRING,
    status=_STATUS,
    family=_STRING,
    namespace=_STRING,
    priority=_FIGURE,
    worker=shown(["string", "null"], "who runs it now, or ran it last"),
    attempt=shown("integer", "how many runs were handed out"),
    updated_at=_TIME,
    run_time=shown(["number", "null"], "when its last run was handed out, s since 1970"),
)
TASKS = reply_object(
    tasks=listed(SHORT_TASK), next=shown(["string", "null"], "`after` of the next page; null: that was all")
)
TASK = reply_object(
    **SHORT_TASK["properties"],
    module=_MAYBE,
    params=shown("object", "those that are public"),
    deps=listed(_STRING),
    resources=shown("object"),
    capabilities=listed(_STRING),
    run_id=_MAYBE,
    added_at=_TIME,
    retry_at=_TIME,
    disabled_at=shown(["number", "null"], "when the scheduler disabled it, s since 1970"),
    failures=shown("integer", "within the time for which they count"),
    progress={"description": "percent, or what its worker made of it"},
    message={"description": "what its worker said last"},
    tracking_url=_MAYBE,
    error={"description": "of the last failure; text, or what its worker made of it"},
    batch=_MAYBE,
    submitted=shown("boolean", "it is held until it is done or cancelled"),
    cancelled=shown(["string", "null"], "why it was cancelled; null: it was not"),
)
WORKER = reply_object(
    worker_id=_STRING,
    state={"type": "string", "enum": ["active", "draining", "disabled"]},
    started_at=_TIME,
    last_active=_TIME,
    slots=_FIGURE,
    running=shown("integer"),
    assistant=shown("boolean", "it runs anybody's tasks"),
    info=shown("object", "what it said about itself"),
)
WORKERS = listed(WORKER)
WORKER_AND_TASKS = reply_object(**WORKER["properties"], tasks=listed(SHORT_TASK, description="what it runs"))
RESOURCE = reply_object(name=_STRING, total=_FIGURE, used=_FIGURE)
RESOURCES = listed(RESOURCE)
SCHEDULER = reply_object(paused=shown("boolean"), pause_enabled=shown("boolean", "of Luigi's visualiser"))
DRAINED = listed(
    reply_object(worker_id=_STRING, since=_TIME, known=shown("boolean", "false: it was not heard of lately"))
)
NAMESPACE = reply_object(
    name=_STRING,
    counts=mapped({"type": "integer"}, "tasks by status"),
    limit=shown(["number", "null"], "how many may run at once; null: as many as there are"),
)
NAMESPACES = listed(NAMESPACE)
QUEUE = reply_object(
    ready=shown("integer", "tasks that could be begun now, beside each other and those that run, by workers enough"),
    pending=shown("integer", "all that are PENDING"),
    running=shown("integer"),
)
FACTS = reply_object(
    task_id=_STRING,
    status={"type": "string", "enum": [*STATUSES, "REMOVED"]},
    reason=shown("string", "one sentence"),
    facts=listed(shown("object")),
)
KEPT_OUTPUT = reply_object(task_id=_STRING, attempt=shown("integer"), kept=shown("integer", "characters"))
TAIL = reply_object(task_id=_STRING, attempt=shown("integer"), worker=_MAYBE, text=_STRING)
HISTORY = reply_object(task_id=_STRING, history=listed(shown("object"), description="oldest first"))
CLUSTER = {"type": "object", "required": ["node", "state", "leading", "ready"], "properties": {
    "node": _STRING, "state": _STRING, "leading": shown("boolean"), "ready": shown("boolean"), "leader": _MAYBE,
}}  # fmt: skip
FAILOVERS = reply_object(failovers=listed(shown("object"), description="oldest first"))
INCIDENT = reply_object(
    epoch=shown("integer", "of who led afterwards"),
    at=shown("number", "when calls were served again, s since 1970"),
    holder=_STRING, previous=_MAYBE, cause=_STRING,
    promotion_seconds=shown("number"), parked_seconds=shown(["number", "null"]), warm=shown("boolean"),
    events_read=shown("integer"),
    story=shown(["object", "null"], "what the new leader logged: [ms, part, event, fields]"),
)  # fmt: skip
PROBLEM = {
    **reply_object(
        type=shown("string", "leads to what this page says about it"),
        title=_STRING,
        status=shown("integer"),
        detail=shown("string", "what was wrong"),
        where=shown("string", "in which part of the request"),
        expected=shown("string", "what would have been right"),
    ),
    "description": "RFC 9457 problem details",
}
STALE = {
    **PROBLEM,
    "required": [*PROBLEM["required"], *HEARD["required"]],
    "properties": {**PROBLEM["properties"], **HEARD["properties"]},
    "description": "A report of a finished run was too late. All else in the call was done, and is answered as ever",
}
