"""One batch as one PostgreSQL message.

All statements of a simple query are one transaction, and the first of them is the fence: when it raises, the server skips
the rest. So there is no moment between two statements at which a frozen client could leave the fence row locked, and one
round trip per batch.

Literals are made here because that is several times cheaper than having the driver adapt each value. It is safe because
every session of ours sets `standard_conforming_strings = on` and UTF-8: then doubling the quote is all there is to it.
"""

from collections.abc import Iterable
from functools import cache

from appliance.store.batch import ALL_GROUPS, DEFINITION, DETAIL, STATE, Batch, Row
from appliance.store.position import Position
from appliance.store.statements import (
    BATCHER_COLUMNS,
    EVENT_COLUMNS,
    RESOURCE_COLUMNS,
    SETTING_COLUMNS,
    WORKER_COLUMNS,
    task_columns,
)

# Where VALUES alone would leave a column of NULLs or quoted text without the right type.
_CASTS = {
    "num": "::bigint",
    "priority": "::float8",
    "updated_at": "::timestamp",
    "run_time": "::timestamp",
    "attempt": "::bigint",
    "retry_at": "::timestamp",
    "runnable": "::boolean",
    "batchable": "::boolean",
    "added_at": "::float8",
}


def text(value: str | None) -> str:
    """A text literal."""
    if value is None:
        return "NULL"
    if "'" in value:
        return "'" + value.replace("'", "''") + "'"
    return f"'{value}'"


def number(value: float | None) -> str:
    """A number literal (`value` is finite) or a Boolean one."""
    return "NULL" if value is None else repr(value)


def fence(epoch: int, previous: Position, last: Position, time: float) -> str:
    """The compare-and-set that begins every transaction; raises SQLSTATE LH001 inside the server."""
    return f"SELECT luigi_fence({epoch}, {previous.seq}, '{previous.hash}', {last.seq}, '{last.hash}', {time!r}::float8);\n"


def message(batch: Batch) -> str:
    """The whole batch, fence first."""
    parts = [fence(batch.previous.epoch, batch.previous, batch.last, batch.time)]
    if batch.events:
        parts += (_INSERT_EVENTS, ",\n".join(map(_event, batch.events)), ";\n")
    for groups, rows in batch.tasks.items():
        if groups:
            parts += _tasks(groups, rows)
    if batch.tasks_removed:
        parts += ("DELETE FROM luigi_task WHERE num IN (", ",".join(map(str, batch.tasks_removed)), ");\n")
    parts += _small_tables(batch)
    return "".join(parts)


_INSERT_EVENTS = f"INSERT INTO luigi_event ({', '.join(EVENT_COLUMNS)}) VALUES\n"


def _event(row: Row) -> str:
    seq, epoch, at, method, actor, kind, num, task_id, status, worker_id, run_id, attempt, data = row
    return (
        f"({seq},{epoch},{at!r},{text(method)},{text(actor)},'{kind}',{'NULL' if num is None else num},{text(task_id)},"
        f"{text(status)},{text(worker_id)},{text(run_id)},{'NULL' if attempt is None else attempt},{text(data)})"
    )


def _state(row: Row, start: int = 2) -> str:
    status, priority, updated_at, worker_id, run_time, run_id, attempt, retry_at, state = row[start : start + 9]
    return (
        f"{text(status)},{number(priority)},{text(updated_at)},{text(worker_id)},{text(run_time)},{text(run_id)},"
        f"{attempt},{text(retry_at)},{text(state)}"
    )


def _definition(row: Row) -> str:
    return f"{','.join(map(text, row[2:10]))},{row[10]!r},{row[11]!r},{','.join((text(row[12]), repr(row[13])))}"


def _task(groups: int, row: Row) -> str:
    parts = [f"({row[0]},{text(row[1])}"]
    at = 2
    if groups & DEFINITION:
        parts.append(_definition(row))
        at += 12
    if groups & STATE:
        parts.append(_state(row, at))
        at += 9
    if groups & DETAIL:
        parts.append(",".join(map(text, row[at:])))
    return ",".join(parts) + ")"


def _tasks(groups: int, rows: list[Row]) -> tuple[str, str, str]:
    head, tail = _task_statement(groups)
    if groups == STATE:
        return head, ",\n".join([f"({row[0]},{_state(row)})" for row in rows]), tail
    return head, ",\n".join([_task(groups, row) for row in rows]), tail


@cache
def _task_statement(groups: int) -> tuple[str, str]:
    columns = task_columns(groups)
    if groups == ALL_GROUPS:
        return _upsert("luigi_task", columns, "num")
    if groups == STATE:
        columns = tuple(name for name in columns if name != "task_id")
    changes = ", ".join(
        f"{name} = v.{name}{_CASTS.get(name, '')}" for name in columns if name not in ("num", "task_id")
    )
    return (
        f"UPDATE luigi_task t SET {changes} FROM (VALUES\n",
        f") AS v ({', '.join(columns)}) WHERE t.num = v.num::bigint;\n",
    )


@cache
def _upsert(table: str, columns: tuple[str, ...], key: str) -> tuple[str, str]:
    changes = ", ".join(f"{name} = excluded.{name}" for name in columns if name != key)
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES\n",
        f"\nON CONFLICT ({key}) DO UPDATE SET {changes};\n",
    )


def _generic(row: Row) -> str:
    return "(" + ",".join([text(v) if v is None or isinstance(v, str) else number(v) for v in row]) + ")"


def _small_tables(batch: Batch) -> list[str]:
    parts: list[str] = []
    puts: tuple[tuple[str, tuple[str, ...], Iterable[Row]], ...] = (
        ("luigi_worker", WORKER_COLUMNS, batch.workers.values()),
        ("luigi_resource", RESOURCE_COLUMNS, batch.resources.values()),
        ("luigi_batcher", BATCHER_COLUMNS, batch.batchers.values()),
        ("luigi_setting", SETTING_COLUMNS, batch.settings.values()),
    )
    for table, columns, rows in puts:
        if rows:
            head, tail = _upsert(table, columns, columns[0])
            parts += (head, ",\n".join(map(_generic, rows)), tail)
    if batch.workers_removed:
        parts.append(f"DELETE FROM luigi_worker WHERE wid IN ({','.join(map(str, batch.workers_removed))});\n")
    if batch.batchers_removed:
        parts.append(f"DELETE FROM luigi_batcher WHERE name_key IN ({','.join(map(text, batch.batchers_removed))});\n")
    return parts
