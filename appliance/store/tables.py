"""The tables, as SQLAlchemy sees them. `migrations` makes them; a test compares the two.

`luigi_event` is the log; the other tables are its snapshot, changed in the transaction that appends to it. Only
`luigi_failover`, which is for people, and `luigi_token`, which commands change, are neither.

A task's state is stored twice in its row, on purpose: `state` is exact and is what a load reads (JSON, all fields of
`TaskState` in order: a priority may be a whole number of 300 digits, or NaN); `status`, `run_time`, `worker_id` and
their neighbours are for people and their queries, may be NULL where a column cannot hold the value, and are never
read back. Times are UTC.

Keys that clients choose (resource and batcher names) are hashed, so that neither their length nor a collation matters.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

from luigi_ha.appliance.engine.changes import TaskDefinition, TaskDetail

BigInt: TypeEngine[int] = BigInteger().with_variant(Integer(), "sqlite")
LongText: TypeEngine[str] = Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
IdText: TypeEngine[str] = Text().with_variant(mysql.VARCHAR(2000), "mysql", "mariadb")
Moment = DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
MYSQL_ID_PREFIX = 500  # characters of a task id in an index: 2000 bytes, the most the engine admits

metadata = MetaData()

leadership = Table(
    "leadership",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),  # always 1
    Column("epoch", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("hash", String(32), nullable=False),
    Column("last_time", Double, nullable=False),  # scheduler time of the last event, s since the epoch of 1970
    Column("holder", LongText, nullable=False),
    Column("since", Moment, nullable=True),
)

event = Table(
    "luigi_event",
    metadata,
    Column("seq", BigInt, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, nullable=False),
    Column("at", Double, nullable=False),  # scheduler time, s
    Column("method", LongText, nullable=False),
    Column("actor", LongText),
    Column("kind", LongText, nullable=False),
    Column("task_num", BigInteger),
    Column("task_id", IdText),
    Column("status", LongText),
    Column("worker_id", LongText),
    Column("run_id", LongText),
    Column("attempt", BigInteger),
    Column("data", LongText, nullable=False),
    Index("luigi_event_task_id", "task_id", mysql_length={"task_id": MYSQL_ID_PREFIX}),
)

DEFINITION_COLUMNS = TaskDefinition._fields
STATE_COLUMNS = (
    "status",
    "priority",
    "updated_at",
    "worker_id",
    "run_time",
    "run_id",
    "attempt",
    "retry_at",
    "state",
)
DETAIL_COLUMNS = TaskDetail._fields

task = Table(
    "luigi_task",
    metadata,
    Column("num", BigInt, primary_key=True, autoincrement=False),
    Column("task_id", IdText, nullable=False),
    Column("status", LongText),
    Column("run_time", Moment),  # when the last run started
    Column("worker_id", LongText),
    Column("priority", Double),
    Column("updated_at", Moment),
    Column("run_id", LongText),
    Column("attempt", BigInteger),
    Column("retry_at", Moment),
    Column("family", LongText),
    Column("namespace", LongText),
    Column("module", LongText),
    Column("params", LongText),
    Column("param_visibilities", LongText),
    Column("deps", LongText),
    Column("resources", LongText),
    Column("retry_policy", LongText),
    Column("runnable", Boolean),
    Column("batchable", Boolean),
    Column("accepts_messages", LongText),
    Column("added_at", Double),
    Column("capabilities", LongText),
    Column("expl", LongText),
    Column("tracking_url", LongText),
    Column("status_message", LongText),
    Column("progress_percentage", LongText),
    Column("message_responses", LongText),
    Column("state", LongText),
    Index("luigi_task_task_id", "task_id", mysql_length={"task_id": MYSQL_ID_PREFIX}),
)

worker = Table(
    "luigi_worker",
    metadata,
    Column("wid", BigInt, primary_key=True, autoincrement=False),
    Column("worker_id", LongText, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("info", LongText, nullable=False),
    Column("messages", LongText, nullable=False),
    Column("draining", Boolean),
)

resource = Table(
    "luigi_resource",
    metadata,
    Column("name_key", String(32), primary_key=True),
    Column("name", LongText, nullable=False),
    Column("total", LongText, nullable=False),
)

batcher = Table(
    "luigi_batcher",
    metadata,
    Column("name_key", String(32), primary_key=True),
    Column("worker_id", LongText, nullable=False),
    Column("family", LongText, nullable=False),
    Column("batched_args", LongText, nullable=False),
    Column("max_batch_size", LongText, nullable=False),
)

setting = Table(
    "luigi_setting",
    metadata,
    Column("name_key", String(32), primary_key=True),
    Column("name", LongText, nullable=False),
    Column("value", LongText, nullable=False),
)

answer = Table(
    "luigi_answer",
    metadata,
    Column("num", BigInt, primary_key=True, autoincrement=False),
    Column("caller_key", LongText, nullable=False),
    Column("method", LongText, nullable=False),
    Column("fingerprint", LongText, nullable=False),
    Column("reply_status", BigInteger, nullable=False),
    Column("reply", LongText, nullable=False),
    Column("at", Double, nullable=False),  # scheduler time, s
)

failover = Table(
    "luigi_failover",
    metadata,
    Column("epoch", BigInt, primary_key=True, autoincrement=False),
    Column("at", Double, nullable=False),  # when the new leader's gate opened: wall clock, s since the epoch of 1970
    Column("holder", LongText, nullable=False),
    Column("previous", LongText),
    Column("cause", LongText, nullable=False),
    Column("parked_seconds", Double),
    Column("promotion_seconds", Double, nullable=False),
    Column("warm", Boolean, nullable=False),
    Column("events_read", BigInteger, nullable=False),
    Column("story", LongText),  # JSON; see luigi_ha.appliance.node.recent
)

token = Table(
    "luigi_token",
    metadata,
    Column("token_id", String(16), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("role", String(16), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("created_at", Double, nullable=False),  # wall clock, s since the epoch of 1970, as the other times here
    Column("created_by", LongText, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
    UniqueConstraint("name", name="luigi_token_name"),
)
