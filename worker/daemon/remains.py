"""What a worker that died left behind: processes of its tasks, and runs that nobody reported.

A task's own process dies with its worker; programs it had started may live on, and would go on writing beside the
task's next run. They are found by their session, which the spool names, and ended before anything is reported.
"""

import os
import signal

from luigi.worker import TaskStatusReporter

from luigi_ha.worker import log
from luigi_ha.worker.daemon import kernel
from luigi_ha.worker.spool import Leftover

INTERRUPTED = "The worker ended while this task ran; what the task had done until then is unknown."
_log = log.get()


def clear(leftover: Leftover) -> None:
    """End what is left of its processes."""
    started = leftover.started
    if started is None or started.session == os.getpid():
        return
    members = kernel.sessions().get(started.session, [])
    leader = kernel.born(started.session)
    if leader and leader != started.born:
        return  # another process has its number, so no process of that session is left
    if members:
        _log.warning("processes_of_earlier_worker_killed", pids=members, **leftover.run.fields)
        kernel.kill_session(started.session, signal.SIGKILL)


class Ended:
    """Stands for the process of a task that an earlier worker ran."""

    status_reporter = TaskStatusReporter(None, "", "", None)

    def is_alive(self) -> bool:
        return False
