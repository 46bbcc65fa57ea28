"""A task's history, read from the log.

Of a run that has ended an entry says how long it took, of one that failed the last line of its error; of a removal why.
"""

from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy import Connection, select

from luigi_ha.appliance.engine.changes import TaskPut, TaskRemoved
from luigi_ha.appliance.engine.failure import NOT_SAID
from luigi_ha.appliance.engine.last_line import last_line
from luigi_ha.appliance.store import tables
from luigi_ha.appliance.store.records import TASK_REMOVED, decode
from luigi_ha.appliance.store.text import escape, unescape

REMOVED = "REMOVED"
_RUNNING = ("RUNNING", "BATCH_RUNNING")


class HistoryEntry(NamedTuple):
    """One change of a task's state."""

    seq: int
    at: float  # scheduler time, s since the epoch of 1970
    epoch: int  # which leader wrote it
    status: str  # "REMOVED" when the scheduler forgot the task
    method: str  # the call that caused it
    actor: str | None  # who called
    worker_id: str | None  # who runs the task, or ran it last
    run_id: str | None
    attempt: int | None
    seconds: float | None = None  # that the run took which ended here
    error: str | None = None  # of a failure: its last line
    reason: str | None = None  # of a removal, or of an end that nobody reported: why


class _Said(NamedTuple):
    """What a record tells besides."""

    failed: bool = False
    error: str | None = None  # in case it failed; None: the record does not tell
    reason: str | None = None


def read_history(connection: Connection, task_id: str, limit: int) -> list[HistoryEntry]:
    """The last `limit` changes of status, worker, run or attempt, oldest first."""
    newest_first: list[HistoryEntry] = []
    unexplained: list[int] = []  # places of failures whose error was said before: what did not change is not written
    later: HistoryEntry | None = None
    failed = False
    for entry, said in _entries(connection, task_id):
        error = said.error
        # An entry counts if the one before it (in time) differs; so each is judged when its predecessor is known.
        if later is not None and _key(entry) != _key(later):
            if failed and later.error is None:
                unexplained.append(len(newest_first))
            newest_first.append(_timed(later, entry))
            if len(newest_first) == limit:
                return newest_first[::-1]
            later = None
        if error is not None:
            for place in unexplained:
                newest_first[place] = newest_first[place]._replace(error=error)
            unexplained = []
        if error is None and later is not None:
            error = later.error
        failed = said.failed
        later = entry._replace(error=error if failed else None, reason=said.reason)
    if later is not None and limit > 0:
        newest_first.append(later)
    return newest_first[::-1]


def _key(entry: HistoryEntry) -> tuple[str, str | None, str | None, int | None]:
    return entry.status, entry.worker_id, entry.run_id, entry.attempt


def _timed(entry: HistoryEntry, before: HistoryEntry) -> HistoryEntry:
    ended = before.status in _RUNNING and entry.status not in (*_RUNNING, REMOVED)
    return entry._replace(seconds=round(entry.at - before.at, 3)) if ended else entry


def _said(kind: str, data: str) -> _Said:
    record = decode(kind, data)
    if isinstance(record, TaskRemoved):
        return _Said(reason=record.reason or None)
    if not isinstance(record, TaskPut) or record.state is None:
        return _Said()
    state = record.state
    error = None if record.detail is None else last_line(record.detail.expl) or NOT_SAID
    if state.status == "DISABLED" and state.cancelled is not None:
        because = f" ({state.cancelled})" if state.cancelled else ""
        return _Said(error=error, reason=f"it was cancelled{because}")
    if state.status == "FAILED" and state.worker_id is None and state.attempt:
        return _Said(error=error, reason="its worker was silent for too long, and the run was given up")
    failed = state.status == "FAILED" or (state.status == "DISABLED" and state.disabled_at is not None)
    return _Said(failed, error)


def _entries(connection: Connection, task_id: str) -> Iterator[tuple[HistoryEntry, _Said]]:
    t = tables.event.c
    query = (
        select(t.seq, t.at, t.epoch, t.status, t.kind, t.method, t.actor, t.worker_id, t.run_id, t.attempt, t.data)
        .where(t.task_id == escape(task_id), (t.status.is_not(None)) | (t.kind == TASK_REMOVED))
        .order_by(t.seq.desc())
    )
    with connection.execution_options(stream_results=True, yield_per=200).execute(query) as result:
        for seq, at, epoch, status, kind, method, actor, worker_id, run_id, attempt, data in result:
            entry = HistoryEntry(
                seq,
                at,
                epoch,
                REMOVED if kind == TASK_REMOVED else unescape(status),
                unescape(method),
                unescape(actor),
                unescape(worker_id),
                unescape(run_id),
                attempt,
            )
            yield entry, _said(kind, data)
