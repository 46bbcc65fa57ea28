"""Types of columns and options of tables that versions of the schema share. What a released one uses never changes."""

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")


def table_options(bind: sa.Connection) -> dict[str, str]:
    """MariaDB, MySQL: case-sensitive text in which trailing spaces count; the collation's name differs between them."""
    if bind.dialect.name not in ("mysql", "mariadb"):
        return {}
    collation = "utf8mb4_nopad_bin" if getattr(bind.dialect, "is_mariadb", False) else "utf8mb4_0900_bin"
    return {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": collation} | {
        "mariadb_engine": "InnoDB",
        "mariadb_charset": "utf8mb4",
        "mariadb_collate": collation,
    }
