"""What `db upgrade` and `db check` do."""

import json
import os
from pathlib import Path

from luigi_ha.appliance.cli.explained import explained
from luigi_ha.appliance.cli.sharing import require_named, told
from luigi_ha.appliance.config import Loaded, load
from luigi_ha.appliance.config.load import database_url
from luigi_ha.appliance.exit_codes import ExitCode
from luigi_ha.appliance.places import sqlite_path
from luigi_ha.appliance.store import SchemaState, Store, open_store


def upgrade(database: str | None, config: Path | None, *, as_json: bool) -> None:
    """Make or update the tables, and say what was done."""
    with explained():
        store = opened(database, config)
        before, after = store.check(), store.upgrade()
    if as_json:
        print(json.dumps({"database": store.target.shown, "before": before.found, "after": after.found}))
    elif before.found == after.found:
        print(f"{store.target.shown}: schema {after.found} is current; nothing to do")
    else:
        print(f"{store.target.shown}: schema upgraded from {before.found or 'nothing'} to {after.found}")


def check(database: str | None, config: Path | None, *, as_json: bool) -> ExitCode:
    """Say whether the schema fits."""
    with explained():
        store = opened(database, config)
        status = store.check()
    if as_json:
        found = {"database": store.target.shown, "state": status.state.value, "found": status.found}
        print(json.dumps({**found, "wanted": status.wanted}))
    else:
        shown = f"schema {status.found or 'none'} ({status.state.value}), this program wants {status.wanted}"
        print(f"{store.target.shown}: reachable; {shown}")
    return ExitCode.OK if status.state is SchemaState.CURRENT else ExitCode.SCHEMA


def opened(database: str | None, config: Path | None) -> Store:
    """The store that a command's options name."""
    return store_of(named(database, config))


def named(database: str | None, config: Path | None) -> Loaded:
    """The options of a node whose database somebody has named, or whose file is here. ConfigError."""
    loaded = told(load({"database": database}, config, os.environ))
    require_named(loaded, sqlite_path(loaded.options.serve.database))
    return loaded


def store_of(loaded: Loaded) -> Store:
    """The store of such a node."""
    serve = loaded.options.serve
    return open_store(database_url(serve), call_timeout=serve.database_timeout)
