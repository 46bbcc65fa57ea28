"""The tokens that callers show.

MariaDB and MySQL commit every DDL statement by itself, so each step can be repeated after a crash.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")


def upgrade() -> None:
    """Only adds."""
    bind = op.get_bind()
    options = _mysql_options(bind) if bind.dialect.name in ("mysql", "mariadb") else {}
    op.create_table(
        "luigi_token",
        sa.Column("token_id", sa.String(16), primary_key=True),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("created_by", TEXT, nullable=False),
        sa.Column("expires_at", sa.Double),
        sa.Column("revoked_at", sa.Double),
        sa.UniqueConstraint("name", name="luigi_token_name"),
        if_not_exists=True,
        **options,
    )


def _mysql_options(bind: sa.Connection) -> dict[str, str]:
    """Case-sensitive text in which trailing spaces count; the collation's name differs between the two servers."""
    collation = "utf8mb4_nopad_bin" if getattr(bind.dialect, "is_mariadb", False) else "utf8mb4_0900_bin"
    return {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": collation} | {
        "mariadb_engine": "InnoDB",
        "mariadb_charset": "utf8mb4",
        "mariadb_collate": collation,
    }
