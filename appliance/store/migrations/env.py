"""Runs migrations on the connection that `schema` hands over; there is no offline mode and no alembic.ini."""

from alembic import context

from luigi_ha.appliance.store.tables import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    version_table="luigi_schema",
    # The caller holds the lock and, where the database can undo DDL, the transaction.
    transactional_ddl=False,
)
context.run_migrations()
