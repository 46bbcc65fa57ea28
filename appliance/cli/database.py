"""Commands on the database itself: db upgrade, check, backup, restore, accept."""

from pathlib import Path
from typing import Annotated

import typer

from luigi_ha.appliance.cli.asking import Config, Json
from luigi_ha.appliance.cli.errors import NO_DATABASE, USAGE, database_codes, exit_codes
from luigi_ha.appliance.cli.node_options import Flags, takes
from luigi_ha.appliance.exit_codes import ExitCode

RESTORE_CODES = exit_codes(
    {
        ExitCode.OK: "restored",
        ExitCode.FAILED: "no backup that can be read, nodes run, or the database is not empty: nothing was changed",
        ExitCode.CONFIG: USAGE,
        ExitCode.UNREACHABLE: f"{NO_DATABASE}, or where leadership is kept cannot",
        ExitCode.SCHEMA: "the backup is of a newer program",
    }
)
app = typer.Typer(help="The database: its schema, its backups.", no_args_is_help=True, rich_markup_mode=None)


@app.command(epilog=database_codes("the schema is current"))
@takes("database")
def upgrade(flags: Flags, config: Config = None, as_json: Json = False) -> None:
    """Make the tables, or bring older ones up to date. Safe to repeat.

    Example: luigi-ha db upgrade --database postgresql://luigi@db1/luigi
    """
    from luigi_ha.appliance.cli import schema  # noqa: PLC0415 - see appliance.cli.app

    schema.upgrade(flags["database"], config, as_json=as_json)


@app.command(epilog=database_codes("reachable, and the schema is current"))
@takes("database")
def check(flags: Flags, config: Config = None, as_json: Json = False) -> None:
    """Whether the database can be reached and its schema fits. Exit code 5 if it must be upgraded first.

    Example: luigi-ha db check --database sqlite:////var/lib/luigi-ha/luigi-ha.db
    """
    from luigi_ha.appliance.cli import schema  # noqa: PLC0415 - see appliance.cli.app

    raise typer.Exit(schema.check(flags["database"], config, as_json=as_json))


@app.command(epilog=database_codes(failed="the file is there already, or cannot be written; or pg_dump failed"))
@takes("database")
def backup(
    flags: Flags,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The backup to be made; it must not be there yet.")],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Copy the database into a file, as it is at one moment, while nodes run.

    A SQLite database becomes another SQLite file, with all that its log (-wal) holds. A PostgreSQL database is written
    by pg_dump in its custom format. MariaDB and MySQL have tools of their own.

    Example: luigi-ha db backup luigi-ha.backup --database sqlite:////var/lib/luigi-ha/luigi-ha.db
    """
    from luigi_ha.appliance.cli import backups  # noqa: PLC0415

    backups.backup(flags["database"], config, file, as_json=as_json)


@app.command(epilog=RESTORE_CODES)
@takes("database")
def restore(
    flags: Flags,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `luigi-ha db backup` made.")],
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Even if there is something: a SQLite file is put aside, tables are dropped."),
    ] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Put a backup in the place of the database. All nodes must be stopped; what was acknowledged since is not in it.

    It is restored as a whole or not at all, and says what to do next: `db accept`, since no node leads by itself on a
    database that is older than what was seen of it.

    Example: luigi-ha db restore luigi-ha.backup --replace --database sqlite:////var/lib/luigi-ha/luigi-ha.db
    """
    from luigi_ha.appliance.cli import backups  # noqa: PLC0415

    backups.restore(flags["database"], config, file, replace=replace, as_json=as_json)


@app.command(epilog=database_codes("accepted", "a node leads"))
@takes("database")
def accept(flags: Flags, config: Config = None, as_json: Json = False) -> None:
    """Go on with a database that is older than what was seen of it: restored from a backup, replaced, or empty.

    No node leads on such a database by itself: what it lacks would be gone without a word. Stop the nodes first; what
    was acknowledged after the backup is not known any more afterwards.

    Example: luigi-ha db accept --database sqlite:////var/lib/luigi-ha/luigi-ha.db
    """
    from luigi_ha.appliance.cli import accepting  # noqa: PLC0415

    accepting.accept(flags["database"], config, as_json=as_json)
