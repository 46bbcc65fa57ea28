"""The options that every command has which asks a running scheduler; each has one name, here and in luigi_ha.worker.

    @asks
    def show(at: At, task: TaskName, as_json: Json = False) -> None:

is a function with those options instead of `at`. Earlier names still work, and are not shown.
"""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from luigi_ha.appliance.cli.client import DEFAULT_URL, At
from luigi_ha.appliance.cli.signatures import Option, with_options
from luigi_ha.appliance.cli.where import located

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Config = Annotated[
    Path | None,
    typer.Option(
        envvar="LUIGI_HA_CONFIG", show_envvar=True, help="TOML file of a node. [/etc/luigi-ha/luigi-ha.toml if there]"
    ),
]
_SCHEDULER_URL = Annotated[
    list[str] | None,
    typer.Option(
        envvar="LUIGI_HA_SCHEDULER_URL",
        help="Where schedulers listen; repeat it, or use commas: the first that answers is asked. "
        f"[the node of --config, else {DEFAULT_URL}]",
    ),
]
_URL = Annotated[list[str] | None, typer.Option("--url", envvar="LUIGI_HA_URL", hidden=True)]
TokenFile = Annotated[
    Path | None,
    typer.Option(envvar="LUIGI_HA_TOKEN_FILE", help="File whose first line is our token; or set LUIGI_HA_TOKEN."),
]
_CA = Annotated[
    str,
    typer.Option(
        envvar="LUIGI_HA_TLS_CA",
        help="PEM file: authorities that signed the scheduler's certificate. [of --config, else the system's]",
    ),
]
_CERTIFICATE = Annotated[
    str, typer.Option(envvar="LUIGI_HA_TLS_CERTIFICATE", help="PEM file: ours, if the scheduler asks for one.")
]
_KEY = Annotated[str, typer.Option(envvar="LUIGI_HA_TLS_KEY", help="PEM file: its key.")]
_OPTIONS: tuple[Option, ...] = (
    ("scheduler_url", _SCHEDULER_URL, None),
    ("url", _URL, None),
    ("config", Config, None),
    ("token_file", TokenFile, None),
    ("tls_ca", _CA, ""),
    ("tls_certificate", _CERTIFICATE, ""),
    ("tls_key", _KEY, ""),
)


def asks(function: Callable[..., None]) -> Callable[..., None]:
    """Return the command that finds out whom to ask, and calls the function with that."""

    def command(**given: Any) -> None:
        context = given.pop("context")
        ours = {name: given.pop(name) for name, _, _ in _OPTIONS}
        function(_at(ours, typed(context)), **given)

    context = ("context", typer.Context, inspect.Parameter.empty)
    return with_options(function, (*_OPTIONS, context), command)


def typed(context: typer.Context) -> frozenset[str]:
    """Return the names of the options that stand on the command line, not in the environment."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return frozenset(name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE")


def _at(given: dict[str, Any], said: frozenset[str]) -> At:
    """What was said on the command line goes before what the environment says, whichever option it is."""
    at = At((DEFAULT_URL,), given["token_file"], given["tls_ca"], given["tls_certificate"], given["tls_key"])
    for name in ("scheduler_url", "url"):
        if name in said:
            return located(at, given[name], None)
    if "config" in said:
        return located(at, [], given["config"])
    return located(at, given["scheduler_url"] or given["url"] or [], given["config"])
