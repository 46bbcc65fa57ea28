"""How far a worker is asked to end, and until when it may take its time.

A signal handler sets a mark and wakes the main thread, which looks wherever it waits.
"""

import contextlib
import signal
import time
from collections.abc import Iterator

from luigi_ha.worker import log
from luigi_ha.worker.client.waker import Waker
from luigi_ha.worker.daemon.status import State, Status
from luigi_ha.worker.daemon.systemd import Notifier

DOUBT = 10.0  # s that a worker that drains asks whether it was given a task in a reply that it did not get
_log = log.get()


class Stop(BaseException):  # whoever handles errors shall not handle it
    """Leave the loop: end what runs."""


class Ending:
    """`drain_timeout`: s from the first word of it until `Stop`; 0: as long as it takes."""

    def __init__(self, waker: Waker, status: Status, notifier: Notifier, drain_timeout: float) -> None:
        self._waker = waker
        self._status = status
        self._notifier = notifier
        self._drain_timeout = drain_timeout
        self._asked = 0
        self._drains_since = 0.0
        self._drain_until: float | None = None
        self._stop_until: float | None = None

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """They are heard here. In the main thread."""
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
        before = {number: signal.signal(number, self._signalled) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _signalled(self, number: int, _frame: object) -> None:
        if number != signal.SIGUSR1 or not self._asked:
            self._asked += 1
        self._waker.wake()

    def at_once(self) -> None:
        """As if signalled twice. From any thread."""
        self._asked = 2
        self._waker.wake()

    @property
    def asked(self) -> bool:
        return self._asked > 0

    def draining(self) -> None:
        """No new work is taken from now on."""
        self._status.state = State.DRAINING
        self._drains_since = time.monotonic()
        self._notifier.tell("STATUS=Draining")
        if self._drain_timeout:
            self._drain_until = self._drains_since + self._drain_timeout

    def stopping(self, seconds: float) -> None:
        """What runs is being ended; `Stop` once more after so many seconds."""
        self._stop_until = time.monotonic() + seconds

    @property
    def over(self) -> bool:
        """Whether the time that `stopping` gave is up."""
        return self._stop_until is not None and time.monotonic() > self._stop_until

    def check(self) -> None:
        """Stop, when it is time for it."""
        late = self._drain_until is not None and time.monotonic() > self._drain_until
        if self._stop_until is None and (self._asked > 1 or late):
            self._status.state = State.STOPPING
            _log.warning("stopping", reason="--drain-timeout is over" if late else "the second signal")
            raise Stop
        if self.over:
            raise Stop

    @property
    def doubted_enough(self) -> bool:
        """Nothing is to be reported, but a scheduler may have handed out a task in a reply that was lost. Not for ever:
        the next worker of this state directory is offered that task again, and any other one after a while."""
        return time.monotonic() - self._drains_since > DOUBT
