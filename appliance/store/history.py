"""A task's history, read from the log."""

from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy import Connection, select

from appliance.store import tables
from appliance.store.records import TASK_REMOVED
from appliance.store.text import escape, unescape

REMOVED = "REMOVED"


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


def read_history(connection: Connection, task_id: str, limit: int) -> list[HistoryEntry]:
    """The last `limit` changes of status, worker, run or attempt, oldest first."""
    newest_first: list[HistoryEntry] = []
    later: HistoryEntry | None = None
    for entry in _entries(connection, task_id):
        # An entry counts if the one before it (in time) differs; so each is judged when its predecessor is known.
        if later is not None and _key(entry) != _key(later):
            newest_first.append(later)
            if len(newest_first) == limit:
                return newest_first[::-1]
        later = entry
    if later is not None and limit > 0:
        newest_first.append(later)
    return newest_first[::-1]


def _key(entry: HistoryEntry) -> tuple[str, str | None, str | None, int | None]:
    return entry.status, entry.worker_id, entry.run_id, entry.attempt


def _entries(connection: Connection, task_id: str) -> Iterator[HistoryEntry]:
    t = tables.event.c
    query = (
        select(t.seq, t.at, t.epoch, t.status, t.kind, t.method, t.actor, t.worker_id, t.run_id, t.attempt)
        .where(t.task_id == escape(task_id), (t.status.is_not(None)) | (t.kind == TASK_REMOVED))
        .order_by(t.seq.desc())
    )
    with connection.execution_options(stream_results=True, yield_per=200).execute(query) as result:
        for seq, at, epoch, status, kind, method, actor, worker_id, run_id, attempt in result:
            yield HistoryEntry(
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
