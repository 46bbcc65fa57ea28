"""What the scheduler, a signal or a limit may want of a luigi Worker while it works.

Commands come with heartbeats, in the heartbeat's thread: they set marks, end processes and wake the main thread; they
never touch what the main thread works on.
"""

from collections.abc import Callable
from typing import Any

from luigi.worker import Worker, rpc_message_callback

from luigi_ha.worker import log
from luigi_ha.worker.client.waker import Waker
from luigi_ha.worker.daemon.fenced import FencedScheduler
from luigi_ha.worker.daemon.options import Options
from luigi_ha.worker.daemon.status import Status
from luigi_ha.worker.daemon.watch import Watch
from luigi_ha.worker.spool import Run

_log = log.get()


class Commands(Worker):
    """Drain, cancel, change the number of processes; and what luigi's own messages do."""

    _fenced: FencedScheduler
    _options: Options
    _status: Status
    _waker: Waker
    _watch: Watch
    draining = ""  # why
    on_drain: Callable[[], None] = staticmethod(lambda: None)

    def _start_phasing_out(self) -> None:
        self.drain_because("the scheduler gives it no more work")

    def drain_because(self, reason: str) -> None:
        """No new work; `run` returns when what runs is finished."""
        if not self.draining:
            self.draining = reason
            _log.info("draining", reason=reason, running=len(self._running_tasks))
            self.on_drain()
        super()._start_phasing_out()

    @rpc_message_callback
    def drain(self, **_kwargs: Any) -> None:
        """Command: by the API."""
        self.drain_because("the scheduler asks for it")
        self._waker.wake()

    @rpc_message_callback
    def cancel_task(self, task_id: str, attempt: int | None = None, reason: str = "", **_kwargs: Any) -> None:
        """Command: end a task that runs."""
        entry = self._fenced.entries.get(task_id)
        if entry is not None and attempt in (None, entry.run.attempt):
            why = f"Task {task_id} was cancelled" + (f": {reason}" if reason else ".")
            self._watch.end(entry.run, "cancelled", why)

    @rpc_message_callback
    def set_worker_processes(self, n: int) -> None:
        """Command, as luigi's."""
        super().set_worker_processes(n)
        self._status.slots = self.worker_processes
        _log.info("slots_changed", slots=self.worker_processes)
        self._waker.wake()

    def lost(self, run: Run, reason: str) -> None:
        """The scheduler says that a run is no longer ours. If it does not go on here, it was just reported."""
        if not self._watch.has(run):
            return
        _log.warning("attempt_lost", policy=self._options.lost_attempt, reason=reason, **run.fields)
        if self._options.lost_attempt == "stop":
            why = f"Task {run.task_id} was stopped: its attempt is no longer this worker's ({reason})."
            self._watch.end(run, "lost", why)

    def take_message(self, message: dict[str, Any]) -> None:
        """From the heartbeat, in its thread."""
        self._handle_rpc_message(message)
