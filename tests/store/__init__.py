"""The store against real databases: SQLite, PostgreSQL and MariaDB."""
