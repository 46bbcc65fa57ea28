"""The command that runs a scheduler."""

import asyncio
import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, cast

import typer

from appliance import log
from appliance.config import Loaded, load
from appliance.config.load import database_url
from appliance.node import Node, NodeOptions
from appliance.store.target import parse

Flag = typer.Option


def serve(  # noqa: PLR0917 - typer passes them by name
    database: Annotated[
        str | None,
        Flag(
            help="Where the state is kept: sqlite:///file.db, postgresql://user@host1,host2/db or mysql://user@host/db. [sqlite:///luigi-ha.db]"
        ),
    ] = None,
    host: Annotated[str | None, Flag(help="Address to listen on. [all]")] = None,
    port: Annotated[int | None, Flag(help="Port to listen on; 0: any. [8082]")] = None,
    unix_socket: Annotated[str | None, Flag(help="Listen on this Unix socket instead.")] = None,
    metrics_port: Annotated[int | None, Flag(help="Serve /metrics, /health and /ready on this port too.")] = None,
    metrics_host: Annotated[str | None, Flag(help="Address for --metrics-port. [all]")] = None,
    config: Annotated[
        Path | None, Flag(help="TOML file with any of the options. [/etc/luigi-ha/luigi-ha.toml if there]")
    ] = None,
    upgrade: Annotated[
        bool | None, Flag("--upgrade", help="Upgrade an older database schema first (SQLite: always done).")
    ] = None,
    database_timeout: Annotated[
        float | None, Flag(help="Seconds until a database call is given up and repeated. [5]")
    ] = None,
    call_budget: Annotated[float | None, Flag(help="Seconds a call may wait before it is answered 503. [9]")] = None,
    max_body: Annotated[int | None, Flag(help="Bytes of the largest request. [104857600]")] = None,
    prune_every: Annotated[float | None, Flag(help="Seconds between two prunes. [60]")] = None,
    log_format: Annotated[str | None, Flag(help="keyvalue or json. [keyvalue]")] = None,
    log_level: Annotated[str | None, Flag(help="debug, info, warning or error. [info]")] = None,
    check: Annotated[bool, Flag("--check", help="Only validate, and print every option with its source.")] = False,
    as_json: Annotated[bool, Flag("--json", help="With --check: print JSON.")] = False,
) -> None:
    """Run the scheduler until SIGTERM.

    Example: luigi-ha serve --database sqlite:////var/lib/luigi-ha/luigi-ha.db

    Every option can also be a variable (LUIGI_HA_PORT=8082) or a line of the TOML file (port = 8082); flags win over
    variables, those over the file, the file over the [scheduler], [resources], [cors], [batch-notifier] and [email]
    sections of luigi.cfg, found where luigi looks for it. A database password belongs into
    LUIGI_HA_DATABASE_PASSWORD or the file named by database_password_file.
    """
    flags = {
        "database": database, "host": host, "port": port, "unix_socket": unix_socket, "metrics_port": metrics_port,
        "metrics_host": metrics_host, "upgrade": upgrade, "database_timeout": database_timeout,
        "call_budget": call_budget, "max_body": max_body, "prune_every": prune_every, "log_format": log_format,
        "log_level": log_level,
    }  # fmt: skip
    loaded = load(flags, config, os.environ)
    url = database_url(loaded.options.serve)
    parse(url)  # what cannot be understood is refused now, also by --check
    if check:
        print(loaded.as_json() if as_json else _shown(loaded))
        return
    serving = loaded.options.serve
    log.configure(cast("log.LogFormat", serving.log_format), serving.log_level)
    for note in loaded.notes:
        log.get("config").info("option_not_needed", note=note)
    code = _run(Node(NodeOptions(loaded.options, url)))
    raise typer.Exit(code)


def _run(node: Node) -> int:
    """On uvloop where there is one."""
    try:
        factory = importlib.import_module("uvloop").new_event_loop
    except ImportError:
        factory = None
    with asyncio.Runner(loop_factory=factory) as runner:
        return int(runner.run(node.run()))


def _shown(loaded: Loaded) -> str:
    """The effective options, one a line, in the form of the TOML file."""
    lines, current = [], ""
    for section, name, value, source in loaded.effective():
        if section != current:
            lines += ["", f"[{section}]"]
            current = section
        lines.append(f"{f'{name} = {_toml(value)}':<44} # {source}")
    return "\n".join(lines + [f"# note: {note}" for note in loaded.notes])


def _toml(value: object) -> str:
    match value:
        case None:
            return '""'
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"{value}"
        case tuple():
            return "[" + ", ".join(f'"{item}"' for item in value) + "]"
        case Mapping():
            return "{ " + ", ".join(f"{key} = {amount}" for key, amount in value.items()) + " }"
        case _:
            return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
