"""Tasks that must wait: one that failed, until its retry is due; one that is disabled, until its cooldown is over.

The one has failed so often in a row that it waits for more than ten minutes, the other for half an hour, as the places
that are made for drills are set: longer than a round, and less than the hour by which a clock is wrong. So neither may
be anything else at its end. On the operator's own hosts, whose settings may be any, no task is let fail.
"""

import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

from luigi_ha.appliance.drill import records
from luigi_ha.appliance.drill.place import Breakable, Place, ask

WORKER = "drill-waiting"
FAILURES = 6
OFTEN = {"retry_count": 1_000_000, "disable_hard_timeout": None, "disable_window": 1}
ONCE = {"retry_count": 1, "disable_hard_timeout": None, "disable_window": 3600}


def make(place: Breakable) -> list[str]:
    """The two tasks; their ids."""
    if place.kind == "hosts":
        return []
    lot = time.time_ns() // 1_000_000
    failed, disabled = f"Failed_{lot}", f"Disabled_{lot}"
    _add(place, task_id=failed, status="PENDING", retry_policy_dict=OFTEN)
    for _ in range(FAILURES):
        _add(place, task_id=failed, status="FAILED")
    _add(place, task_id=disabled, status="PENDING", retry_policy_dict=ONCE)
    _add(place, task_id=disabled, status="FAILED")
    return [failed, disabled]


def end(place: Breakable, tasks: list[str]) -> None:
    """They wait for nothing more."""
    for task in tasks:
        _add(place, task_id=task, status="DONE")


def statuses(place: Place, tasks: list[str]) -> dict[str, str]:
    """What the database says of each."""
    if not tasks:
        return {}
    names = ", ".join(f"'{task}'" for task in tasks)
    rows = place.rows(f"SELECT task_id, status FROM luigi_task WHERE task_id IN ({names})")  # noqa: S608 - ours
    return {row[0]: row[1] for row in rows}


def write(directory: Path, before: dict[str, str], after: dict[str, str]) -> None:
    records.write(directory / records.WAITING, {"before": before, "after": after})


def _add(place: Place, **fields: Any) -> None:
    data = json.dumps({"worker": WORKER, "runnable": True, "family": "Waiting", **fields})
    ask(place, "GET", f"/api/add_task?data={quote_plus(data)}")
