"""What a worker tells of itself at this moment, as JSON and for Prometheus.

Plain attributes, written by one thread each and read by any: nothing here is locked over a fork.
"""

import time
from collections import Counter
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """Of a worker's life."""

    STARTING = "starting"
    DRAINED = "drained"
    WORKING = "working"
    DRAINING = "draining"
    STOPPING = "stopping"


class Status:
    """One worker's numbers."""

    def __init__(self, worker_id: str, version: str) -> None:
        self.worker_id = worker_id
        self.version = version
        self.state = State.STARTING
        self.fenced: bool | None = None  # None: no scheduler was asked yet
        self.slots = 0
        self.running: dict[str, float] = {}  # task id -> when it began, monotonic
        self.spooled = 0
        self.finished: Counter[str] = Counter()  # by status
        self.refused = 0  # results of attempts that were lost
        self.killed: Counter[str] = Counter()  # by reason: memory, timeout, cancelled, lost, stopped
        self.task_seconds = 0.0
        self.heard_at: float | None = None  # a scheduler answered, monotonic
        self.scheduler = ""
        self.calls = 0
        self.failed_attempts = 0

    @property
    def connected(self) -> bool:
        """Whether a scheduler answered a moment ago."""
        return self.heard_at is not None and time.monotonic() - self.heard_at < 15

    def shown(self) -> dict[str, Any]:
        """For /health."""
        now = time.monotonic()
        return {
            "worker_id": self.worker_id,
            "version": self.version,
            "state": self.state,
            "fenced": self.fenced,
            "slots": self.slots,
            "running": [{"task_id": name, "seconds": round(now - at, 1)} for name, at in list(self.running.items())],
            "unacknowledged": self.spooled,
            "scheduler": self.scheduler,
            "connected": self.connected,
            "seconds_since_scheduler_answered": None if self.heard_at is None else round(now - self.heard_at, 1),
        }

    def metrics(self) -> str:
        """In Prometheus' text format."""
        since = float("nan") if self.heard_at is None else time.monotonic() - self.heard_at
        lines: list[str] = []

        def add(name: str, kind: str, told: str, *samples: tuple[str, float]) -> None:
            lines.append(f"# HELP luigi_ha_worker_{name} {told}")
            lines.append(f"# TYPE luigi_ha_worker_{name} {kind}")
            lines.extend(f"luigi_ha_worker_{name}{labels} {value:g}" for labels, value in samples)

        add("slots", "gauge", "Tasks it runs at once.", ("", self.slots))
        add("running", "gauge", "Tasks it runs now.", ("", len(self.running)))
        add("unacknowledged", "gauge", "Runs that no scheduler has acknowledged yet.", ("", self.spooled))
        add("connected", "gauge", "1 if a scheduler answered a moment ago.", ("", self.connected))
        add("seconds_since_answer", "gauge", "Since a scheduler answered.", ("", since))
        states = [(f'{{state="{state}"}}', float(state == self.state)) for state in State]
        add("state", "gauge", "1 for the state it is in.", *states)
        ended = [(f'{{status="{status}"}}', float(self.finished[status])) for status in ("DONE", "FAILED", "PENDING")]
        add("runs_total", "counter", "Runs that ended; PENDING: with new dependencies.", *ended)
        add("run_seconds_total", "counter", "How long they took.", ("", self.task_seconds))
        kinds = ("memory", "timeout", "cancelled", "lost", "stopped")
        killed = [(f'{{reason="{kind}"}}', float(self.killed[kind])) for kind in kinds]
        add("killed_total", "counter", "Runs it ended itself.", *killed)
        add("results_refused_total", "counter", "Results of attempts that were no longer its own.", ("", self.refused))
        add("calls_total", "counter", "Calls to a scheduler.", ("", self.calls))
        add("failed_attempts_total", "counter", "Attempts at a call that no scheduler answered.",
            ("", self.failed_attempts))  # fmt: skip
        return "\n".join(lines) + "\n"
