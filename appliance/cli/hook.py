"""`release` without the frame of all commands, which takes longer to load than the address takes to go.

Understands only `release` with options in their plain form, as a stop hook gives them. Everything else, such as
`--help` or a mistake, is the frame's.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

OPTIONS = frozenset({"name", "config", "database", "cluster", "etcd_endpoints", "port", "vip", "vip_interface"})


def understood(arguments: Sequence[str]) -> dict[str, Any] | None:
    """The options of `release`, by name; None: not for us."""
    if arguments[:1] != ["release"]:
        return None
    found: dict[str, Any] = {"as_json": False}
    rest = iter(arguments[1:])
    for argument in rest:
        option, equals, value = argument.partition("=")
        name = option.removeprefix("--").replace("-", "_")
        if argument == "--json":
            found["as_json"] = True
            continue
        if not option.startswith("--") or name not in OPTIONS or "_" in option:
            return None
        if not equals:
            value = next(rest, "--")
            if value.startswith("-"):
                return None
        found[name] = value
    return found


def run(options: dict[str, Any]) -> None:
    """Do it. CommandError."""
    from luigi_ha.appliance.cli import releasing  # noqa: PLC0415 - only if it is for us

    flags = dict(options)
    as_json, config = flags.pop("as_json"), flags.pop("config", None)
    releasing.run(Path(config) if config else None, flags, as_json=as_json)
