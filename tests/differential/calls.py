"""Random calls, in a mixture that keeps something happening: work is described, handed out, reported, lost and found.

A call is chosen by looking at the reference's state, and recorded with its arguments as JSON, as on the wire.
What is recorded can be replayed without the generator, which is how a mismatch is made small.
"""

import hashlib
import json
import random
from collections.abc import Callable
from typing import Any, NamedTuple

WORKERS = 7
FAMILIES = ("Alpha", "marketing.Extract", "marketing.Load", "Gamma")


class Call(NamedTuple):
    """One call, `wait` seconds after the one before. A message id in it is symbolic: "message:3" is the third sent."""

    wait: float
    method: str
    kwargs: str  # JSON object


class World(NamedTuple):
    """What a run has to itself: options, totals of resources, and how many tasks there may be."""

    options: dict[str, Any]
    resources: dict[str, int]
    tasks: int


def make_world(rng: random.Random) -> World:
    """Options that make things happen within minutes of fake time."""
    options = {
        "retry_delay": rng.choice([3.5, 30.5, 100.5, 900.5, -1.0]),
        "remove_delay": rng.choice([15.5, 60.5, 300.5]),
        "worker_disconnect_delay": rng.choice([8.5, 20.5, 60.5]),
        "batch_emails": rng.random() < 0.3,
        "disable_window": rng.choice([20, 100, 3600]),
        "retry_count": rng.choice([1, 2, 3, 999999999]),
        "disable_hard_timeout": rng.choice([50, 999999999, 999999999]),
        "disable_persist": rng.choice([25, 200, 86400]),
        "max_shown_tasks": rng.choice([7, 30, 100000, 100000]),
        "max_graph_nodes": rng.choice([5, 25, 100000, 100000]),
        "record_task_history": False,
        "prune_on_get_work": rng.random() < 0.25,
        "pause_enabled": rng.random() < 0.8,
        "send_messages": rng.random() < 0.8,
        "stable_done_cooldown_secs": rng.choice([0, 0, 10]),
    }
    resources = rng.choice([{}, {"r1": 1}, {"r1": 2, "r2": 1}, {"r1": 3, "r2": 2, "r3": 0}])
    return World(options, resources, rng.choice([12, 40, 120, 300]))


class Generator:
    """Chooses the next call. `reference` is read, never changed."""

    def __init__(self, rng: random.Random, world: World, reference: Any) -> None:
        self._rng = rng
        self._world = world
        self._reference = reference
        self._messages = 0
        self._heads: dict[str, tuple[str, dict[str, Any]]] = {}  # worker -> batch it was given and may claim
        self._last: tuple[str, dict[str, Any]] | None = None
        # Some runs are about resources, some know none: without them Luigi takes another path.
        self._resourceful = rng.choice([0.0, 0.1, 0.6])
        self._pace = rng.choice([0.05, 0.2, 1.0])  # in slow time fewer workers are lost, and more work piles up
        self._families = rng.choice([1, 2, 4])
        self._kinds = rng.choice([1, 3])  # values of the parameter that is not batched
        self._assistants = {f"w{n}" for n in range(WORKERS) if rng.random() < 0.15}
        self._batchable = rng.choice([0.0, 0.5, 0.95, 0.95])
        methods = [(weight, method) for method, weight in _WEIGHTS.items()]
        self._methods = [method for _weight, method in methods]
        self._weights = [weight for weight, _method in methods]

    def next(self) -> Call:
        rng = self._rng
        if self._last is not None and rng.random() < 0.02:
            method, kwargs = self._last  # the same again: its reply was lost
        else:
            method = rng.choices(self._methods, self._weights)[0]
            make: Callable[[], dict[str, Any]] = getattr(self, f"_{method}")
            kwargs = make()
        self._last = (method, kwargs)
        return Call(self._wait(), _NAMES.get(method, method), json.dumps(kwargs))

    def learn(self, call: Call, reply: Any) -> None:
        """Look at the reference's reply: batches are claimed later, messages answered."""
        if call.method == "get_work" and isinstance(reply, dict) and reply.get("batch_id"):
            worker = json.loads(call.kwargs)["worker"]
            self._heads[worker] = (reply["batch_id"], reply["task_params"])
        if call.method == "send_scheduler_message" and isinstance(reply, dict) and reply["message_id"]:
            self._messages += 1

    # -- picking --------------------------------------------------------------------------------------------

    def _wait(self) -> float:
        rng = self._rng
        kind = rng.random()
        if kind < 0.75:
            return self._pace * rng.uniform(0.001, 0.4)
        if kind < 0.98:
            return self._pace * rng.uniform(0.4, 4)
        if kind < 0.9995:
            return self._pace * rng.uniform(4, 40)
        return rng.uniform(40, 1000)

    def _worker(self) -> str:
        return f"w{self._rng.randrange(WORKERS)}"

    def _number(self) -> int:
        return self._rng.randrange(self._world.tasks)

    def _task(self) -> str:
        """Mostly a task that may exist; sometimes the head of a batch, sometimes nobody."""
        kind = self._rng.random()
        if kind < 0.9:
            return _task_id(self._number())
        known = self._known()
        if kind < 0.98 and known:
            return self._rng.choice(known).id
        return "Nobody_1"

    def _family(self, number: int) -> str:
        return FAMILIES[number % self._families]

    def _params(self, number: int) -> dict[str, str]:
        return {"a": str(number % self._kinds), "b": str(number)}

    def _known(self, *statuses: str) -> list[Any]:
        state = self._reference._state
        return list(state.get_active_tasks_by_status(*statuses) if statuses else state.get_active_tasks())

    def _resources(self) -> Any:
        if self._rng.random() >= self._resourceful:
            return self._rng.choice([None, {}])
        needs = [{"r1": 1}, {"r1": 1}, {"r1": 2}, {"r2": 1}, {"r1": 1, "r2": 1}, {"r4": 1}, {"r1": 0.5}, {"r3": 0}]
        return self._rng.choice(needs)

    def _deps(self, number: int, most: int = 3) -> list[str]:
        """Only upwards, so that there is no cycle; sometimes on what will never be described."""
        higher = range(number + 1, self._world.tasks + 2)
        count = min(self._rng.choice([0, 0, 0, 1, 1, 2, most]), len(higher))
        return [_task_id(n) for n in self._rng.sample(higher, count)]

    def _retry_policy(self) -> Any:
        rng = self._rng
        if rng.random() < 0.6:
            return rng.choice([None, {}, {"retry_count": None, "disable_hard_timeout": None, "disable_window": None}])
        policy: dict[str, int] = {}
        if rng.random() < 0.7:
            policy["retry_count"] = rng.choice([1, 2, 4])
        if rng.random() < 0.3:
            policy["disable_hard_timeout"] = rng.choice([15, 80])
        if rng.random() < 0.3:
            policy["disable_window"] = rng.choice([10, 60])
        return policy

    # -- describing and reporting ----------------------------------------------------------------------------

    def _describe(self) -> dict[str, Any]:
        rng = self._rng
        number = self._number()
        worker = self._worker()
        kwargs: dict[str, Any] = {
            "task_id": _task_id(number),
            "worker": worker,
            "family": self._family(number),
            "module": rng.choice(["etl", "etl", None]),
            "params": self._params(number),
            "priority": rng.choice([0, 0, 0, 1, 5, 10, -3, 2.5]),
            "resources": self._resources(),
            "retry_policy_dict": self._retry_policy(),
            "owners": rng.choice([[], ["ann"], ["ann", "bob"]]),
            "accepts_messages": rng.choice([True, False, None]),
            "assistant": worker in self._assistants,
            "runnable": rng.random() < 0.93,
            "status": rng.choices(["PENDING", "DONE", "UNKNOWN", "SUSPENDED"], [92, 4, 3, 1])[0],
        }
        if rng.random() < 0.8:
            kwargs["deps"] = self._deps(number)
        if rng.random() < self._batchable:
            kwargs["batchable"] = rng.random() < 0.9
        if rng.random() < 0.2:
            kwargs["param_visibilities"] = rng.choice([{"a": 1}, {"b": 2}, {"a": 0, "b": 1}, {}])
        if rng.random() < 0.1:
            kwargs["tracking_url"] = rng.choice(["http://t/1", None])
        if rng.random() < 0.1:
            del kwargs["family"], kwargs["module"], kwargs["params"]
        return kwargs

    def _report(self) -> dict[str, Any]:
        """What a worker says of a task it runs, as the client says it; sometimes of another's task."""
        rng = self._rng
        running = self._known("RUNNING")
        if not running or rng.random() < 0.05:
            running = self._known() or running
        if not running:
            return self._describe()
        task = rng.choice(running)
        worker = task.worker_running if task.worker_running and rng.random() < 0.93 else self._worker()
        kwargs: dict[str, Any] = {
            "task_id": task.id,
            "worker": worker,
            "family": task.family,
            "module": task.module,
            "params": task.params,
            "priority": 0,
            "resources": task.resources if rng.random() < 0.8 else self._resources(),
            "deps": None,
            "runnable": None,
            "retry_policy_dict": self._retry_policy(),
            "owners": ["ann"],
            "accepts_messages": rng.choice([True, None]),
            "assistant": worker in self._assistants,
            "status": rng.choices(["DONE", "FAILED", "PENDING", "RUNNING", "DISABLED"], [55, 30, 10, 4, 1])[0],
        }
        if kwargs["status"] == "FAILED" and (rng.random() < 0.85 or self._world.options["batch_emails"]):
            kwargs["expl"] = rng.choice(['"Traceback: one"', '"two\\nlines"', "not json"])
        elif rng.random() < 0.5:
            kwargs["expl"] = "null"
        if kwargs["status"] == "PENDING" and task.id.startswith("t"):
            kwargs["new_deps"] = self._deps(int(task.id[1:]))
            kwargs["runnable"] = True
        if rng.random() < 0.15:
            kwargs["tracking_url"] = "http://t/2"
        if rng.random() < 0.2 and task.batch_id is not None:
            kwargs["batch_id"] = task.batch_id
        return kwargs

    def _claim(self) -> dict[str, Any]:
        """The head of a batch, described as RUNNING by the worker that was given it."""
        if not self._heads:
            return self._report()
        worker = self._rng.choice(sorted(self._heads))
        batch_id, params = self._heads[worker]
        if self._rng.random() < 0.9:
            del self._heads[worker]
        head = "Batch_" + hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()[:8]
        return {
            "task_id": head,
            "worker": worker,
            "family": FAMILIES[0],
            "module": "etl",
            "params": params,
            "status": "RUNNING",
            "batch_id": batch_id,
            "resources": self._resources(),
            "accepts_messages": True,
            "assistant": worker in self._assistants,
        }

    # -- work -------------------------------------------------------------------------------------------------

    def _get_work(self) -> dict[str, Any]:
        rng = self._rng
        worker = self._worker()
        kwargs: dict[str, Any] = {"worker": worker, "host": "host", "assistant": worker in self._assistants}
        running = [task.id for task in self._known("RUNNING") if task.worker_running == worker]
        kind = rng.random()
        if kind < 0.75:
            kwargs["current_tasks"] = running
        elif kind < 0.9:
            kwargs["current_tasks"] = running[:-1]  # one reply was lost
        return kwargs

    def _count_pending(self) -> dict[str, Any]:
        return {"worker": self._worker()}

    def _ping(self) -> dict[str, Any]:
        return {"worker": self._worker()}

    def _add_worker(self) -> dict[str, Any]:
        worker = self._worker()
        info: list[Any] = [["workers", self._rng.choice([1, 1, 2, 4])], ["first_task", self._task()]]
        if worker in self._assistants:
            info.append(["assistant", True])
        return {"worker": worker, "info": self._rng.choice([info, dict(info)])}

    def _disable_worker(self) -> dict[str, Any]:
        return {"worker": self._worker()}

    def _add_task_batcher(self) -> dict[str, Any]:
        rng = self._rng
        kwargs = {
            "worker": self._worker(),
            "task_family": self._family(self._number()),
            "batched_args": rng.choice([["b"], ["b"], ["b"], ["b"], ["a", "b"], ["missing"], []]),
        }
        if rng.random() < 0.8:
            kwargs["max_batch_size"] = rng.choice([float("inf"), 2, 3, 1])
        return kwargs

    def _announce_scheduling_failure(self) -> dict[str, Any]:
        number = self._number()
        return {
            "worker": self._worker(),
            "task_name": _task_id(number),
            "family": self._family(number),
            "params": self._params(number),
            "expl": "could not load",
            "owners": ["ann"],
        }

    # -- people ---------------------------------------------------------------------------------------------

    def _forgive_failures(self) -> dict[str, Any]:
        failed = self._known("FAILED")
        return {"task_id": self._rng.choice(failed).id if failed and self._rng.random() < 0.8 else self._task()}

    def _mark_as_done(self) -> dict[str, Any]:
        return {"task_id": self._task()}

    def _re_enable_task(self) -> dict[str, Any]:
        disabled = self._known("DISABLED")
        return {"task_id": self._rng.choice(disabled).id if disabled and self._rng.random() < 0.8 else self._task()}

    def _disable_task(self) -> dict[str, Any]:
        return {"task_id": self._task(), "worker": self._worker(), "status": "DISABLED"}

    def _set_worker_processes(self) -> dict[str, Any]:
        return {"worker": self._worker(), "n": self._rng.randrange(1, 5)}

    def _send_scheduler_message(self) -> dict[str, Any]:
        content = self._rng.choice(["go", {"x": [1, None]}, 3])
        return {"worker": self._worker(), "task": self._task(), "content": content}

    def _add_scheduler_message_response(self) -> dict[str, Any]:
        task_id = _task_id(self._rng.randrange(4))
        return {"task_id": task_id, "message_id": self._message(), "response": self._rng.choice(["yes", 7, None])}

    def _get_scheduler_message_response(self) -> dict[str, Any]:
        return {"task_id": _task_id(self._rng.randrange(4)), "message_id": self._message()}

    def _message(self) -> str:
        return f"message:{self._rng.randrange(max(0, self._messages - 3), self._messages + 1)}"

    def _none(self) -> dict[str, Any]:
        return {}

    _pause = _unpause = _is_paused = _is_pause_enabled = _has_task_history = _prune = _none
    _graph = _resource_list = _none

    def _update_resource(self) -> dict[str, Any]:
        return {"resource": self._rng.choice(["r1", "r2", "r3"]), "amount": self._rng.choice([0, 1, 2, 3, -1, 1.5])}

    def _update_resources(self) -> dict[str, Any]:
        return {"r1": self._rng.choice([1, 2, 4]), "r2": self._rng.choice([1, 2])}

    # -- what tasks say of themselves ------------------------------------------------------------------------

    def _running(self) -> str:
        running = self._known("RUNNING")
        heads = [task for task in running if task.batch_id is not None]
        if heads and self._rng.random() < 0.3:
            running = heads
        return self._rng.choice(running).id if running and self._rng.random() < 0.9 else self._task()

    def _set_task_status_message(self) -> dict[str, Any]:
        message = self._rng.choice(["half way", "", None, "\u00e4\u0000\ud800"])
        return {"task_id": self._running(), "status_message": message}

    def _set_task_progress_percentage(self) -> dict[str, Any]:
        return {"task_id": self._running(), "progress_percentage": self._rng.choice([0, 50, 99.5, None])}

    def _decrease_running_task_resources(self) -> dict[str, Any]:
        decrease = self._rng.choice([{"r1": 1}, {"r1": 0.5, "r2": 1}, {"r9": 1}, {"r1": 0}, {}])
        return {"task_id": self._running(), "decrease_resources": decrease}

    def _report_task_statistics(self) -> dict[str, Any]:
        return {"task_id": self._running(), "statistics": {"cpu": 1.5}}

    def _update_metrics_task_started(self) -> dict[str, Any]:
        return {"task": self._running()}

    # -- looking ----------------------------------------------------------------------------------------------

    def _about_task(self) -> dict[str, Any]:
        return {"task_id": self._task()}

    _fetch_error = _get_task_status_message = _get_task_progress_percentage = _get_running_task_resources = _about_task

    def _dep_graph(self) -> dict[str, Any]:
        return {"task_id": self._task(), "include_done": self._rng.random() < 0.6}

    _inverse_dep_graph = _dep_graph

    def _task_list(self) -> dict[str, Any]:
        rng = self._rng
        kwargs: dict[str, Any] = {
            "status": rng.choice(["", "PENDING", "PENDING", "RUNNING", "BATCH_RUNNING", "FAILED", "DISABLED", "DONE"]),
            "upstream_status": rng.choice(["", "", *_UPSTREAM]),
            "limit": rng.random() < 0.8,
        }
        if rng.random() < 0.3:
            kwargs["search"] = rng.choice(["alpha", "b=1", "marketing a=2", "", "zzz"])
        if rng.random() < 0.2:
            kwargs["max_shown_tasks"] = rng.choice([3, 20, 1000])
        return kwargs

    def _worker_list(self) -> dict[str, Any]:
        return {"include_running": self._rng.random() < 0.8}

    def _task_search(self) -> dict[str, Any]:
        return {"task_str": self._rng.choice(["1", "t2", "Batch", "nothing"])}


_UPSTREAM = ("UPSTREAM_RUNNING", "UPSTREAM_MISSING_INPUT", "UPSTREAM_FAILED", "UPSTREAM_DISABLED")
_NAMES = {"describe": "add_task", "report": "add_task", "claim": "add_task", "disable_task": "add_task"}
_WEIGHTS = {
    "describe": 300,
    "report": 170,
    "claim": 25,
    "get_work": 250,
    "count_pending": 30,
    "ping": 60,
    "add_worker": 12,
    "add_task_batcher": 20,
    "disable_worker": 0.7,
    "disable_task": 3,
    "announce_scheduling_failure": 3,
    "forgive_failures": 8,
    "mark_as_done": 4,
    "re_enable_task": 8,
    "set_worker_processes": 4,
    "send_scheduler_message": 6,
    "add_scheduler_message_response": 12,
    "get_scheduler_message_response": 12,
    "pause": 1,
    "unpause": 6,
    "is_paused": 2,
    "is_pause_enabled": 1,
    "has_task_history": 1,
    "update_resource": 4,
    "update_resources": 3,
    "set_task_status_message": 10,
    "set_task_progress_percentage": 10,
    "decrease_running_task_resources": 20,
    "report_task_statistics": 3,
    "update_metrics_task_started": 2,
    "get_running_task_resources": 8,
    "get_task_status_message": 6,
    "get_task_progress_percentage": 6,
    "fetch_error": 8,
    "prune": 12,
    "task_list": 14,
    "dep_graph": 8,
    "inverse_dep_graph": 8,
    "worker_list": 8,
    "resource_list": 6,
    "task_search": 3,
    "graph": 2,
}


def _task_id(number: int) -> str:
    return f"t{number}"
