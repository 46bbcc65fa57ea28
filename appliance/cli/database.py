"""Commands on the database itself: db upgrade, db check, db accept."""

from pathlib import Path
from typing import Annotated

import typer

from luigi_ha.appliance.cli.errors import EXIT_CODES

app = typer.Typer(help="The database: its schema.", no_args_is_help=True, rich_markup_mode=None, epilog=EXIT_CODES)
Database = Annotated[str | None, typer.Option("--database", help="Database URL; default: as for serve.")]
Config = Annotated[Path | None, typer.Option("--config", help="TOML file with the options of serve.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


@app.command(epilog=EXIT_CODES)
def upgrade(database: Database = None, config: Config = None, as_json: Json = False) -> None:
    """Make the tables, or bring older ones up to date. Safe to repeat.

    Example: luigi-ha db upgrade --database postgresql://luigi@db1/luigi
    """
    from luigi_ha.appliance.cli import schema  # noqa: PLC0415 - see appliance.cli.app

    schema.upgrade(database, config, as_json=as_json)


@app.command(epilog=EXIT_CODES)
def check(database: Database = None, config: Config = None, as_json: Json = False) -> None:
    """Whether the database can be reached and its schema fits. Exit code 5 if it must be upgraded first.

    Example: luigi-ha db check --database sqlite:////var/lib/luigi-ha/luigi-ha.db
    """
    from luigi_ha.appliance.cli import schema  # noqa: PLC0415 - see appliance.cli.app

    raise typer.Exit(schema.check(database, config, as_json=as_json))


@app.command(epilog=EXIT_CODES)
def accept(database: Database = None, config: Config = None, as_json: Json = False) -> None:
    """Go on with a database that is older than what was seen of it: restored from a backup, replaced, or empty.

    No node leads on such a database by itself: what it lacks would be gone without a word. Stop the nodes first; what
    was acknowledged after the backup is not known any more afterwards.

    Example: luigi-ha db accept --database sqlite:////var/lib/luigi-ha/luigi-ha.db
    """
    from luigi_ha.appliance.cli import accepting  # noqa: PLC0415

    accepting.accept(database, config, as_json=as_json)
