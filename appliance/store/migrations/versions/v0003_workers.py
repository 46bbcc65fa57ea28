"""What the REST API needs: first answers by their callers' keys, capabilities of tasks, workers that drain.

MariaDB and MySQL commit every DDL statement by itself, so each step can be repeated after a crash.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")


def upgrade() -> None:
    """Only adds; the new columns may be NULL, so no row is rewritten."""
    bind = op.get_bind()
    options = _mysql_options(bind) if bind.dialect.name in ("mysql", "mariadb") else {}
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
        **options,
    )
    _add_column(bind, "luigi_task", sa.Column("capabilities", TEXT))
    _add_column(bind, "luigi_worker", sa.Column("draining", sa.Boolean))


def _add_column(bind: sa.Connection, table: str, column: "sa.Column[object]") -> None:
    if column.name not in {known["name"] for known in sa.inspect(bind).get_columns(table)}:
        op.add_column(table, column)


def _mysql_options(bind: sa.Connection) -> dict[str, str]:
    """Case-sensitive text in which trailing spaces count; the collation's name differs between the two servers."""
    collation = "utf8mb4_nopad_bin" if getattr(bind.dialect, "is_mariadb", False) else "utf8mb4_0900_bin"
    return {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": collation} | {
        "mariadb_engine": "InnoDB",
        "mariadb_charset": "utf8mb4",
        "mariadb_collate": collation,
    }
