"""Commands on the database itself: db upgrade, db check."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from appliance.cli.errors import EXIT_CODES
from appliance.config import load
from appliance.config.load import database_url
from appliance.node import ExitCode
from appliance.store import SchemaState, Store, open_store

app = typer.Typer(help="The database: its schema.", no_args_is_help=True, rich_markup_mode=None)
Database = Annotated[str | None, typer.Option("--database", help="Database URL; default: as for serve.")]
Config = Annotated[Path | None, typer.Option("--config", help="TOML file with the options of serve.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def _open(database: str | None, config: Path | None) -> Store:
    loaded = load({"database": database}, config, os.environ)
    return open_store(database_url(loaded.options.serve), call_timeout=loaded.options.serve.database_timeout)


@app.command(epilog=EXIT_CODES)
def upgrade(database: Database = None, config: Config = None, as_json: Json = False) -> None:
    """Make the tables, or bring older ones up to date. Safe to repeat.

    Example: luigi-ha db upgrade --database postgresql://luigi@db1/luigi
    """
    store = _open(database, config)
    before = store.check()
    after = store.upgrade()
    if as_json:
        print(json.dumps({"database": store.target.shown, "before": before.found, "after": after.found}))
    elif before.found == after.found:
        print(f"{store.target.shown}: schema {after.found} is current; nothing to do")
    else:
        print(f"{store.target.shown}: schema upgraded from {before.found or 'nothing'} to {after.found}")


@app.command(epilog=EXIT_CODES)
def check(database: Database = None, config: Config = None, as_json: Json = False) -> None:
    """Whether the database can be reached and its schema fits. Exit code 5 if it must be upgraded first.

    Example: luigi-ha db check --database sqlite:////var/lib/luigi-ha/luigi-ha.db
    """
    store = _open(database, config)
    status = store.check()
    if as_json:
        found = {"database": store.target.shown, "state": status.state.value, "found": status.found}
        print(json.dumps({**found, "wanted": status.wanted}))
    else:
        shown = f"schema {status.found or 'none'} ({status.state.value}), this program wants {status.wanted}"
        print(f"{store.target.shown}: reachable; {shown}")
    if status.state is not SchemaState.CURRENT:
        raise typer.Exit(ExitCode.SCHEMA)
