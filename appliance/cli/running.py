"""What `serve` does: load the options, then check or run."""

import asyncio
import importlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from appliance import log
from appliance.cli.explained import explained
from appliance.config import ConfigError, Loaded, Options, load
from appliance.config.election import kind, node_name
from appliance.config.load import database_url
from appliance.node import Node, NodeOptions
from appliance.store.target import parse
from ha.errors import Unusable
from ha.keeper.link import Link

Flags = Mapping[str, Any]
# s. The journal's writer needs the interpreter for moments only, but several times per commit; at Python's 5 ms it
# waits for a busy event loop that long each time, and the database idles (measured: commits of 2.6 ms instead of 6.1).
THREAD_SWITCH = 0.0001


def check(flags: Flags, config: Path | None, *, as_json: bool) -> None:
    """Validate, and print every option with its source."""
    with explained():
        loaded, _url = _load(flags, config)
        print(loaded.as_json() if as_json else _shown(loaded))


def run(flags: Flags, config: Path | None) -> int:
    """Serve until a signal; the exit code. As the keeper that starts the scheduler, as that scheduler, or alone."""
    with explained():
        try:
            link = Link.from_environment(os.environ)
        except Unusable as error:
            raise ConfigError("environment", str(error), "luigi-ha serve sets it by itself") from error
        loaded, url = _load(flags, config)
        serving = loaded.options.serve
        log.configure(cast("log.LogFormat", serving.log_format), serving.log_level)
        mode = kind(serving, serving.database)
        if link is None and mode != "none":
            for note in loaded.notes:
                log.get("config").info("option_not_needed", note=note)
            from appliance.cli.keeping import keep  # noqa: PLC0415 - a scheduler does without etcd's client

            return keep(serving)
        return _run(Node(_node_options(loaded.options, url, link, mode)))


def _node_options(options: Options, url: str, link: Link | None, mode: str) -> NodeOptions:
    serving = options.serve
    name = node_name(serving, serving.database, os.getpid())
    if link is None:
        return NodeOptions(options, url, f"{name}:{os.getpid()}" if serving.name else name)
    if mode == "file":
        from appliance.cli.keeping import lock_directory, peers_socket  # noqa: PLC0415

        pair, peers = str(lock_directory(serving.database)), peers_socket(serving.database, name)
        return NodeOptions(options, url, name, link, pair=pair, for_peers=peers)
    return NodeOptions(options, url, name, link, outlives_keeper=True)


def _load(flags: Flags, config: Path | None) -> tuple[Loaded, str]:
    loaded = load(flags, config, os.environ)
    url = database_url(loaded.options.serve)
    parse(url)  # what cannot be understood is refused now, also by --check
    return loaded, url


def _run(node: Node) -> int:
    """On uvloop where there is one."""
    sys.setswitchinterval(THREAD_SWITCH)
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
        setting = f"# {name}: not set" if value is None else f"{name} = {_toml(value)}"
        lines.append(f"{setting:<44} # {source}")
    return "\n".join(lines + [f"# note: {note}" for note in loaded.notes])


def _toml(value: object) -> str:
    match value:
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
