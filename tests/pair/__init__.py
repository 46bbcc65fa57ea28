"""Two schedulers on one machine: SQLite, file lock, one port."""
