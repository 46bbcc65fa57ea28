"""The end of what tasks have printed, as their workers sent it: for who looks at a failure from elsewhere.

Kept in the memory of the leader alone, so many characters and no more, the oldest thrown out first: the next leader
has none until the workers send them again. The whole output is with the worker.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from luigi_ha.appliance.api.ports import Engine
from luigi_ha.appliance.engine import Conflict, NoSuch

MOST = 32_000_000  # characters of all of them
WHERE = "its worker's own copy: log/TASK.ATTEMPT.log in the worker's state directory"


class Tail(NamedTuple):
    """The end of one attempt's output."""

    attempt: int
    worker: str | None
    text: str


class Logs:
    """One node's tails; `engine` is what it executes on."""

    def __init__(self, engine: Callable[[], Engine | None]) -> None:
        self._engine = engine
        self._tails: dict[str, Tail] = {}
        self._characters = 0

    def rest_put_log(self, task_id: str, attempt: int, run_id: str, text: str) -> dict[str, Any]:
        """Keep the end of the output of the task's current run, or of its last one."""
        task = self._task(task_id)
        if (task["attempt"], task["run_id"]) != (attempt, run_id):
            problem = f"is of another run than the last one, which is attempt {task['attempt']}"
            raise Conflict("run_id", problem, "the run_id and the attempt of the task's last run")
        self._drop(task_id)
        self._tails[task_id] = Tail(attempt, task["worker"], text)
        self._characters += len(text)
        while self._characters > MOST:
            self._drop(next(iter(self._tails)))
        return {"task_id": task_id, "attempt": attempt, "kept": len(text)}

    def rest_log(self, task_id: str) -> dict[str, Any]:
        """What was sent last."""
        self._task(task_id)
        tail = self._tails.get(task_id)
        if tail is None:
            raise NoSuch("task_id", "no output of this task is kept here", WHERE)
        return {"task_id": task_id, **tail._asdict()}

    def _task(self, task_id: str) -> dict[str, Any]:
        engine = self._engine()
        assert engine is not None  # noqa: S101 - it is called like a method of the engine
        return engine.rest_task(task_id)

    def _drop(self, task_id: str) -> None:
        tail = self._tails.pop(task_id, None)
        if tail is not None:
            self._characters -= len(tail.text)
