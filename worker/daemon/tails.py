"""The end of what tasks print, shown to whoever looks at them from elsewhere (`GET /api/task/ID/log`).

Sent soon after a run's output has ended, and every few seconds while it grows. Not at once: the result goes first, and
the next task's beginning. Best effort: nothing waits for it, a scheduler that does not answer is not asked again, and
the whole output stays in this worker's state directory.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from luigi_ha.worker import log
from luigi_ha.worker.client import CallError, PatientScheduler, Refused
from luigi_ha.worker.spool import Run

SOON = 0.5  # s between two looks at what has ended
EVERY = 5.0  # s between two looks at what runs
MOST = 65_536  # characters the scheduler keeps of one run
WAITING = 200  # runs that have ended and whose output is still to be sent; of more, the newest
CLOSE_SECONDS = 2.0
_log = log.get()


class Tails:
    """A thread of its own, until `close`. `path` says where a run's output is, `runs` which runs go on."""

    def __init__(self, client: PatientScheduler, path: Callable[[Run], Path], runs: Callable[[], list[Run]]) -> None:
        self._client = client
        self._path = path
        self._runs = runs
        self._ended: deque[Run] = deque(maxlen=WAITING)
        self._sent: dict[str, int] = {}  # bytes of a run's output when it was sent
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="tails", daemon=True)
        self._thread.start()

    def ended(self, run: Run) -> None:
        """All its output is in its file. From any thread."""
        self._ended.append(run)

    def close(self) -> None:
        """Send what has ended, but do not wait for long."""
        self._over.set()
        self._thread.join(CLOSE_SECONDS)

    def _work(self) -> None:
        last, looked = False, time.monotonic()
        while not last:
            last = self._over.wait(SOON)
            due = last or time.monotonic() - looked >= EVERY
            if not (due or self._ended):
                continue
            looked = time.monotonic()
            try:
                self._turn()
            except Refused as refused:
                if refused.status == 405 or "no such path" in str(refused):
                    _log.info("output_not_shown", reason="the scheduler has no place for it")
                    break
                _log.debug("output_not_shown", error=str(refused))
            except CallError as error:
                _log.debug("output_not_shown", error=str(error))
        self._client.close()

    def _turn(self) -> None:
        while self._ended:
            run = self._ended.popleft()
            self._show(run)
            self._sent.pop(run.key, None)
        running = self._runs()
        self._sent = {run.key: self._sent[run.key] for run in running if run.key in self._sent}
        for run in running:
            self._show(run)

    def _show(self, run: Run) -> None:
        """If there is more than was sent before."""
        try:
            with self._path(run).open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if not run.run_id or size == self._sent.get(run.key, 0):
                    return
                file.seek(max(0, size - MOST))
                text = file.read(MOST).decode("utf-8", "replace")
        except OSError:
            return  # thrown out meanwhile, or never made: its own event says so
        self._sent[run.key] = size
        path = f"/api/task/{quote(run.task_id, safe='')}/log"
        self._client.put_once(path, {"attempt": run.attempt, "run_id": run.run_id, "text": text[-MOST:]})
