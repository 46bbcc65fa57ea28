"""One batch as one PostgreSQL message.

All statements of a simple query are one transaction, and the first of them is the fence: when it raises, the server
skips the rest. So there is no moment between two statements at which a frozen client could leave the fence row locked,
and one round trip per batch.

Rows travel as columns: one delimited string per column, split and unnested by the server. For server and interpreter
alike that costs half of what row-by-row literals cost. A column in which all rows agree is a constant.

Literals are made here because that is several times cheaper than having the driver adapt each value. It is safe because
every session of ours sets `standard_conforming_strings = on` and UTF-8: then doubling the quote is all there is to it.
"""
# ruff: noqa: S608 - names and numbers of ours; values are bound or quoted

from collections.abc import Collection, Sequence
from typing import Any

from luigi_ha.appliance.store.batch import ALL_GROUPS, Batch, Row
from luigi_ha.appliance.store.position import Position
from luigi_ha.appliance.store.statements import (
    ANSWER_COLUMNS,
    BATCHER_COLUMNS,
    EVENT_COLUMNS,
    RESOURCE_COLUMNS,
    SETTING_COLUMNS,
    WORKER_COLUMNS,
    task_columns,
)

# Between a column's values, and in the place of NULL: control characters that JSON never has and names hardly ever.
# Where a value does have one, the column is sent as an array constructor.
SEPARATOR, ABSENT = "\x1f", "\x1e"
_SPLIT = "E'\\x1f'"
_SPLIT_WITH_NULLS = "E'\\x1f', E'\\x1e'"

# The types of the columns that are not text.
_TYPES = {
    "seq": "bigint",
    "epoch": "bigint",
    "at": "float8",
    "task_num": "bigint",
    "num": "bigint",
    "wid": "bigint",
    "attempt": "bigint",
    "priority": "float8",
    "added_at": "float8",
    "started_at": "float8",
    "updated_at": "timestamp",
    "run_time": "timestamp",
    "retry_at": "timestamp",
    "runnable": "boolean",
    "batchable": "boolean",
    "disabled": "boolean",
    "draining": "boolean",
    "reply_status": "bigint",
}
_PLAIN_NUMBERS = ("bigint", "float8", "boolean")


def text(value: str | None) -> str:
    """A text literal."""
    return "NULL" if value is None else "'" + value.replace("'", "''") + "'"


def fence(epoch: int, previous: Position, last: Position, time: float) -> str:
    """The compare-and-set that begins every transaction; raises SQLSTATE LH001 inside the server."""
    positions = f"{previous.seq}, '{previous.hash}', {last.seq}, '{last.hash}'"
    return f"SELECT luigi_fence({epoch}, {positions}, {time!r}::float8);\n"


def message(batch: Batch) -> str:
    """The whole batch, fence first."""
    parts = [fence(batch.previous.epoch, batch.previous, batch.last, batch.time)]
    if batch.events:
        parts.append(_insert("luigi_event", EVENT_COLUMNS, batch.events))
    for groups, rows in batch.tasks.items():
        if groups == ALL_GROUPS:
            parts.append(_upsert("luigi_task", task_columns(groups), rows))
        elif groups:
            parts.append(_update_tasks(task_columns(groups), rows))
    parts.append(_delete("luigi_task", "num", batch.tasks_removed))
    parts.append(_upsert("luigi_worker", WORKER_COLUMNS, batch.workers.values()))
    parts.append(_upsert("luigi_resource", RESOURCE_COLUMNS, batch.resources.values()))
    parts.append(_upsert("luigi_batcher", BATCHER_COLUMNS, batch.batchers.values()))
    parts.append(_upsert("luigi_setting", SETTING_COLUMNS, batch.settings.values()))
    parts.append(_upsert("luigi_answer", ANSWER_COLUMNS, batch.answers.values()))
    if batch.answers_forgotten:
        parts.append(f"DELETE FROM luigi_answer WHERE num <= {batch.answers_forgotten};\n")
    parts.append(_delete("luigi_worker", "wid", batch.workers_removed))
    parts.append(_delete("luigi_batcher", "name_key", batch.batchers_removed))
    return "".join(parts)


def _columns(names: Sequence[str], rows: Collection[Row]) -> tuple[list[str], str]:
    """An expression for each column, and the FROM clause that they refer to (empty for a single row)."""
    count = len(rows)
    expressions, varying, arrays = [], [], []
    for name, values in zip(names, zip(*rows, strict=True), strict=True):
        kind = _TYPES.get(name, "text")
        if values.count(values[0]) == count:
            expressions.append(f"{_literal(values[0], kind)}::{kind}")
        else:
            expressions.append(f"v.{name}")
            varying.append(name)
            arrays.append(_array(values, kind))
    if not varying:
        return expressions, ""
    return expressions, f" FROM unnest({', '.join(arrays)}) AS v ({', '.join(varying)})"


def _literal(value: Any, kind: str) -> str:
    return repr(value) if kind in _PLAIN_NUMBERS and value is not None else text(value)


def _array(values: Row, kind: str) -> str:
    """An array of at least two different values."""
    if kind in _PLAIN_NUMBERS:
        numbers = ",".join(map(repr, values)) if None not in values else ",".join(map(_number, values))
        return f"string_to_array('{numbers}', ',', '')::{kind}[]"
    try:
        joined, split, absent = SEPARATOR.join(values), _SPLIT, 0
    except TypeError:
        joined = SEPARATOR.join([ABSENT if value is None else value for value in values])
        split, absent = _SPLIT_WITH_NULLS, values.count(None)
    cast = "" if kind == "text" else f"::{kind}[]"
    if joined.count(SEPARATOR) != len(values) - 1 or (absent and joined.count(ABSENT) != absent):
        return f"ARRAY[{', '.join(map(text, values))}]{cast}"
    return f"string_to_array({text(joined)}, {split}){cast}"


def _number(value: float | None) -> str:
    return "" if value is None else repr(value)


def _insert(table: str, names: Sequence[str], rows: Collection[Row], conflict: str = "") -> str:
    expressions, source = _columns(names, rows)
    return f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(expressions)}{source}{conflict};\n"


def _upsert(table: str, names: Sequence[str], rows: Collection[Row]) -> str:
    """The first column is the key."""
    if not rows:
        return ""
    changes = ", ".join([f"{name} = excluded.{name}" for name in names[1:]])
    return _insert(table, names, rows, f" ON CONFLICT ({names[0]}) DO UPDATE SET {changes}")


def _update_tasks(names: Sequence[str], rows: Collection[Row]) -> str:
    expressions, source = _columns(names, rows)
    changes = ", ".join([f"{name} = {value}" for name, value in zip(names[2:], expressions[2:], strict=True)])
    return f"UPDATE luigi_task t SET {changes}{source} WHERE t.num = {expressions[0]};\n"


def _delete(table: str, key: str, values: Collection[int | str]) -> str:
    if not values:
        return ""
    listed = ", ".join([text(value) if isinstance(value, str) else str(value) for value in values])
    return f"DELETE FROM {table} WHERE {key} IN ({listed});\n"
