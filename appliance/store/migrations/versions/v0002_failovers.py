"""The record of failovers; on PostgreSQL, the check that strict durability begins its transactions with.

MariaDB and MySQL commit every DDL statement by itself, so each step can be repeated after a crash.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")

REQUIRE_STANDBY = """
CREATE OR REPLACE FUNCTION luigi_require_standby() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    names text := current_setting('synchronous_standby_names');
BEGIN
    IF names <> '' AND EXISTS (SELECT 1 FROM pg_stat_get_wal_senders() WHERE sync_state IN ('sync', 'quorum')) THEN
        RETURN;
    END IF;
    IF NOT pg_has_role('pg_read_all_stats', 'USAGE') THEN
        RAISE EXCEPTION 'durability = strict, but the role % may not see the standbys: GRANT pg_read_all_stats TO %',
            current_user, quote_ident(current_user) USING ERRCODE = 'LH002';
    ELSIF names = '' THEN
        RAISE EXCEPTION 'durability = strict, but no commit waits for a standby: synchronous_standby_names is empty'
            USING ERRCODE = 'LH002';
    END IF;
    RAISE EXCEPTION 'durability = strict, but no synchronous standby is attached (synchronous_standby_names = %)', names
        USING ERRCODE = 'LH002';
END $$
"""


def upgrade() -> None:
    """Only adds."""
    bind = op.get_bind()
    options = _mysql_options(bind) if bind.dialect.name in ("mysql", "mariadb") else {}
    op.create_table(
        "luigi_failover",
        sa.Column("epoch", BIG, primary_key=True, autoincrement=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("holder", TEXT, nullable=False),
        sa.Column("previous", TEXT),
        sa.Column("cause", TEXT, nullable=False),
        sa.Column("parked_seconds", sa.Double),
        sa.Column("promotion_seconds", sa.Double, nullable=False),
        sa.Column("warm", sa.Boolean, nullable=False),
        sa.Column("events_read", sa.BigInteger, nullable=False),
        if_not_exists=True,
        **options,
    )
    if bind.dialect.name == "postgresql":
        op.execute(REQUIRE_STANDBY)


def _mysql_options(bind: sa.Connection) -> dict[str, str]:
    """Case-sensitive text in which trailing spaces count; the collation's name differs between the two servers."""
    collation = "utf8mb4_nopad_bin" if getattr(bind.dialect, "is_mariadb", False) else "utf8mb4_0900_bin"
    return {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": collation} | {
        "mariadb_engine": "InnoDB",
        "mariadb_charset": "utf8mb4",
        "mariadb_collate": collation,
    }
