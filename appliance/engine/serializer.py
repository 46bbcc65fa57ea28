"""Tasks as the visualiser reads them, and the status of what stands above them."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from luigi_ha.appliance.engine.model import (
    BATCH_RUNNING,
    DISABLED,
    DONE,
    FAILED,
    PENDING,
    RUNNING,
    UNKNOWN,
    Task,
)
from luigi_ha.appliance.engine.state import State

UPSTREAM: Final = ("", "UPSTREAM_RUNNING", "UPSTREAM_MISSING_INPUT", "UPSTREAM_FAILED", "UPSTREAM_DISABLED")
_SEVERITY: Final = {name: rank for rank, name in enumerate(UPSTREAM)}
_OWN: Final = {
    FAILED: "UPSTREAM_FAILED",
    RUNNING: "UPSTREAM_RUNNING",
    BATCH_RUNNING: "UPSTREAM_RUNNING",
    PENDING: "UPSTREAM_MISSING_INPUT",
    DISABLED: "UPSTREAM_DISABLED",
}
_FAMILY: Final = re.compile(r"([^(_]+)[(_]")
PAUSE_EVERY: Final = 64  # steps between two points where a sliced view may be interrupted


class Serializer(State):
    """Reads only."""

    def _serialize(self, task: Task, deps: list[str] | None = None, *, include_deps: bool = True) -> dict[str, Any]:
        params = task.public_params()
        shown: dict[str, Any] = {
            "display_name": f"{task.family}({', '.join(f'{k}={v}' for k, v in sorted(params.items()))})",
            "status": task.status,
            "workers": [worker.id for worker in task.team.members],
            "worker_running": task.worker_running,
            "time_running": task.time_running,
            "start_time": task.added_at,
            "last_updated": task.updated_at,
            "params": params,
            "name": task.family,
            "priority": task.priority,
            "resources": task.demand.resources,
            "resources_running": task.resources_running,
            "tracking_url": task.tracking_url,
            "status_message": json.loads(task.status_message),
            "progress_percentage": json.loads(task.progress_percentage),
        }
        if task.status == DISABLED:
            shown["re_enable_able"] = task.disabled_at is not None
        if include_deps:
            shown["deps"] = list(task.deps) if deps is None else deps
        if self.settings.send_messages and task.status == RUNNING:
            shown["accepts_messages"] = json.loads(task.accepts_messages)
        return shown

    def _serialize_unknown(self, task_id: str) -> dict[str, Any]:
        """A node of which only the id is known."""
        found = _FAMILY.match(task_id)
        return {
            "deps": [],
            "status": UNKNOWN,
            "workers": [],
            "start_time": UNKNOWN,
            "params": {"task_id": task_id},
            "name": found.group(1) if found else UNKNOWN,
            "display_name": task_id,
            "priority": 0,
        }

    def upstream_status(self, task: Task, known: dict[str, str]) -> str:
        """The worst status above a task. `known` remembers what was found out."""
        for _pause in self._find_upstream_status(task, known):
            pass
        return known.get(task.id, "")

    def _find_upstream_status(self, task: Task, known: dict[str, str]) -> Iterator[None]:
        """Fill `known` for a task and what stands above it; yields now and then, so that it can be interrupted."""
        todo = [task.id]
        steps = 0
        while todo:
            steps += 1
            if not steps % PAUSE_EVERY:
                yield None
            dep_id = todo.pop()
            dep = self.tasks.get(dep_id)
            if dep is None or dep.status == DONE:
                continue
            if dep_id not in known:
                if dep.status == PENDING and dep.deps:
                    known[dep_id] = ""  # replaced when it comes up again, after its dependencies
                    todo.append(dep_id)
                    todo += dep.deps
                else:
                    known[dep_id] = _OWN.get(dep.status, "")
            elif dep.status == PENDING and known[dep_id] == "" and dep.deps:
                known[dep_id] = max((known.get(above, "") for above in dep.deps), key=_SEVERITY.__getitem__)
