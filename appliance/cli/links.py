"""Kubernetes' and Docker's variables, kept away from the commands' options.

A Service named `luigi-ha-metrics` sets `LUIGI_HA_METRICS_PORT=tcp://10.0.0.1:9100` in every container beside it: no
value of `--metrics-port`, and nobody's mistake.
"""

import sys
from collections.abc import Mapping
from typing import Any

from luigi_ha.appliance.config.environment import links


def drop_links(command: Any, environment: Mapping[str, str]) -> None:
    """Let no option of the command, or of those below it, be read from a variable that holds such a link."""
    dropped: set[str] = set()
    _drop(command, environment, dropped)
    for variable in sorted(dropped):
        what = f"{variable} = {environment[variable]} is a link to a Service, and not used"
        print(f"luigi-ha: note: environment variable {what}", file=sys.stderr)


def _drop(command: Any, environment: Mapping[str, str], dropped: set[str]) -> None:
    for parameter in command.params:
        named = [parameter.envvar] if isinstance(parameter.envvar, str) else list(parameter.envvar or ())
        found = links(environment, named)
        if found:
            parameter.envvar = [variable for variable in named if variable not in found] or None
            dropped.update(found)
    for inner in getattr(command, "commands", {}).values():
        _drop(inner, environment, dropped)
