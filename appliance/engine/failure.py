"""What is shown of a task that failed: never nothing, also if its worker gave no error."""

import json
from typing import Any, Final

from luigi_ha.appliance.engine.last_line import last_line
from luigi_ha.appliance.engine.model import DISABLED, FAILED, Task

NOT_SAID: Final = "The worker reported a failure without an error; what the run has printed may say more."
SILENT: Final = "Its worker was silent for too long, and the run was given up."


def error_shown(task: Task) -> Any:
    """Return the error as the worker gave it; for a failure without one, a sentence that says so."""
    return _instead(task) or json.loads(task.expl)


def error_line(task: Task) -> str:
    """Return the same in one line; "" if there is no error, and none is missing."""
    return _instead(task) or last_line(task.expl)


def _instead(task: Task) -> str:
    failed = task.status == FAILED or (task.status == DISABLED and task.disabled_at is not None)
    if not failed or last_line(task.expl):
        return ""
    return SILENT if was_given_up(task) else NOT_SAID


def was_given_up(task: Task) -> bool:
    """Whether the end of a task's last run was not reported by its worker."""
    return task.worker_running is None and bool(task.attempt)
