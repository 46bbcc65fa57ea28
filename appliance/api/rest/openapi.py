"""The OpenAPI 3.1 document, made of the table of routes: it cannot say anything else than what is checked and done."""

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from luigi_ha.appliance.api.access_roles import Role
from luigi_ha.appliance.api.calls import MAX_KEY
from luigi_ha.appliance.api.rest import replies, requests
from luigi_ha.appliance.api.rest.problems import KINDS, PROBLEM, problem
from luigi_ha.appliance.api.rest.schema import Schema
from luigi_ha.appliance.api.rest.table import ROUTES, Route

_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same for each repetition of one call, and another for each other call. Repeated, a call that "
    "changed something is answered as the first time and changes nothing, also by the next leader, for an hour.",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY, "pattern": "^[ -~]+$"},
}
_INTRODUCTION = """\
Workers in any language take tasks, say how they get on, and report results; whoever has work to be done adds tasks.

* Any node takes any call: the leader executes it. While there is no leader, a call waits (up to 9 s).
* Bodies are JSON, whatever the Content-Type says. Fields that are not known are refused.
* Each run of a task has an `attempt` and a `run_id`; a report names both. Once a task was given to somebody else, the \
reports of the run before change nothing.
* Repeat what was not answered. A call that changes something may carry an `Idempotency-Key`: then repeating it is \
always harmless.
* What was not done is told as problem details (RFC 9457).
* Ids in paths are percent-encoded: a slash is `%2F`.

Luigi's own calls, `/api/<method>`, are beside these, and are not described here.
"""
_TAGS = {
    "Workers": "Taking tasks and reporting on them",
    "Tasks": "Adding tasks, looking at them, deciding about them",
    "Scheduler": "Resources, the pause, and figures",
    "Cluster": "The nodes",
    "Documentation": "This document",
}
_ROLES = {
    Role.NOBODY: "Anybody may.",
    Role.VIEWER: "Role: viewer.",
    Role.WORKER: "Role: worker.",
    Role.OPERATOR: "Role: operator.",
}
# Objects that appear under a name of their own.
NAMED: Mapping[str, Schema] = {
    "NewTask": requests.NEW_TASK,
    "NewTaskWithId": requests.NEW_TASK_WITH_ID,
    "NewTasks": requests.NEW_TASKS,
    "RetryPolicy": requests.RETRY_POLICY,
    "Take": requests.TAKE,
    "Held": requests.HELD,
    "Assignment": replies.ASSIGNMENT,
    "Heartbeat": requests.HEARTBEAT,
    "Report": requests.REPORT,
    "Heard": replies.HEARD,
    "LostRun": replies.LOST_RUN,
    "Command": replies.COMMAND,
    "Output": requests.OUTPUT,
    "KeptOutput": replies.KEPT_OUTPUT,
    "Tail": replies.TAIL,
    "Drain": requests.DRAIN,
    "Draining": replies.DRAINING,
    "Added": replies.ADDED,
    "AddedMany": replies.ADDED_MANY,
    "Task": replies.TASK,
    "ShortTask": replies.SHORT_TASK,
    "Tasks": replies.TASKS,
    "Decided": replies.DECIDED,
    "Prioritised": replies.PRIORITISED,
    "Worker": replies.WORKER,
    "WorkerAndTasks": replies.WORKER_AND_TASKS,
    "Resource": replies.RESOURCE,
    "Scheduler": replies.SCHEDULER,
    "Namespace": replies.NAMESPACE,
    "Queue": replies.QUEUE,
    "Facts": replies.FACTS,
    "History": replies.HISTORY,
    "Cluster": replies.CLUSTER,
    "Failovers": replies.FAILOVERS,
    "Problem": replies.PROBLEM,
    "StaleReport": replies.STALE,
}
_BY_IDENTITY = {id(schema): name for name, schema in NAMED.items()}


def document() -> dict[str, Any]:
    """All of it."""
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "luigi-ha",
            "version": _version(),
            "summary": "Workers and tasks of the scheduler",
            "description": _INTRODUCTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "The node that serves this document"}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "security": [{}, {"token": []}, {"password": []}],
        "paths": paths,
        "components": {
            "schemas": {name: _schema(schema, named=False) for name, schema in NAMED.items()},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "A token of `luigi-ha token create`"},
                "password": {"type": "http", "scheme": "basic", "description": "A token as the password of any user"},
            },
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"{route.method.lower()}_{route.call}_{len(route.parameters)}",
        "tags": [route.tag],
        "summary": route.summary,
        "description": " ".join(part for part in (route.text, _ROLES[route.role]) if part),
        "parameters": [*_parameters(route)],
        "responses": {str(status): reply for status, reply in sorted(_responses(route).items())},
    }
    if route.role is Role.NOBODY:
        operation["security"] = []
    if route.body is not None:
        media: dict[str, Any] = {"schema": _schema(route.body)}
        if route.example is not None:
            media["example"] = route.example
        operation["requestBody"] = {"required": "required" in route.body, "content": {"application/json": media}}
    return operation


def _parameters(route: Route) -> list[dict[str, Any]]:
    found = [
        {"name": name, "in": "path", "required": True, "schema": _schema(requests.PATH_PARAMETERS[name])}
        for name in route.parameters
    ]
    for name, schema in route.query.items():
        found.append({"name": name, "in": "query", "required": False, "schema": _schema(schema)})
    return [*found, _KEY] if route.changes else found


def _responses(route: Route) -> dict[int, dict[str, Any]]:
    replies: dict[int, dict[str, Any]] = {}
    if route.returns is not None:
        replies[200] = {"description": "Done", "content": {"application/json": {"schema": _schema(route.returns)}}}
    else:
        replies[200] = {"description": "The page", "content": {"text/html": {"schema": {"type": "string"}}}}
    for status, (description, schema) in route.more.items():
        replies[status] = {"description": description}
        if schema is not None:
            kind = PROBLEM if status >= 400 else "application/json"
            replies[status]["content"] = {kind: {"schema": _schema(schema)}}
    for status in _problems(route):
        if status not in replies:
            replies[status] = _problem(status)
    return replies


def _problems(route: Route) -> list[int]:
    """What may be refused here, besides what the route itself says."""
    statuses = [400, 500, 503]
    if route.role is not Role.NOBODY:
        statuses += [401, 403]
    if route.body is not None:
        statuses.append(413)
    if route.changes:
        statuses.append(422)
    return statuses


def _problem(status: int) -> dict[str, Any]:
    example = problem(status, detail="...", where="...", expected="...")
    reply: dict[str, Any] = {
        "description": f"{KINDS[status].title}: {KINDS[status].text}",
        "content": {PROBLEM: {"schema": _schema(replies.PROBLEM), "example": example}},
    }
    if status == 503:
        reply["headers"] = {"Retry-After": {"description": "s", "schema": {"type": "integer"}}}
    if status == 401:
        reply["headers"] = {"WWW-Authenticate": {"schema": {"type": "string"}}}
    return reply


def _schema(schema: Schema, *, named: bool = True) -> dict[str, Any]:
    """The schema as the document has it: named ones by reference."""
    if named and id(schema) in _BY_IDENTITY:
        return {"$ref": f"#/components/schemas/{_BY_IDENTITY[id(schema)]}"}
    return {name: _inside(name, value) for name, value in schema.items() if not name.startswith("x-")}


def _inside(name: str, value: Any) -> Any:
    if name == "properties":
        return {key: _schema(inner) for key, inner in value.items()}
    if name == "anyOf":
        return [_schema(inner) for inner in value]
    if name in ("items", "additionalProperties") and isinstance(value, Mapping):
        return _schema(value)
    return value


def _version() -> str:
    try:
        return version("luigi-ha")
    except PackageNotFoundError:
        return "0"
