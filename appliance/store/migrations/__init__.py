"""Alembic's environment and the schema's versions; shipped inside the package, run by `schema.upgrade`."""
