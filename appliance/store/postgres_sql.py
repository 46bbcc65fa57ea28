"""One batch as one PostgreSQL message.

All statements of a simple query are one transaction, and the first of them is the fence: when it raises, the server
skips the rest. So there is no moment between two statements at which a frozen client could leave the fence row
locked, and one round trip per batch.

Literals are made here because that is several times cheaper than having the driver adapt each value. It is safe because
every session of ours sets `standard_conforming_strings = on` and UTF-8: then doubling the quote is all there is to it.
"""
# ruff: noqa: S608 - names and numbers of ours; values are bound or quoted

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
    positions = f"{previous.seq}, '{previous.hash}', {last.seq}, '{last.hash}'"
    return f"SELECT luigi_fence({epoch}, {positions}, {time!r}::float8);\n"


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


def _texts(values: Row) -> str:
    """Several text literals; one look at all of them together finds the quotes inside."""
    try:
        joined = "','".join(values)
    except TypeError:
        return ",".join(map(text, values))  # one is NULL
    if joined.count("'") != 2 * (len(values) - 1):
        return ",".join(map(text, values))
    return f"'{joined}'"


def _event(row: Row) -> str:
    seq, epoch, at, method, actor, kind, num, task_id, status, worker_id, run_id, attempt, data = row
    head = f"({seq},{epoch},{at!r},{text(method)},{text(actor)},'{kind}',{'NULL' if num is None else num}"
    number = "NULL" if attempt is None else attempt
    if "'" in data:
        texts = f"{text(task_id)},{text(status)},{text(worker_id)},{text(run_id)}"
        return f"{head},{texts},{number},{text(data)})"
    # Every other string of the row is also in `data`: none of them has a quote.
    return f"{head},{_plain(task_id)},{_plain(status)},{_plain(worker_id)},{_plain(run_id)},{number},'{data}')"


def _plain(value: str | None) -> str:
    return "NULL" if value is None else f"'{value}'"


def _state(values: Row) -> str:
    status, priority, updated_at, worker_id, run_time, run_id, attempt, retry_at, state = values
    literal = text if "'" in state else _plain
    return (
        f"{literal(status)},{number(priority)},{_plain(updated_at)},{literal(worker_id)},{_plain(run_time)},"
        f"{literal(run_id)},{attempt},{_plain(retry_at)},{literal(state)}"
    )


def _definition(values: Row) -> str:
    return f"{_texts(values[:8])},{values[8]!r},{values[9]!r},{text(values[10])},{values[11]!r}"


def _detail(values: Row) -> str:
    expl, tracking_url, *others = values
    return f"{text(expl)},{text(tracking_url)},{_texts(tuple(others))}"


def _task(groups: int, row: Row) -> str:
    parts = [f"({row[0]}"]
    if groups != STATE:
        parts.append(text(row[1]))
    at = 2
    if groups & DEFINITION:
        parts.append(_definition(row[at : at + 12]))
        at += 12
    if groups & STATE:
        parts.append(_state(row[at : at + 9]))
        at += 9
    if groups & DETAIL:
        parts.append(_detail(row[at:]))
    return ",".join(parts) + ")"


def _tasks(groups: int, rows: list[Row]) -> tuple[str, str, str]:
    head, tail = _task_statement(groups)
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
