"""What the REST API needs: first answers by their callers' keys, capabilities of tasks, workers that drain.

MariaDB and MySQL commit every DDL statement by itself, so each step can be repeated after a crash.
"""

import sqlalchemy as sa
from alembic import op

from luigi_ha.appliance.store.migrations.kinds import BIG, TEXT, table_options

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Only adds; the new columns may be NULL, so no row is rewritten."""
    bind = op.get_bind()
    op.create_table(
        "luigi_answer",
        sa.Column("num", BIG, primary_key=True, autoincrement=False),
        sa.Column("caller_key", TEXT, nullable=False),
        sa.Column("method", TEXT, nullable=False),
        sa.Column("fingerprint", TEXT, nullable=False),
        sa.Column("reply_status", sa.BigInteger, nullable=False),
        sa.Column("reply", TEXT, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        if_not_exists=True,
        **table_options(bind),
    )
    _add_column(bind, "luigi_task", sa.Column("capabilities", TEXT))
    _add_column(bind, "luigi_worker", sa.Column("draining", sa.Boolean))


def _add_column(bind: sa.Connection, table: str, column: "sa.Column[object]") -> None:
    if column.name not in {known["name"] for known in sa.inspect(bind).get_columns(table)}:
        op.add_column(table, column)
