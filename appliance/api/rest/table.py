"""The REST API in one table: what there is, what each takes, and what it answers.

Requests are found, read and checked by it, and the OpenAPI document is made of it.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from luigi_ha.appliance.api.access_roles import Role, needed
from luigi_ha.appliance.api.rest import answers, building, replies, requests
from luigi_ha.appliance.api.rest.asked import Answer, Asked
from luigi_ha.appliance.api.rest.schema import Schema

if TYPE_CHECKING:
    from luigi_ha.appliance.api.rest.service import Rest

Answering = Callable[["Rest", Asked], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Route:
    """One HTTP method of one path."""

    method: str
    path: str
    call: str  # the engine's method, or the name of what the node itself tells
    tag: str
    summary: str
    returns: Schema | None  # of 200
    body: Schema | None = None
    query: Mapping[str, Schema] = field(default_factory=dict)
    more: Mapping[int, tuple[str, Schema | None]] = field(default_factory=dict)  # other good answers, and odd ones
    text: str = ""
    example: Any = None  # of the body
    answer: Answering = answers.execute
    own: tuple[str, ...] = ()  # fields of the body that are not the engine's

    @property
    def role(self) -> Role:
        """What a token must be for."""
        return needed(self.method, self.path)

    @property
    def changes(self) -> bool:
        """Whether it may change something: then an Idempotency-Key means something."""
        return self.method != "GET"

    @property
    def parameters(self) -> list[str]:
        """Names in the path."""
        return [part[1:-1] for part in self.path.split("/") if part.startswith("{")]


_NAME = {"type": "string", "maxLength": building.LONGEST_ID}
_LIMIT = {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100, "description": "entries of one page"}
_MANY = {"type": "integer", "minimum": 1, "maximum": 100_000, "description": "entries at most"}
_RUN = {"task_id": "etl.Load_1", "attempt": 1, "run_id": "3d0c7b6c2f5e4d1c9d6b6a1f0e9c8b7a"}

ROUTES: tuple[Route, ...] = (
    # -- for workers ---------------------------------------------------------------------------------------------
    Route(
        "POST", "/api/task", "rest_take", "Workers", "Take work", replies.ASSIGNMENT,
        body=requests.TAKE, own=("wait",), answer=answers.take,
        more={204: ("There is no work for this worker now", None)},
        example={"worker": "etl-1", "slots": 4, "wait": 20},
        text="Answers the next task that this worker may run, or 204. With `wait` the answer comes as soon as there is "
        "work. A worker that keeps count of what it runs says so in `holding`: an assignment whose answer was lost is "
        "given again, with the same attempt. Luigi's rules of priority, resources and fairness decide what is next.",
    ),
    Route(
        "POST", "/api/heartbeat", "rest_heartbeat", "Workers", "Report what runs and what has ended", replies.HEARD,
        body=requests.HEARTBEAT,
        more={409: ("A run that was reported as ended is not this worker's any more", replies.STALE)},
        answer=answers.heartbeat,
        example={"worker": "etl-1", "tasks": [{**_RUN, "status": "RUNNING", "progress": 40}]},
        text="Renews the worker's deadline. Each report names the run it is about; a run that is no longer the "
        "worker's is listed in `lost`, with the reason. Repeating a report that was accepted is harmless. `commands` "
        "are said until they are done, messages once: do them, also those of a 409.",
    ),
    Route(
        "POST", "/api/worker/drain", "rest_drain", "Workers", "Give a worker no new work", replies.DRAINING,
        body=requests.DRAIN, more={404: ("No such worker", replies.PROBLEM)}, example={"worker_id": "etl-1"},
        text="What it runs, it finishes. A worker of stock luigi phases out and ends. The id stays drained until it is "
        "undrained, also when the worker is started again or forgotten, and under the next leader.",
    ),
    Route(
        "POST", "/api/worker/undrain", "rest_undrain", "Workers", "Give a drained worker work again", replies.DRAINING,
        body=requests.UNDRAIN, more={404: ("No worker with this id, nor a drained one", replies.PROBLEM)},
        example={"worker_id": "etl-1"},
        text="Also one that was disabled. A worker that is not there (`absent`) gets work when it is.",
    ),
    Route("GET", "/api/drained", "rest_drained", "Workers", "Ids that get no work", replies.DRAINED),
    Route("GET", "/api/worker", "rest_workers", "Workers", "All workers", replies.WORKERS),
    Route(
        "GET", "/api/worker/{worker_id}", "rest_worker", "Workers", "One worker, and what it runs",
        replies.WORKER_AND_TASKS, more={404: ("No such worker", replies.PROBLEM)},
    ),
    Route(
        "PUT", "/api/task/{task_id}/log", "rest_put_log", "Workers", "Show what a run has printed", replies.KEPT_OUTPUT,
        body=requests.OUTPUT, example={"attempt": 1, "run_id": _RUN["run_id"], "text": "loaded 3 of 7 files\n"},
        more={404: ("No such task", replies.PROBLEM), 409: ("It is not the task's last run", replies.PROBLEM)},
        text="The end of the output of the task's current or last run, instead of what was there before. It is kept in "
        "the leader's memory only: the next leader has none, and old ones go when there are many.",
    ),
    # -- for who has work to be done -------------------------------------------------------------------------------
    Route(
        "PUT", "/api/task/{task_id}", "rest_put_task", "Tasks", "Add a task", replies.ADDED,
        body=requests.NEW_TASK, more={201: ("It is new", replies.ADDED)}, answer=answers.put_task,
        example={"family": "etl.Load", "params": {"date": "2026-05-01"}, "deps": ["etl.Transform_1"]},
        text="A task that is known is described anew, no more: what is DONE stays DONE. It waits until its "
        "dependencies are DONE, and does not vanish with whoever added it: it is held until it is DONE or cancelled.",
    ),
    Route(
        "POST", "/api/tasks", "rest_put_tasks", "Tasks", "Add many tasks", replies.ADDED_MANY,
        body=requests.NEW_TASKS,
        example={"tasks": [{"task_id": "etl.Extract_1", "family": "etl.Extract"},
                           {"task_id": "etl.Transform_1", "family": "etl.Transform", "deps": ["etl.Extract_1"]}]},
        text="All of them or, if there is something wrong with one, none. About a thousand for each call is best.",
    ),
    Route(
        "GET", "/api/task", "rest_tasks", "Tasks", "List tasks", replies.TASKS,
        query={
            "status": {"type": "string", "enum": list(building.STATUSES)}, "family": _NAME, "namespace": _NAME,
            "worker": {**_NAME, "description": "run by this worker, now or last"},
            "search": {**_NAME, "description": "part of the id"},
            "prefix": {**_NAME, "description": "how the id or the family begins, with its namespace or without"},
            "limit": _LIMIT,
            "after": {"type": "string", "pattern": "^[0-9]{1,18}$", "description": "`next` of the page before"},
        },
        text="In the order in which they were added. A page may be empty and yet have a `next`: then so much was "
        "looked at, and nothing found.",
    ),
    Route(
        "GET", "/api/task/{task_id}", "rest_task", "Tasks", "One task", replies.TASK,
        more={404: ("No such task", replies.PROBLEM)},
    ),
    Route(
        "GET", "/api/task/{task_id}/why", "why", "Tasks", "Why it is not running", replies.FACTS,
        more={404: ("No such task", replies.PROBLEM)}, answer=answers.why,
    ),
    Route(
        "GET", "/api/task/{task_id}/history", "history", "Tasks", "The log of its changes", replies.HISTORY,
        query={"limit": {**_MANY, "default": 1000}}, more={404: ("No such task", replies.PROBLEM)},
        answer=answers.history,
    ),
    Route(
        "GET", "/api/task/{task_id}/log", "rest_log", "Tasks", "The end of what it has printed", replies.TAIL,
        more={404: ("No such task, or nothing is kept of it: `expected` says where the whole is", replies.PROBLEM)},
    ),
    Route(
        "POST", "/api/task/{task_id}/retry", "rest_retry", "Tasks", "Run it again now", replies.DECIDED,
        body=requests.NO_FIELDS, more={404: ("No such task", replies.PROBLEM)},
        text="What has failed or was disabled is PENDING again, and its failures are forgiven.",
    ),
    Route(
        "POST", "/api/task/{task_id}/cancel", "rest_cancel", "Tasks", "Have it run by nobody", replies.DECIDED,
        body=requests.CANCEL, more={404: ("No such task", replies.PROBLEM)}, example={"reason": "wrong date"},
        answer=answers.cancel,
        text="What is not running is DISABLED. The worker of a running one is told with its next heartbeat; whatever "
        "it reports then, the task is DISABLED.",
    ),
    Route(
        "POST", "/api/task/{task_id}/done", "rest_done", "Tasks", "Count it as done", replies.DECIDED,
        body=requests.NO_FIELDS, more={404: ("No such task", replies.PROBLEM)},
    ),
    Route(
        "POST", "/api/task/{task_id}/priority", "rest_priority", "Tasks", "Change its priority", replies.PRIORITISED,
        body=requests.NEW_PRIORITY, more={404: ("No such task", replies.PROBLEM)}, example={"priority": 10},
    ),
    # -- for operators ---------------------------------------------------------------------------------------------
    Route("GET", "/api/resource", "rest_resources", "Scheduler", "All resources", replies.RESOURCES),
    Route(
        "PUT", "/api/resource", "rest_put_resource", "Scheduler", "Set a resource's total", replies.RESOURCE,
        body=requests.NAMED_TOTAL, example={"name": "database", "total": 4},
    ),
    Route(
        "GET", "/api/resource/{name}", "rest_resources", "Scheduler", "One resource", replies.RESOURCE,
        more={404: ("No such resource", replies.PROBLEM)}, answer=answers.resource,
    ),
    Route(
        "PUT", "/api/resource/{name}", "rest_put_resource", "Scheduler", "Set its total", replies.RESOURCE,
        body=requests.TOTAL, example={"total": 4},
        text="It outlives restarts and goes before what is configured.",
    ),
    Route("GET", "/api/scheduler", "rest_scheduler", "Scheduler", "Whether work is handed out", replies.SCHEDULER),
    Route(
        "PUT", "/api/scheduler", "rest_put_scheduler", "Scheduler", "Pause or go on", replies.SCHEDULER,
        body=requests.PAUSED, example={"paused": True},
    ),
    Route("GET", "/api/namespace", "rest_namespaces", "Scheduler", "All namespaces", replies.NAMESPACES),
    Route("GET", "/api/queue", "rest_queue", "Scheduler", "How much there is to do, for autoscalers", replies.QUEUE),
    Route(
        "GET", "/api/cluster", "cluster", "Cluster", "What `luigi-ha status` shows", replies.CLUSTER,
        answer=answers.cluster,
    ),
    Route(
        "GET", "/api/cluster/failovers", "failovers", "Cluster", "Who led when, and why that changed",
        replies.FAILOVERS, query={"limit": {**_MANY, "default": 20}}, answer=answers.failovers,
    ),
    Route(
        "GET", "/api/cluster/incident", "incident", "Cluster", "A change of leader that nobody had wanted, whole",
        replies.INCIDENT, query={"number": {**_MANY, "default": 1, "description": "1: the last one"}},
        more={404: ("No such incident", replies.PROBLEM)}, answer=answers.incident,
    ),
    Route(
        "GET", "/api/openapi.json", "openapi", "Documentation", "This API as an OpenAPI 3.1 document",
        {"type": "object"}, answer=answers.openapi,
    ),
    Route(
        "GET", "/api/docs", "docs", "Documentation", "This API as a page", None,
        more={200: ("The page", None)}, answer=answers.docs,
    ),
)  # fmt: skip
