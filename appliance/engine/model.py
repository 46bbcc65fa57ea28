"""Tasks and workers as the engine holds them. Plain data; every rule about it lives elsewhere.

A task is kept small (about 1 KB with its indexes): slots, shared empty containers, values of clients kept as
the JSON text they arrived as, and sets of workers shared between all tasks that have the same ones.
Status words are Luigi's wire words and stay strings: they go in and out on every call.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from luigi_ha.appliance.engine.changes import JsonText

if TYPE_CHECKING:
    from luigi_ha.appliance.engine.demand import Demand
    from luigi_ha.appliance.engine.ready import ReadyGroup, ReadyKey
    from luigi_ha.appliance.engine.workersets import WorkerSet

PENDING: Final = "PENDING"
RUNNING: Final = "RUNNING"
BATCH_RUNNING: Final = "BATCH_RUNNING"
DONE: Final = "DONE"
FAILED: Final = "FAILED"
DISABLED: Final = "DISABLED"
UNKNOWN: Final = "UNKNOWN"
SUSPENDED: Final = "SUSPENDED"  # accepted on the wire, stored as PENDING

STATUSES: Final = {s: s for s in (PENDING, RUNNING, BATCH_RUNNING, DONE, FAILED, DISABLED, UNKNOWN, SUSPENDED)}

PUBLIC: Final = 0

_SHARED: Final = {text: JsonText(text) for text in ("null", "{}", "[]", '"null"', "true", "false", "100", '""')}
NULL: Final = _SHARED["null"]
FALSE: Final = _SHARED["false"]
EMPTY_OBJECT: Final = _SHARED["{}"]  # compared by identity

# What of a task changed since it was last handed over (bits).
DEFINITION: Final = 1
STATE: Final = 2
DETAIL: Final = 4
CREATED: Final = 8

# What a task's dependents know of it (bits): `Task.mark`.
MARK_DONE: Final = 1
MARK_BLOCKING: Final = 2


def _make_encode() -> Callable[[Any], str]:
    """`json.dumps` without building an encoder for each call (10 µs) where the C encoder is there."""
    make = getattr(json.encoder, "c_make_encoder", None)
    plain = json.JSONEncoder()
    if make is None:
        return plain.encode
    text = json.encoder.encode_basestring_ascii
    parts = make(None, plain.default, text, None, ": ", ", ", False, False, True)

    def encode(value: Any) -> str:
        return text(value) if type(value) is str else "".join(parts(value, 0))

    return encode


_encode = _make_encode()


def to_json(value: Any) -> JsonText:
    """JSON text in ASCII, as Python writes it; small common texts are shared objects."""
    text = _encode(value)
    return _SHARED.get(text) or JsonText(text)


def shared(text: JsonText) -> JsonText:
    """The shared object for a common small text, or the text itself."""
    return _SHARED.get(text, text)


class RetryPolicy(NamedTuple):
    """When failures disable a task: this many within the window, or any after the hard timeout (seconds)."""

    retry_count: float
    disable_hard_timeout: float
    disable_window: float


class Task:
    """One task. `num` is its creation number: unique, and the tie-breaker of the order of work."""

    __slots__ = (
        "accepts_messages",
        "added_at",
        "attempt",
        "batch_id",
        "batch_keys",
        "batchable",
        "blocked",
        "cancelled",
        "demand",
        "dependents",
        "deps",
        "disabled_at",
        "expl",
        "failed_in_row",
        "failures",
        "family",
        "first_failure_at",
        "id",
        "mark",
        "module",
        "namespace",
        "num",
        "out",
        "param_visibilities",
        "params",
        "priority",
        "progress_percentage",
        "ready_group",
        "ready_key",
        "remove_at",
        "resources_running",
        "responses",
        "retry_at",
        "retry_policy",
        "run_id",
        "run_reported",
        "runnable",
        "settled",
        "stakes",
        "status",
        "status_message",
        "team",
        "time_running",
        "tracking_url",
        "unmet",
        "updated_at",
        "worker_running",
    )

    def __init__(
        self, num: int, task_id: str, status: str, now: float, demand: Demand, nobody: WorkerSet, policy: RetryPolicy
    ) -> None:
        self.num = num
        self.id = task_id
        self.status = status
        self.added_at = now
        self.updated_at = now
        self.priority: float = 0
        self.family = ""
        self.namespace = ""
        self.module: str | None = None
        self.params = EMPTY_OBJECT
        self.param_visibilities = EMPTY_OBJECT
        self.deps: tuple[str, ...] = ()
        self.demand = demand
        self.team = nobody  # who can run it
        self.stakes = nobody  # who wants it
        self.settled: WorkerSet | None = None  # whose stake and priority its dependencies already carry
        self.dependents: Task | set[Task] | None = None
        self.unmet = 0  # dependencies that are not DONE
        self.blocked = 0  # dependencies that are disabled, or wait for one that is
        self.mark = 0
        self.out = True  # being changed: not in the indexes
        self.ready_key: ReadyKey | None = None
        self.ready_group: ReadyGroup | None = None
        self.batch_keys: tuple[Any, ...] = ()
        self.worker_running: str | None = None
        self.time_running: float | None = None
        self.resources_running: dict[str, float] | None = None  # replaced, never changed in place
        self.run_id: str | None = None
        self.attempt = 0
        self.run_reported = False
        self.retry_at: float | None = None
        self.remove_at: float | None = None
        self.disabled_at: float | None = None
        self.failures: tuple[float, ...] = ()
        self.first_failure_at: float | None = None
        self.failed_in_row = 0
        self.retry_policy = policy
        self.tracking_url: str | None = None
        self.status_message = NULL
        self.progress_percentage = NULL
        self.responses = EMPTY_OBJECT
        self.expl = NULL
        self.runnable = False
        self.batchable = False
        self.accepts_messages = FALSE
        self.batch_id: str | None = None
        self.cancelled: str | None = None  # why it is not to run (again)

    def all_params(self) -> dict[str, Any]:
        """Every parameter, as the worker needs them."""
        params: dict[str, Any] = {} if self.params is EMPTY_OBJECT else json.loads(self.params)
        return params

    def public_params(self) -> dict[str, Any]:
        """The parameters people may see."""
        params = self.all_params()
        if self.param_visibilities is EMPTY_OBJECT:
            return params
        visibility = json.loads(self.param_visibilities)
        return {name: value for name, value in params.items() if visibility.get(name, PUBLIC) == PUBLIC}

    @property
    def pretty_id(self) -> str:
        """`family(name=value, …)` with the public parameters, sorted."""
        inner = ", ".join(f"{name}={value}" for name, value in sorted(self.public_params().items()))
        return f"{self.family}({inner})"

    def __repr__(self) -> str:
        return f"Task({self.num}, {self.id!r}, {self.status})"


class Worker:
    """One worker known to the scheduler. `wid` is unique: a worker that was pruned and returns has a new one."""

    __slots__ = (
        "disabled",
        "draining",
        "grace_until",
        "id",
        "info",
        "last_active",
        "last_get_work",
        "messages",
        "staked",
        "started_at",
        "teams",
        "wid",
    )

    def __init__(self, wid: int, worker_id: str, now: float) -> None:
        self.wid = wid
        self.id = worker_id
        self.started_at = now
        self.last_active = now
        self.last_get_work: float | None = None
        self.grace_until = 0.0
        self.info: dict[str, Any] = {}
        self.disabled = False
        self.draining = False  # gets no new work, finishes what it runs
        self.messages: list[dict[str, Any]] = []
        self.teams: dict[WorkerSet, None] = {}  # sets of workers it can run tasks with
        self.staked: dict[WorkerSet, None] = {}  # sets of workers it wants tasks with

    @property
    def assistant(self) -> bool:
        """Whether it runs anybody's tasks."""
        return bool(self.info.get("assistant", False))

    @property
    def submits(self) -> bool:
        """Whether it describes tasks for others to run, and runs none itself: `luigi --workers 0`."""
        told = self.info.get("workers")
        return not self.assistant and isinstance(told, (int, float)) and not isinstance(told, bool) and told == 0

    @property
    def state(self) -> str:
        """Luigi's word for it."""
        return "disabled" if self.disabled or self.draining else "active"

    @property
    def stage(self) -> str:
        """Our word for it."""
        return "disabled" if self.disabled else "draining" if self.draining else "active"

    @property
    def slots(self) -> float:
        """How many tasks it runs at once, as it told; 1 if it did not."""
        slots = self.info.get("workers", 1)
        return slots if isinstance(slots, (int, float)) else 1


def namespace_of(family: str) -> str:
    """The namespace is the family's prefix: "marketing" of "marketing.Extract", "" without one."""
    return family.rpartition(".")[0]
