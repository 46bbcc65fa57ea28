"""Lines about what the scheduler forgets by itself: tasks and workers, each with the reason.

Of one call at most MOST lines are written, each kind; then one that says how many more there were. The database's log
has all of them.
"""

from collections.abc import Sequence
from typing import Final

from luigi_ha.appliance import log
from luigi_ha.appliance.engine.changes import Change, TaskRemoved, WorkerRemoved

MOST: Final = 100
FINISHED: Final = "DONE"
_log = log.get("scheduler")


def tell(records: Sequence[Change]) -> None:
    """What of this was removed. Of an unfinished task that is a warning."""
    tasks = [record for record in records if type(record) is TaskRemoved]
    workers = [record for record in records if type(record) is WorkerRemoved]
    for task in tasks[:MOST]:
        told = _log.info if task.status == FINISHED else _log.warning
        told("task_removed", task_id=task.task_id[:200], status=task.status, reason=task.reason)
    if len(tasks) > MOST:
        _log.warning("tasks_removed", more=len(tasks) - MOST, last=tasks[-1].task_id[:200])
    for worker in workers[:MOST]:
        _log.info("worker_forgotten", worker_id=worker.worker_id[:200])
    if len(workers) > MOST:
        _log.info("workers_forgotten", more=len(workers) - MOST)
