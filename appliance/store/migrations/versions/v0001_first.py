"""The first schema.

MariaDB and MySQL commit every DDL statement by itself, so each step can be repeated after a crash.
"""
# ruff: noqa: S608 - names and numbers of ours; values are bound or quoted

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
ID = sa.Text().with_variant(mysql.VARCHAR(2000), "mysql", "mariadb")
MOMENT = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
PREFIX = {"task_id": 500}

FENCE = """
CREATE OR REPLACE FUNCTION luigi_fence(
    my_epoch bigint, old_seq bigint, old_hash text, new_seq bigint, new_hash text, new_time double precision
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE leadership SET seq = new_seq, hash = new_hash, last_time = greatest(last_time, new_time)
    WHERE id = 1 AND epoch = my_epoch AND seq = old_seq AND hash = old_hash;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'luigi-ha: fenced' USING ERRCODE = 'LH001';
    END IF;
END $$
"""

# Rows are updated many times without touching an indexed column: with room on their page, no index is written.
TASK_STORAGE = (
    "ALTER TABLE luigi_task SET (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05, "
    "autovacuum_analyze_scale_factor = 0.05, toast_tuple_target = 1024)"
)


def upgrade() -> None:
    """Make the tables."""
    bind = op.get_bind()
    postgresql = bind.dialect.name == "postgresql"
    options = _mysql_options(bind) if bind.dialect.name in ("mysql", "mariadb") else {}
    op.create_table(
        "leadership",
        sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.String(32), nullable=False),
        sa.Column("last_time", sa.Double, nullable=False),
        sa.Column("holder", TEXT, nullable=False),
        sa.Column("since", MOMENT),
        if_not_exists=True,
        **options,
    )
    _event(postgresql, options)
    _task(options)
    op.create_table(
        "luigi_worker",
        sa.Column("wid", BIG, primary_key=True, autoincrement=False),
        sa.Column("worker_id", TEXT, nullable=False),
        sa.Column("started_at", sa.Double, nullable=False),
        sa.Column("disabled", sa.Boolean, nullable=False),
        sa.Column("info", TEXT, nullable=False),
        sa.Column("messages", TEXT, nullable=False),
        if_not_exists=True,
        **options,
    )
    for table, columns in (
        ("luigi_resource", ("name", "total")),
        ("luigi_batcher", ("worker_id", "family", "batched_args", "max_batch_size")),
        ("luigi_setting", ("name", "value")),
    ):
        op.create_table(
            table,
            sa.Column("name_key", sa.String(32), primary_key=True),
            *(sa.Column(name, TEXT, nullable=False) for name in columns),
            if_not_exists=True,
            **options,
        )
    if postgresql:
        op.execute(FENCE)
        op.execute(TASK_STORAGE)
        op.execute("ALTER TABLE leadership SET (fillfactor = 10)")
    row = bind.execute(sa.text("SELECT count(*) FROM leadership")).scalar()
    if not row:
        op.execute(
            "INSERT INTO leadership (id, epoch, seq, hash, last_time, holder, since) "
            f"VALUES (1, 0, 0, '{'0' * 32}', 0, '', NULL)"
        )


def _event(postgresql: bool, options: dict[str, str]) -> None:
    op.create_table(
        "luigi_event",
        sa.Column("seq", BIG, primary_key=True, autoincrement=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("method", TEXT, nullable=False),
        sa.Column("actor", TEXT),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("task_num", sa.BigInteger),
        sa.Column("task_id", ID),
        sa.Column("status", TEXT),
        sa.Column("worker_id", TEXT),
        sa.Column("run_id", TEXT),
        sa.Column("attempt", sa.BigInteger),
        sa.Column("data", TEXT, nullable=False),
        if_not_exists=True,
        **({"postgresql_partition_by": "RANGE (seq)"} if postgresql else options),
    )
    op.create_index("luigi_event_task_id", "luigi_event", ["task_id"], mysql_length=PREFIX, if_not_exists=True)


def _task(options: dict[str, str]) -> None:
    op.create_table(
        "luigi_task",
        sa.Column("num", BIG, primary_key=True, autoincrement=False),
        sa.Column("task_id", ID, nullable=False),
        sa.Column("status", TEXT),
        sa.Column("run_time", MOMENT),
        sa.Column("worker_id", TEXT),
        sa.Column("priority", sa.Double),
        sa.Column("updated_at", MOMENT),
        sa.Column("run_id", TEXT),
        sa.Column("attempt", sa.BigInteger),
        sa.Column("retry_at", MOMENT),
        sa.Column("family", TEXT),
        sa.Column("namespace", TEXT),
        sa.Column("module", TEXT),
        sa.Column("params", TEXT),
        sa.Column("param_visibilities", TEXT),
        sa.Column("deps", TEXT),
        sa.Column("resources", TEXT),
        sa.Column("retry_policy", TEXT),
        sa.Column("runnable", sa.Boolean),
        sa.Column("batchable", sa.Boolean),
        sa.Column("accepts_messages", TEXT),
        sa.Column("added_at", sa.Double),
        sa.Column("expl", TEXT),
        sa.Column("tracking_url", TEXT),
        sa.Column("status_message", TEXT),
        sa.Column("progress_percentage", TEXT),
        sa.Column("message_responses", TEXT),
        sa.Column("state", TEXT),
        if_not_exists=True,
        **options,
    )
    op.create_index("luigi_task_task_id", "luigi_task", ["task_id"], mysql_length=PREFIX, if_not_exists=True)


def _mysql_options(bind: sa.Connection) -> dict[str, str]:
    """Case-sensitive text in which trailing spaces count; the collation's name differs between the two servers."""
    collation = "utf8mb4_nopad_bin" if getattr(bind.dialect, "is_mariadb", False) else "utf8mb4_0900_bin"
    return {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": collation} | {
        "mariadb_engine": "InnoDB",
        "mariadb_charset": "utf8mb4",
        "mariadb_collate": collation,
    }
