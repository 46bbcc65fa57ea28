"""What happened in a failover, moment by moment, as the new leader saw it.

MariaDB and MySQL commit every DDL statement by itself, so each step can be repeated after a crash.
"""

import sqlalchemy as sa
from alembic import op

from luigi_ha.appliance.store.migrations.kinds import TEXT

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Only adds; the new column may be NULL, so no row is rewritten."""
    bind = op.get_bind()
    if "story" not in {known["name"] for known in sa.inspect(bind).get_columns("luigi_failover")}:
        op.add_column("luigi_failover", sa.Column("story", TEXT))
