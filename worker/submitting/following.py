"""How a submission gets on: looked at again and again, until its outcome is known.

    done      its last task is done
    failed    nothing of it runs or can be run, unless a task is retried, made possible again by somebody, or appears

So what still can be run is waited for, as stock luigi does; a failure is an outcome although the scheduler will retry
it (`through_retries`: it is not). Each look asks for a bounded number of tasks, in turn: of a large submission the
numbers shown are some seconds old, and before it is called failed what seems to stand in the way is looked at again.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

from luigi_ha.worker.client import Refused

MOST_LOOKS = 50  # tasks, each time
MOST_DOUBTS = 1_000  # tasks looked at again before the verdict
RUNNING = ("RUNNING", "BATCH_RUNNING")
GONE = "GONE"


class Looking(Protocol):
    """What is asked."""

    def look(self, path: str) -> Any: ...


@dataclass
class Followed:
    """A task of the submission, as it was seen last."""

    task_id: str
    status: str
    deps: tuple[str, ...] = ()
    runnable: bool = True  # False: an external one, which appears or does not
    error: str = ""
    worker: str | None = None
    attempt: int = 0
    retry_at: float | None = None

    def shown(self) -> dict[str, Any]:
        """For programs."""
        return {
            "task_id": self.task_id,
            "status": self.status,
            "worker": self.worker,
            "attempt": self.attempt,
            "error": self.error,
            "retry_at": self.retry_at if self.status == "FAILED" else None,
        }


class Following:
    """One submission. `done` and `stuck` say how it stands."""

    def __init__(self, client: Looking, root: str, tasks: list[dict[str, Any]], *, through_retries: bool) -> None:
        """`tasks`: what was told of each. Nothing is asked yet."""
        self._client = client
        self._root = root
        self._through_retries = through_retries
        self._tasks = {
            told["task_id"]: Followed(
                told["task_id"], told["status"], tuple(told.get("deps") or ()), bool(told.get("runnable"))
            )
            for told in tasks
        }
        self._turn: list[str] = []  # to be looked at next, the first last

    def look(self) -> None:
        """See what has become of some of them, and of the root always. CallError."""
        unfinished = [task.task_id for task in self._tasks.values() if task.status != "DONE"]
        if not self._turn:
            self._turn = unfinished[::-1]
        looked_at = {self._root}
        while self._turn and len(looked_at) < MOST_LOOKS:
            looked_at.add(self._turn.pop())
        for task_id in looked_at:
            self._see(task_id)
        if self.done:
            self._see_the_rest()
        elif self._stuck():
            unsure = [task for task in list(self._tasks.values()) if task.status == "UNKNOWN"]
            for task in [*self.culprits, *unsure][:MOST_DOUBTS]:
                self._see(task.task_id)

    @property
    def done(self) -> bool:
        return self._tasks[self._root].status == "DONE"

    @property
    def stuck(self) -> bool:
        """Nothing of it runs or can be run by itself."""
        return not self.done and self._stuck()

    @property
    def counts(self) -> dict[str, int]:
        """Tasks by status."""
        return dict(Counter(task.status for task in self._tasks.values()))

    @property
    def culprits(self) -> list[Followed]:
        """What stands in the way: failed, disabled, removed, or external and not there."""
        return [task for task in self._tasks.values() if not self._hopeful(task)]

    @property
    def ready(self) -> Followed | None:
        """One that waits for a worker, if there is one."""
        return next((task for task in self._tasks.values() if self._can_run(task)), None)

    # -- inside ------------------------------------------------------------------------------------------------

    def _see_the_rest(self) -> None:
        """What the last looks have found out to belong to it, and what was not seen done yet."""
        seen: set[str] = set()
        while len(seen) < MOST_DOUBTS:
            left = [name for name, task in self._tasks.items() if task.status != "DONE" and name not in seen]
            if not left:
                return
            for task_id in left[:MOST_LOOKS]:
                seen.add(task_id)
                self._see(task_id)

    def _see(self, task_id: str) -> None:
        where = f"/api/task/{quote(task_id, safe='')}"
        task = self._tasks.setdefault(task_id, Followed(task_id, "UNKNOWN"))
        try:
            shown = self._client.look(where)
        except Refused as refused:
            if refused.status != 404:
                raise
            self._gone(task, where)
            return
        task.status, task.deps = shown["status"], tuple(shown["deps"])
        task.worker, task.attempt, task.retry_at = shown["worker"], shown["attempt"], shown["retry_at"]
        task.error = ""
        if task.status in ("FAILED", "DISABLED"):
            task.error = last_word(self._client.look(f"{where}/why"))
        for dep in task.deps:
            self._tasks.setdefault(dep, Followed(dep, "UNKNOWN"))  # what a run has found out to need

    def _gone(self, task: Followed, where: str) -> None:
        task.status, task.error = GONE, "the scheduler does not know it"
        try:
            task.error = str(self._client.look(f"{where}/why")["reason"])
        except Refused as refused:
            if refused.status != 404:
                raise

    def _hopeful(self, task: Followed) -> bool:
        if task.status == "FAILED":
            return self._through_retries and task.retry_at is not None
        if task.status == "PENDING":
            return task.runnable
        return task.status not in ("DISABLED", GONE)

    def _can_run(self, task: Followed) -> bool:
        known = self._tasks
        return task.status == "PENDING" and task.runnable and all(known[dep].status == "DONE" for dep in task.deps)

    def _stuck(self) -> bool:
        tasks = self._tasks.values()
        moving = any(task.status in RUNNING or self._can_run(task) for task in tasks)
        waiting = self._through_retries and any(task.status == "FAILED" and self._hopeful(task) for task in tasks)
        return not moving and not waiting and bool(self.culprits)


def last_word(why: dict[str, Any]) -> str:
    """The error's last line, or the reason, of an answer to why."""
    errors = [fact["error"] for fact in why["facts"] if isinstance(fact, dict) and fact.get("error")]
    return str(errors[-1] if errors else why["reason"])
