"""The fence of runs: a report names the attempt and the run_id it is about, and changes nothing if that run is over.

A run is over when its end was reported, when its worker was silent for too long, or when somebody decided otherwise.
The same report sent again (its reply was lost) is not refused, and changes nothing.
"""

from luigi_ha.appliance.engine import checks
from luigi_ha.appliance.engine.errors import BadArgument, Conflict
from luigi_ha.appliance.engine.lifecycle import Lifecycle
from luigi_ha.appliance.engine.model import BATCH_RUNNING, DONE, FAILED, PENDING, RUNNING, SUSPENDED, Task

REPEATED = ""


class Runs(Lifecycle):
    """Which run a report is about."""

    def _objection(  # noqa: PLR0911 - one for each reason
        self, task: Task | None, worker_id: str, attempt: int, run_id: str, status: str
    ) -> str | None:
        """Why a report changes nothing: REPEATED if it was accepted before or says what is so; None if it is news."""
        if task is None:
            return "the scheduler does not know the task"
        if attempt < task.attempt:
            return f"attempt {task.attempt} has replaced it"
        if attempt > task.attempt:
            return f"there is no attempt {attempt}: the last one is {task.attempt}"
        if run_id != task.run_id:
            return f"attempt {attempt} has another run_id"
        if task.worker_running is None:
            return "its worker was silent for too long, and the run was given up"
        if task.worker_running != worker_id:
            return f"the run is that of {task.worker_running}"
        if task.status == RUNNING or (task.status == BATCH_RUNNING and status == PENDING):
            return None
        if not task.run_reported and task.status != DONE:
            return f"the run was ended, and the task is {task.status}"
        if status == RUNNING or (status == DONE and task.status != DONE):
            return f"the end of the run was reported, and the task is {task.status}"
        return REPEATED

    def _admit(
        self, task: Task | None, worker_id: str, status: str, attempt: int, run_id: str, batch_id: str | None
    ) -> tuple[bool, Task | None]:
        """Whether an `add_task` that names its run is news; the member of its batch whose run a new head takes over.

        Raises Conflict if the run is over.
        """
        objection = self._objection(task, worker_id, attempt, run_id, status)
        if objection is None:
            return True, None
        if status == RUNNING and batch_id is not None:
            for member in self.batch_members(batch_id):
                if (member.run_id, member.attempt, member.worker_running) == (run_id, attempt, worker_id):
                    return True, member
            objection = f"batch {batch_id} is not this worker's any more"
        if objection:
            raise Conflict("run_id", objection, "a report of the task's current run")
        return False, None


def named_run(run_id: object, attempt: object) -> tuple[int, str] | None:
    """The run that an `add_task` names; None if it names none."""
    if run_id is None and attempt is None:
        return None
    if run_id is None:
        raise BadArgument("run_id", "is missing", "the run_id that came with the attempt")
    return checks.whole("attempt", attempt, least=1), checks.text("run_id", run_id, empty=False)


def is_fenced(status: str, new_deps: tuple[str, ...] | None) -> bool:
    """Whether a report with this status continues or ends a run."""
    return status in (DONE, FAILED, RUNNING) or (bool(new_deps) and status in (PENDING, SUSPENDED))
