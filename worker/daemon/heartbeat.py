"""The thread that keeps a worker alive in the scheduler's eyes, and brings back what the scheduler wants of it.

A scheduler with a fence is told with each beat which runs go on, and answers which of them are no longer ours; another
one gets luigi's ping. Nothing is repeated within a beat: the next one comes soon. While no scheduler answers, they come
less and less often, up to every `SLOWEST` seconds with full jitter.

Unlike luigi's own thread it holds no lock while it waits for a reply, so that tasks start meanwhile.
"""

import random
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from luigi_ha.worker import log
from luigi_ha.worker.client import Call, CallError, GaveUp, PatientScheduler
from luigi_ha.worker.client.waker import Waker
from luigi_ha.worker.daemon.status import Status
from luigi_ha.worker.daemon.systemd import Notifier
from luigi_ha.worker.spool import Run

SLOWEST = 5.0  # s
CLOSE_SECONDS = 2.0
HEARTBEAT = "/api/heartbeat"
_log = log.get()


class Orders(NamedTuple):
    """What a beat may bring. Called by the heartbeat's thread."""

    message: Callable[[dict[str, Any]], None]  # {"name", "kwargs"}, as luigi's
    lost: Callable[[Run, str], None]
    returned: Callable[[], None]  # schedulers answer again, after a silence
    staged: Callable[[str], None]  # what the worker is to the scheduler: active, draining or disabled


class Heartbeat:
    """Beats from the beginning until `close`."""

    def __init__(
        self, client: PatientScheduler, interval: float, status: Status, notifier: Notifier,
        runs: Callable[[], list[Run]], orders: Orders,
    ) -> None:  # fmt: skip
        self._client = client
        self._interval = interval
        self._status = status
        self._notifier = notifier
        self._runs = runs
        self._orders = orders
        self._silent_since: float | None = None
        self._over = False
        self._doubtful: Call | None = None
        self._waker = Waker()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._over = True
        self._waker.wake()
        self._thread.join(CLOSE_SECONDS)  # it may be waiting for a scheduler that does not answer; then it ends with us

    def _beat(self) -> None:
        failures = 0
        while not self._over:
            pause = self._interval
            if failures:
                pause += random.uniform(0, min(SLOWEST, self._interval * 2**failures))  # noqa: S311 - jitter
            self._waker.wait(min(pause, self._notifier.watchdog / 3 or pause))
            if self._ended():
                break
            self._notifier.tell("WATCHDOG=1")
            failures = 0 if self._once() else min(failures + 1, 10)
        self._client.close()

    def _ended(self) -> bool:
        return self._over

    def _once(self) -> bool:
        try:
            if self._status.fenced:
                self._with_runs()
            else:
                for message in self._client.ping(worker=self._status.worker_id)["rpc_messages"]:  # type: ignore[attr-defined]
                    self._orders.message(message)
        except CallError as error:
            if self._silent_since is None:
                self._silent_since = time.monotonic()
                _log.warning("heartbeat_unanswered", error=str(error))
            return False
        self._status.heard_at = time.monotonic()
        if self._silent_since is not None:
            _log.info("heartbeat_answered_again", seconds=round(time.monotonic() - self._silent_since, 1))
            self._silent_since = None
            self._orders.returned()
        return True

    def _with_runs(self) -> None:
        runs = [run for run in self._runs() if run.run_id]
        # A beat whose reply was lost is sent again as it was: its key brings back the commands that were in the reply.
        call = self._doubtful or self._client.prepared(HEARTBEAT, beat(self._status, runs))
        try:
            reply = self._client.once(call)
        except GaveUp as error:
            self._doubtful = call if error.doubtful else None
            raise
        self._doubtful = None
        self._orders.staged(reply["state"])
        for lost in reply["lost"]:
            for run in runs:
                if (run.task_id, run.attempt) == (lost["task_id"], lost["attempt"]):
                    self._orders.lost(run, str(lost.get("reason")))
        for message in messages(reply):
            self._orders.message(message)


def messages(reply: dict[str, Any]) -> list[dict[str, Any]]:
    """The commands of a reply, as luigi's messages are."""
    found = []
    for command in reply.get("commands", ()):
        name, kwargs = command["name"], {key: value for key, value in command.items() if key != "name"}
        found.append({"name": "cancel_task" if name == "cancel" else name, "kwargs": kwargs})
    return found


def beat(status: Status, runs: list[Run]) -> dict[str, Any]:
    """What is sent."""
    tasks = [
        {"task_id": run.task_id, "attempt": run.attempt, "run_id": run.run_id, "status": "RUNNING"} for run in runs
    ]
    return {"worker": status.worker_id, "slots": status.slots, "tasks": tasks}
