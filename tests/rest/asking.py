"""Calls of the REST API, sent as curl sends them: everything is called a form."""

import json
from collections.abc import Mapping
from typing import Any

from tests.api.serving import Reply, Served, request

PROBLEM = "application/problem+json"


async def ask(
    served: Served, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
) -> Reply:
    """One request; `body` is sent as it is if it is bytes, else as JSON."""
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
    return await request(served.port, method, path, body, headers)


async def good(served: Served, method: str, path: str, body: Any = None) -> Any:
    """The JSON of a good answer; None of an empty one."""
    reply = await ask(served, method, path, body)
    assert reply.status in (200, 201, 204), reply
    if reply.status == 204:
        return None
    assert reply.headers["content-type"] == "application/json; charset=UTF-8"
    return reply.json


async def refused(served: Served, method: str, path: str, body: Any = None, *, status: int = 400) -> dict[str, Any]:
    """The problem of a call that was not done."""
    return problem(await ask(served, method, path, body), status)


def problem(reply: Reply, status: int) -> dict[str, Any]:
    """The problem in a reply, which is one as RFC 9457 has them."""
    assert reply.status == status, reply
    assert reply.headers["content-type"] == PROBLEM
    said: dict[str, Any] = reply.json
    assert said["status"] == status
    assert said["type"].startswith("/api/docs#")
    assert all(said[name] for name in ("title", "detail", "where", "expected"))
    return said


async def put(served: Served, *task_ids: str, **more: Any) -> None:
    """Add tasks of family A."""
    for task_id in task_ids:
        await good(served, "PUT", f"/api/task/{task_id}", {"family": "A", **more})


async def take(served: Served, worker: str = "v", **more: Any) -> Any:
    return await good(served, "POST", "/api/task", {"worker": worker, **more})


def report(assignment: Mapping[str, Any], status: str, **more: Any) -> dict[str, Any]:
    """A report on this run."""
    return {name: assignment[name] for name in ("task_id", "attempt", "run_id")} | {"status": status, **more}


async def beat(served: Served, *reports: Mapping[str, Any], worker: str = "v") -> Any:
    return await good(served, "POST", "/api/heartbeat", {"worker": worker, "tasks": list(reports)})


async def status(served: Served, task_id: str) -> str:
    shown = await good(served, "GET", f"/api/task/{task_id}")
    found: str = shown["status"]
    return found
