"""The journal: group commit by one writer thread.

While a transaction is in flight, changes pile up; when it has committed, the next pile becomes the next transaction.

Invariants
    * Events are written in the order of `append`, each exactly once, and those of one `append` in one transaction.
    * `committed` never runs ahead of the database: what it covers survives the loss of this process.
    * A batch is dropped only when the journal ends (fenced, poisoned, closed).

Not promised: bounded memory by itself. `full` says when the caller must stop appending.

This is the event loop's side: one producer, and whoever waits for a commit.
"""

import asyncio
import heapq
import threading
from collections.abc import Callable, Sequence
from itertools import count

from luigi_ha.appliance.engine.changes import Change, TaskPut
from luigi_ha.appliance.store.batch import Unit
from luigi_ha.appliance.store.errors import FencedError, JournalClosed, Poisoned, StoreError
from luigi_ha.appliance.store.journal_state import ENDED, JournalState, JournalStats
from luigi_ha.appliance.store.journal_writer import JournalWriter, WriterSource
from luigi_ha.appliance.store.position import Position

__all__ = ["Journal", "JournalState", "JournalStats", "WriterSource"]

MAX_PENDING_RECORDS = 50_000
MAX_PENDING_BYTES = 128 << 20
RECORD_BYTES = 300  # what a record takes besides its long texts, about


class Journal(JournalWriter):
    """See the module. `on_state` and listeners are called on the event loop when `start` was, else in the writer
    thread; `on_commit(records, seconds)` always in the writer thread."""

    def __init__(
        self,
        store: WriterSource,
        position: Position,
        *,
        on_state: Callable[[JournalState], None] | None = None,
        on_commit: Callable[[int, float], None] | None = None,
        max_pending_records: int = MAX_PENDING_RECORDS,
        max_pending_bytes: int = MAX_PENDING_BYTES,
    ) -> None:
        super().__init__(store, position, on_state, on_commit)
        self._max_records = max_pending_records
        self._max_bytes = max_pending_bytes
        self._listeners: list[Callable[[], None]] = []
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = count()
        self._appended = position.seq
        self._wake_soon = False
        self._thread = threading.Thread(target=self._writer_run, name="journal", daemon=True)

    def start(self) -> None:
        """Start the writer thread. Called on a running event loop, callbacks and `wait` use that loop."""
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None
        self._thread.start()

    @property
    def position(self) -> Position:
        """The end of the log as last acknowledged by the database."""
        return self._position

    @property
    def appended(self) -> int:
        """The seq of the last appended record."""
        return self._appended

    @property
    def full(self) -> bool:
        """Whether appending must stop until the database has caught up."""
        return self._appended - self._position.seq >= self._max_records or self._pending_bytes >= self._max_bytes

    @property
    def queued(self) -> int:
        """Records that are not durable yet."""
        return self._appended - self._position.seq

    def append(self, records: Sequence[Change], *, at: float, method: str, actor: str | None) -> int:
        """Queue the changes of one call; the seq to wait for. `at` is scheduler time (s), never less than before.

        Never blocks and never raises for the database's sake: after the journal has ended, what is appended is dropped
        and `wait` says why.
        """
        if not records:
            return self._appended
        size = 0
        for record in records:
            size += RECORD_BYTES
            if type(record) is TaskPut:
                if record.definition is not None:
                    size += len(record.definition.params) + 50 * len(record.definition.deps)
                if record.detail is not None:
                    size += len(record.detail.expl) + len(record.detail.status_message)
        with self._lock:
            self._appended += len(records)
            self._pending_bytes += size
            self._pending.append((Unit(records, at, method, actor), size))
        if self._loop is None:
            self._wake_writer()
        elif not self._wake_soon:
            # After the calls that are ready now: they share a transaction, and the writer does not compete with them
            # for the interpreter.
            self._wake_soon = True
            self._loop.call_soon(self._wake_writer)
        return self._appended

    def _wake_writer(self) -> None:
        self._wake_soon = False
        with self._lock:
            if self._idle:
                self._lock.notify()

    def add_listener(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every commit and every change of state. It must be quick and not raise."""
        self._listeners.append(listener)

    def doubt(self) -> None:
        """Somebody could not reach the database, or its file: let the writer look, if it has nothing else to do. It is
        WAITING, with the reason, until the database is there again."""
        with self._lock:
            self._doubted = True
            if self._idle:
                self._lock.notify()

    async def wait(self, seq: int, timeout: float) -> None:  # noqa: ASYNC109 - a timer is cheaper than a scope here
        """Return when everything up to `seq` is durable. `timeout` in seconds.

        Raises TimeoutError, or FencedError, Poisoned or JournalClosed when it never will be.
        """
        if seq <= self._position.seq:
            return
        self._raise_if_ended()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        heapq.heappush(self._waiters, (seq, next(self._order), future))
        timer = loop.call_later(timeout, _expire, future)
        try:
            await future
        finally:
            timer.cancel()

    def _raise_if_ended(self) -> None:
        match self.state:
            case JournalState.FENCED:
                raise FencedError(self.reason)
            case JournalState.POISONED:
                raise Poisoned(self.reason)
            case JournalState.CLOSED:
                raise JournalClosed("the journal was closed before the change was committed")

    def close(self, timeout: float) -> bool:
        """Write what is queued, then stop; at most `timeout` seconds. Whether everything appended is durable.

        Blocks: call it from a thread other than the event loop's if calls are still waiting.
        """
        with self._lock:
            self._closing = True
            self._lock.notify()
        if self._thread.is_alive():
            self._thread.join(timeout)
        if self._thread.is_alive():
            # The batch in flight may still commit; nobody is told, as after a crash.
            self._gone.set()
        done = self._position.seq >= self._appended
        if self.state not in ENDED:
            self._writer_state(JournalState.CLOSED, "closed" if done else "closed while the database was away")
        return done

    def _notify(self) -> None:
        """On the loop: wake who waited for what is now committed, or for the end."""
        committed = self._position.seq
        waiters = self._waiters
        ended = self.state in ENDED
        while waiters and (waiters[0][0] <= committed or ended):
            seq, _, future = heapq.heappop(waiters)
            if future.done():
                continue
            if seq <= committed:
                future.set_result(None)
                continue
            try:
                self._raise_if_ended()
            except StoreError as error:
                future.set_exception(error)
        for listener in self._listeners:
            listener()


def _expire(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_exception(TimeoutError("the change is not durable yet"))
