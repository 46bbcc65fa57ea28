"""The tokens that callers show.

MariaDB and MySQL commit every DDL statement by itself, so each step can be repeated after a crash.
"""

import sqlalchemy as sa
from alembic import op

from luigi_ha.appliance.store.migrations.kinds import TEXT, table_options

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Only adds."""
    bind = op.get_bind()
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
        **table_options(bind),
    )
