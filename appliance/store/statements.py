"""The columns of the journal's statements, in the order in which `batch` builds rows."""

from sqlalchemy import Table

from luigi_ha.appliance.store import tables
from luigi_ha.appliance.store.batch import DEFINITION, DETAIL, STATE

EVENT_COLUMNS = (
    "seq", "epoch", "at", "method", "actor", "kind", "task_num", "task_id", "status", "worker_id", "run_id", "attempt",
    "data",
)  # fmt: skip
WORKER_COLUMNS = ("wid", "worker_id", "started_at", "disabled", "info", "messages", "draining")
RESOURCE_COLUMNS = ("name_key", "name", "total")
BATCHER_COLUMNS = ("name_key", "worker_id", "family", "batched_args", "max_batch_size")
SETTING_COLUMNS = ("name_key", "name", "value")
ANSWER_COLUMNS = ("num", "caller_key", "method", "fingerprint", "reply_status", "reply", "at")


def task_columns(groups: int) -> tuple[str, ...]:
    """The columns of `luigi_task` that a row with these groups carries."""
    columns: tuple[str, ...] = ("num", "task_id")
    if groups & DEFINITION:
        columns += tables.DEFINITION_COLUMNS
    if groups & STATE:
        columns += tables.STATE_COLUMNS
    if groups & DETAIL:
        columns += tables.DETAIL_COLUMNS
    return columns


def check_columns() -> None:
    """Every name is a column of its table; raises KeyError at import otherwise."""
    named: dict[Table, tuple[str, ...]] = {
        tables.event: EVENT_COLUMNS,
        tables.worker: WORKER_COLUMNS,
        tables.resource: RESOURCE_COLUMNS,
        tables.batcher: BATCHER_COLUMNS,
        tables.setting: SETTING_COLUMNS,
        tables.answer: ANSWER_COLUMNS,
        tables.task: task_columns(DEFINITION | STATE | DETAIL),
    }
    for table, names in named.items():
        for name in names:
            table.c[name]


check_columns()
