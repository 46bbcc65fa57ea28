"""The options of a node that leads or follows: what every command about leadership begins with."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from appliance.cli.errors import CommandError
from appliance.config import ConfigError, Serve, load
from appliance.config.election import kind
from appliance.exit_codes import ExitCode


@contextmanager
def configured() -> Iterator[None]:
    """Turn what the operator can correct into a CommandError."""
    try:
        yield
    except ConfigError as error:
        raise CommandError(str(error), ExitCode.CONFIG) from error


def shared(config: Path | None, flags: Mapping[str, Any]) -> Serve:
    """The node's options. ConfigError if they are wrong, or if it leads by itself."""
    serve = load(flags, config, os.environ).options.serve
    if kind(serve, serve.database) == "none":
        raise ConfigError(
            "election", "this node leads by itself: there is nobody else", "etcd_endpoints, or a SQLite database"
        )
    return serve
