"""Reading the state: the snapshot tables for a cold start, the log for a mirror.

A cold load reads the position first and then the tables, all in one snapshot of the database, so the records are
exactly what the log up to that position says.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple

from pymysql.cursors import SSCursor
from sqlalchemy import Connection, func, select

from luigi_ha.appliance.engine.changes import (
    AnswerPut,
    BatcherPut,
    Change,
    JsonText,
    ResourcePut,
    SettingPut,
    TaskDefinition,
    TaskDetail,
    TaskPut,
    WorkerPut,
)
from luigi_ha.appliance.store import tables
from luigi_ha.appliance.store.errors import Corrupt, SchemaMissing
from luigi_ha.appliance.store.position import Position, call_bytes, chained, event_bytes
from luigi_ha.appliance.store.records import decode, decode_state
from luigi_ha.appliance.store.text import loads, unescape

CHUNK = 2000  # rows fetched at a time
MOST_SHARED_DETAILS = 100
_TASK_COLUMNS = ("num", "task_id", *tables.DEFINITION_COLUMNS, "state", *tables.DETAIL_COLUMNS)
_TASK_QUERY = f"SELECT {', '.join(_TASK_COLUMNS)} FROM luigi_task ORDER BY num"  # noqa: S608 - names of ours


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole state at `position`. `records` can be iterated once, and streams: read it to its end, or `close`."""

    position: Position
    last_time: float  # scheduler time of the last event, s since the epoch of 1970; 0 in an empty log
    count: int  # how many records there are
    records: Iterator[Change]
    close: Callable[[], None]  # ends the snapshot's transaction; happens by itself at the end of the records


class LogEntry(NamedTuple):
    """One event of the log."""

    seq: int
    epoch: int
    at: float
    method: str
    actor: str | None
    change: Change
    link: bytes  # what the chain's hash covers

    def after(self, previous: str) -> str:
        """The chain's hash after this event, given the one before it."""
        return chained(bytes.fromhex(previous), self.link).hex()


def read_position(connection: Connection) -> tuple[Position, float]:
    """The end of the log, and the scheduler time of its last event."""
    table = tables.leadership
    row = connection.execute(
        select(table.c.epoch, table.c.seq, table.c.hash, table.c.last_time).where(table.c.id == 1)
    ).one_or_none()
    if row is None:
        raise SchemaMissing("the leadership row is missing")
    return Position(row.epoch, row.seq, row.hash), row.last_time


def count_records(connection: Connection) -> int:
    """How many records a load has."""
    counted = (tables.worker, tables.resource, tables.setting, tables.batcher, tables.answer, tables.task)
    return sum(connection.execute(select(func.count()).select_from(table)).scalar_one() for table in counted)


def read_records(connection: Connection) -> Iterator[Change]:
    """Every record of the snapshot tables: settings, resources, workers, batchers, answers, then tasks by number."""
    t = tables.setting.c
    for name, value in connection.execute(select(t.name, t.value)):
        yield SettingPut(unescape(name), value)
    t = tables.resource.c
    for name, total in connection.execute(select(t.name, t.total)):
        yield ResourcePut(unescape(name), total)
    t = tables.worker.c
    order = (t.wid, t.worker_id, t.started_at, t.disabled, t.info, t.messages, t.draining)
    for wid, worker_id, started_at, disabled, info, messages, draining in connection.execute(
        select(*order).order_by(t.wid)
    ):
        yield WorkerPut(wid, unescape(worker_id), started_at, bool(disabled), info, messages, bool(draining))
    t = tables.batcher.c
    for worker_id, family, args, size in connection.execute(
        select(t.worker_id, t.family, t.batched_args, t.max_batch_size)
    ):
        yield BatcherPut(unescape(worker_id), unescape(family), args, size)
    t = tables.answer.c
    told = (t.num, t.caller_key, t.method, t.fingerprint, t.reply_status, t.reply, t.at)
    for num, caller_key, method, fingerprint, status, reply, at in connection.execute(select(*told).order_by(t.num)):
        yield AnswerPut(num, unescape(caller_key), unescape(method), unescape(fingerprint), status, unescape(reply), at)
    yield from _tasks(connection)


def _tasks(connection: Connection) -> Iterator[TaskPut]:
    # Hot at a cold start: the driver's own rows, and tuples made without their constructors.
    new = tuple.__new__
    details: dict[tuple[str | None, ...], TaskDetail] = {}  # most tasks say the same of themselves: nothing
    num = None
    try:
        for row in _driver_rows(connection, _TASK_QUERY):
            (
                num, task_id, family, namespace, module, params, visibilities, deps, resources, policy, runnable,
                batchable, messages, added_at, capabilities, state,
            ) = row[:16]  # fmt: skip
            detail = details.get(row[16:])
            if detail is None:
                expl, tracking_url, *others = row[16:]
                detail = TaskDetail(expl, unescape(tracking_url), *others)
                if len(details) < MOST_SHARED_DETAILS:
                    details[row[16:]] = detail
            definition = (
                unescape(family), unescape(namespace), unescape(module), params, visibilities,
                () if deps == "[]" else tuple(loads(deps)),
                resources, policy, bool(runnable), bool(batchable), messages, added_at,
                # NULL: written before there were any.
                () if capabilities in ("[]", None) else tuple(loads(capabilities)),
            )  # fmt: skip
            yield new(
                TaskPut,
                (num, unescape(task_id), new(TaskDefinition, definition), decode_state(loads(state)), detail),
            )
    except (TypeError, ValueError, IndexError) as error:
        raise Corrupt(f"luigi_task: cannot read the row with num {num}: {error}") from error


def _driver_rows(connection: Connection, query: str) -> Iterator[tuple[Any, ...]]:
    """The rows of a large query as the driver makes them, fetched in chunks from the server."""
    driver = connection.connection
    name = connection.dialect.name
    cursor: Any
    if name == "postgresql":
        cursor = driver.cursor(name="luigi_load")
    elif name == "sqlite":
        cursor = driver.cursor()
    else:
        cursor = driver.cursor(SSCursor)
    try:
        cursor.execute(query)
        while rows := cursor.fetchmany(CHUNK):
            yield from rows
    finally:
        cursor.close()


def read_log(connection: Connection, after: int, limit: int) -> Iterator[LogEntry]:
    """The log's entries that follow seq `after`, at most `limit`. Raises Corrupt at a gap (retention dropped them?)."""
    t = tables.event.c
    query = (
        select(t.seq, t.epoch, t.at, t.method, t.actor, t.kind, t.data)
        .where(t.seq > after)
        .order_by(t.seq)
        .limit(limit)
    )
    expected = after
    for seq, epoch, at, method, actor, kind, data in connection.execute(query):
        expected += 1
        if seq != expected:
            raise Corrupt(f"luigi_event: expected seq {expected}, found {seq}: older entries were dropped")
        link = event_bytes(seq, call_bytes(epoch, at, method, actor), kind, data)
        yield LogEntry(seq, epoch, at, unescape(method), unescape(actor), decode(kind, JsonText(data)), link)


def within(resources: ExitStack, records: Iterator[Change]) -> Iterator[Change]:
    """The records; what they are read from is released when they end, fail or are closed."""
    with resources:
        yield from records
