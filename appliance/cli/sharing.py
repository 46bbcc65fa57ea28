"""Whom a command asks: the options of a node that leads or follows, and the refusal to guess them.

Without any option of theirs the nodes' default would be a pair beside a file in the current directory: a command would
ask, or make, a pair that nobody runs, and say that all is well. So whoever is asked was named, or is found there; and
each answer says who it was.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from luigi_ha.appliance.cli.errors import CommandError
from luigi_ha.appliance.cli.pairing import lock_directory
from luigi_ha.appliance.cli.shown import line
from luigi_ha.appliance.config import ConfigError, Loaded, Serve, load
from luigi_ha.appliance.config.election import kind
from luigi_ha.appliance.config.sources import SYSTEM_TOML
from luigi_ha.appliance.exit_codes import ExitCode
from luigi_ha.appliance.places import sqlite_path


@contextmanager
def configured() -> Iterator[None]:
    """Turn what the operator can correct into a CommandError."""
    try:
        yield
    except ConfigError as error:
        raise CommandError(str(error), ExitCode.CONFIG) from error


def shared(config: Path | None, flags: Mapping[str, Any]) -> Serve:
    """The node's options. ConfigError if they are wrong, if it leads by itself, or if nobody said which node's."""
    loaded = told(load(flags, config, os.environ))
    serve = loaded.options.serve
    require_named(loaded, lock_directory(serve.database))
    if kind(serve, serve.database) == "none":
        raise ConfigError(
            "election", "this node leads by itself: there is nobody else", "etcd_endpoints, or a SQLite database"
        )
    return serve


def told(loaded: Loaded) -> Loaded:
    """Say on stderr what was written and has no effect: a misspelt variable may have named another database."""
    for warning in loaded.warnings:
        print(f"luigi-ha: warning: {line(warning)}", file=sys.stderr)
    return loaded


def require_named(loaded: Loaded, found: Path) -> None:
    """ConfigError unless the database or etcd is named somewhere, or `found` is there."""
    if {("", "database"), ("", "etcd_endpoints")} & loaded.origins.keys() or found.exists():
        return
    raise ConfigError(
        "which nodes?",
        f"nobody has named them, there is no {SYSTEM_TOML}, and no database of a pair is in {Path.cwd()}",
        "the nodes' --config, or --database (a pair), or --etcd-endpoints (a cluster)",
    )


def asked(serve: Serve) -> str:
    """Who was asked, for people."""
    if kind(serve, serve.database) == "file":
        return f"the pair of {sqlite_path(serve.database).absolute()}"
    return f"cluster {serve.cluster} in etcd at {', '.join(serve.etcd_endpoints)}"


def require_pair(serve: Serve) -> None:
    """CommandError if a pair was named that was never there: nothing is made by asking for it."""
    directory = lock_directory(serve.database)
    if kind(serve, serve.database) == "file" and not directory.is_dir():
        place = sqlite_path(serve.database).absolute()
        what = f"nobody leads, and no node has run, at {place} ({directory} is missing)"
        raise CommandError(f"{what}; expected the nodes' --database, or --config", ExitCode.FAILED)
