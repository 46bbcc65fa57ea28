"""The journal: group commit by one writer thread.

While a transaction is in flight, changes pile up; when it has committed, the next pile becomes the next transaction.

Invariants
    * Events are written in the order of `append`, each exactly once, and those of one `append` in one transaction.
    * `committed` never runs ahead of the database: what it covers survives the loss of this process.
    * A batch is dropped only when the journal ends (fenced, poisoned, closed). A database that is away is a normal
      state: the batch is kept, the session dropped, and after a back-off the database's position decides what to do.

Not promised: bounded memory by itself. `full` says when the caller must stop appending.

Threads: `append`, `wait` and the properties belong to the event loop's thread (one producer); everything named
`_writer_*` belongs to the writer thread; the few fields that both touch are written under `_lock` or by one of them
only.
"""

import asyncio
import enum
import heapq
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol

import tenacity

from appliance import clock, log
from appliance.engine.changes import Change, TaskPut
from appliance.store.batch import Batch, Unit, build
from appliance.store.errors import (
    DatabaseAway,
    FencedError,
    FenceRefused,
    JournalClosed,
    Poisoned,
    StoreError,
)
from appliance.store.position import Finding, Position, compare
from appliance.store.writer import Writer

MAX_PENDING_RECORDS = 50_000
MAX_PENDING_BYTES = 128 << 20
MAX_BATCH_RECORDS = 1000
MAX_BATCH_BYTES = 4 << 20
RETAINED_BATCHES = 256
RETAINED_BYTES = 16 << 20
FIRST_RETRY = 0.05  # s; doubles with each failure, with jitter, up to
LONGEST_RETRY = 1.0
RECORD_BYTES = 300  # what a record takes besides its long texts, about

_log = log.get("journal")


class JournalState(enum.Enum):
    """What the journal is doing."""

    WRITING = "writing"
    WAITING = "waiting for the database"
    FENCED = "fenced: another leader wrote, or the log is not ours"
    POISONED = "poisoned: a record the database will never take"
    CLOSED = "closed"


ENDED = (JournalState.FENCED, JournalState.POISONED, JournalState.CLOSED)


class WriterSource(Protocol):
    """Where sessions come from: a Store."""

    def writer(self) -> Writer: ...


@dataclass(slots=True)
class JournalStats:
    """Running totals since the start."""

    batches: int = 0
    records: int = 0
    commit_seconds: float = 0.0  # time spent in transactions that committed
    last_batch_records: int = 0
    last_commit_seconds: float = 0.0
    retries: int = 0  # times the database was found away
    rewritten: int = 0  # batches written again because the database had lost them


class Journal:
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
        self._store = store
        self._on_state = on_state
        self._on_commit = on_commit
        self._max_records = max_pending_records
        self._max_bytes = max_pending_bytes
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listeners: list[Callable[[], None]] = []
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = count()

        self._lock = threading.Condition(threading.Lock())
        self._pending: deque[tuple[Unit, int]] = deque()
        self._pending_bytes = 0
        self._appended = position.seq
        self._idle = False
        self._closing = False
        self._gone = threading.Event()  # the writer must end now

        self._position = position  # the last acknowledged: written by the writer thread only
        self._in_flight: Batch | None = None
        self._retained: deque[Batch] = deque()
        self._retained_bytes = 0
        self._session: Writer | None = None
        self._last_session: int | None = None
        self._time = 0.0

        self.state = JournalState.WRITING
        self.reason = ""  # why it is in this state, for people
        self.since = clock.monotonic()
        self.stats = JournalStats()
        self._thread = threading.Thread(target=self._writer_run, name="journal", daemon=True)

    # ------------------------------------------------------------------------------------------ the event loop's side

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
    def committed(self) -> int:
        """The seq up to which everything is durable."""
        return self._position.seq

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
            if self._idle:
                self._lock.notify()
        return self._appended

    def add_listener(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every commit and every change of state. It must be quick and not raise."""
        self._listeners.append(listener)

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

    # ------------------------------------------------------------------------------------------- the writer's side

    def _writer_tell(self, function: Callable[..., None], *arguments: Any) -> None:
        if self._loop is None:
            function(*arguments)
            return
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            # The loop is closed: nobody is waiting any more.
            self._loop = None

    def _writer_state(self, state: JournalState, reason: str) -> None:
        if state is self.state and reason == self.reason:
            return
        before, self.state, self.reason = self.state, state, reason
        if state is not before:
            self.since = clock.monotonic()
            tell = _log.info if state in (JournalState.WRITING, JournalState.CLOSED) else _log.warning
            tell("journal_state", before=before.name, now=state.name, reason=reason, committed=self.committed)
            if self._on_state is not None:
                self._writer_tell(self._on_state, state)
            self._writer_tell(self._notify)

    def _writer_run(self) -> None:
        try:
            self._writer_open_first()
            while (units := self._writer_take()) is not None:
                self._writer_commit(self._writer_build(units))
        except FencedError as error:
            self._writer_state(JournalState.FENCED, str(error))
        except Poisoned as error:
            self._writer_state(JournalState.POISONED, str(error))
        except JournalClosed:
            self._writer_state(JournalState.CLOSED, "closed while the database was away")
        except Exception as error:  # noqa: BLE001 - a thread has nobody above it
            # A defect of ours must not leave callers waiting for ever: nothing more will be written, and they are told.
            _log.exception("journal_defect", error=error)
            self._writer_state(JournalState.POISONED, f"defect in the journal: {type(error).__name__}: {error}")
        else:
            self._writer_state(JournalState.CLOSED, "closed")
        finally:
            self._writer_drop_session()
            with self._lock:
                self._pending.clear()
                self._pending_bytes = 0

    def _writer_take(self) -> list[Unit] | None:
        """The next batch's units, whole; waits for them. None: closing, and all is written."""
        with self._lock:
            while not self._pending:
                if self._closing:
                    return None
                self._idle = True
                self._lock.wait()
                self._idle = False
            units: list[Unit] = []
            records = size = 0
            while self._pending:
                unit, unit_size = self._pending[0]
                if units and (records + len(unit.records) > MAX_BATCH_RECORDS or size + unit_size > MAX_BATCH_BYTES):
                    break
                self._pending.popleft()
                units.append(unit)
                records += len(unit.records)
                size += unit_size
            self._taken_bytes = size
            return units

    def _writer_build(self, units: list[Unit]) -> Batch:
        try:
            return build(units, self._position)
        except (TypeError, ValueError, OverflowError, AttributeError, KeyError) as error:
            raise Poisoned(f"cannot encode a record: {type(error).__name__}: {error}") from error

    def _writer_commit(self, batch: Batch) -> None:
        self._in_flight = batch
        self._time = batch.time
        started = clock.monotonic()
        try:
            if self._session is None:
                raise DatabaseAway("not connected")
            self._session.write(batch)
        except Poisoned:
            raise
        except StoreError as error:
            self._writer_recover(error)
        seconds = clock.monotonic() - started
        self._in_flight = None
        self._position = batch.last
        self._writer_retain(batch)
        with self._lock:
            self._pending_bytes -= self._taken_bytes
        stats = self.stats
        stats.batches += 1
        stats.records += batch.records
        stats.commit_seconds += seconds
        stats.last_batch_records, stats.last_commit_seconds = batch.records, seconds
        if self._on_commit is not None:
            self._on_commit(batch.records, seconds)
        self._writer_tell(self._notify)

    def _writer_retain(self, batch: Batch) -> None:
        """Keep the last batches, in case an asynchronous standby without them is promoted."""
        retained = self._retained
        retained.append(batch)
        self._retained_bytes += batch.bytes
        while len(retained) > RETAINED_BATCHES or (self._retained_bytes > RETAINED_BYTES and len(retained) > 1):
            self._retained_bytes -= retained.popleft().bytes

    def _writer_open_first(self) -> None:
        try:
            self._writer_settle()
        except FencedError:
            raise
        except StoreError as error:
            self._writer_recover(error)

    def _writer_recover(self, first: StoreError) -> None:
        """Try until the batch in flight (if any) is durable. Raises FencedError, Poisoned, or JournalClosed."""
        if not isinstance(first, FenceRefused):
            self._writer_away(first)
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_worth_a_retry),
            wait=tenacity.wait_random_exponential(multiplier=FIRST_RETRY * 2, max=LONGEST_RETRY, min=FIRST_RETRY),
            before_sleep=self._writer_before_sleep,
            sleep=self._writer_sleep,
            reraise=True,
        )
        retrying(self._writer_settle)
        self._writer_state(JournalState.WRITING, "")

    def _writer_before_sleep(self, attempt: tenacity.RetryCallState) -> None:
        error = attempt.outcome.exception() if attempt.outcome is not None else None
        self._writer_away(error if isinstance(error, StoreError) else DatabaseAway(str(error)))

    def _writer_away(self, error: StoreError) -> None:
        self.stats.retries += 1
        self._writer_drop_session()
        self._writer_state(JournalState.WAITING, str(error))

    def _writer_sleep(self, seconds: float) -> None:
        if self._gone.wait(seconds):
            raise JournalClosed("closed while the database was away")

    def _writer_settle(self) -> None:
        """Compare the database with ourselves and do what follows; on return the batch in flight is durable."""
        session = self._writer_session()
        batch = self._in_flight
        found = session.position()
        finding = compare(
            found, self._position, batch.last if batch else None, (kept.previous for kept in self._retained)
        )
        if finding is not Finding.EQUAL or batch is not None:
            _log.info("journal_compared", finding=finding.name, found=found, ours=self._position)
        match finding:
            case Finding.DEPOSED:
                raise FencedError(f"epoch {found.epoch} leads; ours is {self._position.epoch}")
            case Finding.DIVERGED:
                raise FencedError(f"the log in the database is not ours: found {found}, ours is {self._position}")
            case Finding.APPLIED:
                # Its commit was perhaps not replicated: one that comes after it settles that.
                session.confirm(found, self._time)
                return
            case Finding.BEHIND:
                self._writer_rewrite(session, found)
        if batch is not None:
            session.write(batch)

    def _writer_rewrite(self, session: Writer, found: Position) -> None:
        """Write again what the database has lost: the batches after `found`."""
        lost = [batch for batch in self._retained if batch.previous.seq >= found.seq]
        _log.warning("journal_rewrites", batches=len(lost), found=found.seq, ours=self._position.seq)
        for batch in lost:
            session.write(batch)
            self.stats.rewritten += 1

    def _writer_session(self) -> Writer:
        if self._session is None:
            self._session = self._store.writer()
            number = getattr(self._session, "session", None)
            if number is not None:
                if self._last_session is not None and self._last_session != number:
                    # The one we gave up may still hold the fence row.
                    self._session.end_session(self._last_session)  # type: ignore[attr-defined]
                self._last_session = number
        return self._session

    def _writer_drop_session(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None


def _worth_a_retry(error: BaseException) -> bool:
    return isinstance(error, StoreError) and not isinstance(error, (FencedError, Poisoned, JournalClosed))


def _expire(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_exception(TimeoutError("the change is not durable yet"))
