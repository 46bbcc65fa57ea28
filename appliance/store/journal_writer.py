"""The journal's writer: one thread that turns queued changes into transactions, and does not let go of a batch.

A batch is dropped only when the journal ends (fenced, poisoned, closed). A database that is away is a normal state: the
batch is kept, the session dropped, and after a back-off the database's position decides what to do.

Everything named `_writer_*` runs in the writer thread; fields that both sides touch are written under `_lock` or
by one side only.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import tenacity

from luigi_ha.appliance import clock, log
from luigi_ha.appliance.store.batch import Batch, Unit, build
from luigi_ha.appliance.store.errors import DatabaseAway, FencedError, FenceRefused, JournalClosed, Poisoned, StoreError
from luigi_ha.appliance.store.journal_state import ENDED, JournalState, JournalStats
from luigi_ha.appliance.store.position import Finding, Position, compare
from luigi_ha.appliance.store.progress import Progress
from luigi_ha.appliance.store.writer import Writer

MAX_BATCH_RECORDS = 1000
MAX_BATCH_BYTES = 4 << 20
RETAINED_BATCHES = 256
RETAINED_BYTES = 16 << 20
FIRST_RETRY = 0.05  # s; doubles with each failure, with jitter, up to
LONGEST_RETRY = 0.5
CONNECTING_SECONDS = 30.0  # a resolver may take its time; the calls that follow have deadlines of their own
SECONDS_PER_RECORD = 0.001  # what a large batch may take longer than a call

_log = log.get("journal")


class WriterSource(Protocol):
    """Where sessions come from: a Store."""

    def writer(self) -> Writer: ...


class JournalWriter:
    """The writer's side of a journal; `Journal` is the other."""

    def __init__(
        self,
        store: WriterSource,
        position: Position,
        on_state: Callable[[JournalState], None] | None,
        on_commit: Callable[[int, float], None] | None,
    ) -> None:
        self._store = store
        self._on_state = on_state
        self._on_commit = on_commit
        self._loop: asyncio.AbstractEventLoop | None = None

        self._lock = threading.Condition(threading.Lock())
        self._pending: deque[tuple[Unit, int]] = deque()
        self._pending_bytes = 0
        self._taken_bytes = 0
        self._idle = False
        self._closing = False
        self._doubted = False
        self._gone = threading.Event()  # the writer must end now

        self._position = position  # the last acknowledged: written by the writer thread only
        self._in_flight: Batch | None = None
        self._retained: deque[Batch] = deque()
        self._retained_bytes = 0
        self._call_timeout: float = getattr(store, "call_timeout", 5.0)
        self._progress = Progress()
        self._session: Writer | None = None
        self._last_session: int | None = None
        self._time = 0.0

        self.state = JournalState.WRITING
        self.reason = ""  # why it is in this state, for people
        self.since = clock.monotonic()
        self.stats = JournalStats()

    @property
    def committed(self) -> int:
        """The seq up to which everything is durable."""
        return self._position.seq

    def stuck_for(self) -> float:
        """For how long (s) the writer has neither had nothing to do, nor waited for the database within its deadline,
        nor got on. It gets on many times a second; after some seconds it will not do so by itself."""
        return 0.0 if self.state in ENDED else self._progress.stuck_for()

    def _notify(self) -> None:
        """Something was committed, or the state changed: wake who waits. Called where callbacks are."""

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
            self._writer_look()
            while (units := self._writer_take()) is not None:
                if units:
                    self._writer_commit(self._writer_build(units))
                else:
                    self._writer_look()
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
        """The next batch's units, whole; waits for them. None: closing, and all is written. Empty: nothing to write,
        and somebody doubts that the database is there."""
        with self._lock:
            while not self._pending:
                if self._closing:
                    return None
                if self._doubted:
                    self._doubted = False
                    return []
                self._idle = True
                with self._progress.idle():
                    self._lock.wait()
                self._idle = False
            self._doubted = False
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
            with self._progress.calling(self._writer_patience(batch)):
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

    def _writer_look(self) -> None:
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
        self._progress.step()
        if self._gone.wait(seconds):
            raise JournalClosed("closed while the database was away")

    def _writer_patience(self, batch: Batch | None) -> float:
        records = batch.records if batch is not None else 0
        return 2 * self._call_timeout + records * SECONDS_PER_RECORD

    def _writer_settle(self) -> None:
        """Compare the database with ourselves and do what follows; on return the batch in flight is durable."""
        batch = self._in_flight
        with self._progress.calling(CONNECTING_SECONDS + self._writer_patience(None)):
            session = self._writer_session()
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
                with self._progress.calling(self._writer_patience(None)):
                    session.confirm(found, self._time)
                return
            case Finding.BEHIND:
                self._writer_rewrite(session, found)
        if batch is not None:
            with self._progress.calling(self._writer_patience(batch)):
                session.write(batch)

    def _writer_rewrite(self, session: Writer, found: Position) -> None:
        """Write again what the database has lost: the batches after `found`."""
        lost = [batch for batch in self._retained if batch.previous.seq >= found.seq]
        _log.warning("journal_rewrites", batches=len(lost), found=found.seq, ours=self._position.seq)
        for batch in lost:
            with self._progress.calling(self._writer_patience(batch)):
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
