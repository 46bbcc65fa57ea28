"""What `serve` does: load the options, then check or run."""

import gc
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from luigi_ha.appliance import log
from luigi_ha.appliance.cli.errors import CommandError
from luigi_ha.appliance.cli.shown import line
from luigi_ha.appliance.config import ConfigError, Loaded, Serve, load
from luigi_ha.appliance.config.election import kind
from luigi_ha.appliance.exit_codes import ExitCode
from luigi_ha.appliance.places import obstacle, sqlite_path
from luigi_ha.ha.errors import Unusable
from luigi_ha.ha.keeper.link import Link

Flags = Mapping[str, Any]


def check(flags: Flags, config: Path | None, *, as_json: bool) -> None:
    """Validate, and print every option with its source."""
    from luigi_ha.appliance.cli.explained import explained  # noqa: PLC0415
    from luigi_ha.appliance.config.load import database_url  # noqa: PLC0415
    from luigi_ha.appliance.node.access import tls_of  # noqa: PLC0415
    from luigi_ha.appliance.store.target import parse  # noqa: PLC0415

    with explained():
        loaded = load(flags, config, os.environ)
        parse(database_url(loaded.options.serve))  # what cannot be understood is refused now
        tls_of(loaded.options.serve)
        print(loaded.as_json() if as_json else _shown(loaded))


def run(flags: Flags, config: Path | None) -> int:
    """Serve until a signal; the exit code. As the keeper that starts the scheduler, as that scheduler, or alone."""
    try:
        link = Link.from_environment(os.environ)
        loaded = load(flags, config, os.environ)
        serving = loaded.options.serve
        log.configure(cast("log.LogFormat", serving.log_format), serving.log_level)
        if link is None:
            for note in loaded.notes:
                if note in loaded.warnings:
                    log.get("config").warning("option_not_used", note=note)
                else:
                    log.get("config").info("option_not_needed", note=note)
            if kind(serving, serving.database) != "none":
                _require_place(serving)
                # Neither needs what the other does: a keeper is small, and starts at once.
                from luigi_ha.appliance.cli.keeping import keep  # noqa: PLC0415

                return keep(serving)
    except Unusable as error:
        raise CommandError(f"environment: {error}", ExitCode.CONFIG) from error
    except ConfigError as error:
        raise CommandError(str(error), ExitCode.CONFIG) from error
    gc.disable()  # nothing of the hundreds of modules is garbage, now or later
    from luigi_ha.appliance.cli.scheduling import schedule  # noqa: PLC0415

    gc.freeze()
    gc.enable()
    return schedule(loaded, link)


def _require_place(serve: Serve) -> None:
    """CommandError if a SQLite file cannot lie where it is said to: before anything is made there."""
    if serve.database.startswith("sqlite:///"):
        found = obstacle(sqlite_path(serve.database))
        if found is not None:
            raise CommandError(f"database: {found[0]}; expected {found[1]}", ExitCode.FAILED)  # a disk may come yet


def _shown(loaded: Loaded) -> str:
    """The effective options, one a line, in the form of the TOML file."""
    lines, current = [], ""
    for section, name, value, source in loaded.effective():
        if section != current:
            lines += ["", f"[{section}]"]
            current = section
        setting = f"# {name}: not set" if value is None else f"{_key(name)} = {_toml(value)}"
        lines.append(f"{setting:<44} # {source}")
    notes = [f"# {'warning' if note in loaded.warnings else 'note'}: {line(note)}" for note in loaded.notes]
    return "\n".join(lines + notes)


def _toml(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"{value}"
        case tuple():
            return "[" + ", ".join(_toml(item) for item in value) + "]"
        case Mapping():
            return "{ " + ", ".join(f"{_key(key)} = {amount}" for key, amount in value.items()) + " }"
        case _:
            return json.dumps(str(value), ensure_ascii=False)  # TOML's escapes are JSON's


def _key(name: str) -> str:
    """A key of TOML: resources have any name."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _toml(name)
