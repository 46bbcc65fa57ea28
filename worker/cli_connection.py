"""The options by which each of our commands reaches a scheduler: the names are those of `luigi-ha status`, too. Earlier
ones still work, and are not shown.

    @connects
    def worker(to: Connection, module: ..., ...) -> None:

is a command with those options instead of `to`.
"""

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

Option = typer.Option


@dataclass(frozen=True)
class Connection:
    """Where schedulers listen ([]: nobody has said), and how they are to know us."""

    scheduler_urls: list[str]
    token_file: Path | None
    tls_ca: Path | None
    tls_certificate: Path | None
    tls_key: Path | None
    token: str = field(default="", repr=False)


_OPTIONS: tuple[tuple[str, Any], ...] = (
    (
        "scheduler_url",
        Annotated[
            list[str] | None,
            Option(envvar="LUIGI_HA_SCHEDULER_URL", help="Where schedulers listen; repeat it, or use commas."),
        ],
    ),
    (
        "token_file",
        Annotated[
            Path | None,
            Option(
                envvar="LUIGI_HA_TOKEN_FILE", help="File with the token; read again when it changes. Or LUIGI_HA_TOKEN."
            ),
        ],
    ),
    (
        "tls_ca",
        Annotated[
            Path | None,
            Option(envvar="LUIGI_HA_TLS_CA", help="PEM file: authorities for https://. [the system's]"),
        ],
    ),
    (
        "tls_certificate",
        Annotated[
            Path | None,
            Option(envvar="LUIGI_HA_TLS_CERTIFICATE", help="PEM file: ours, if the scheduler asks for one."),
        ],
    ),
    (
        "tls_key",
        Annotated[
            Path | None,
            Option(envvar="LUIGI_HA_TLS_KEY", help="PEM file: its key, if it is in a file of its own."),
        ],
    ),
    ("ca_file", Annotated[Path | None, Option(envvar="LUIGI_HA_CA_FILE", hidden=True)]),
    ("client_certificate", Annotated[Path | None, Option(envvar="LUIGI_HA_CLIENT_CERTIFICATE", hidden=True)]),
    ("client_key", Annotated[Path | None, Option(envvar="LUIGI_HA_CLIENT_KEY", hidden=True)]),
)
_EARLIER = {"tls_ca": "ca_file", "tls_certificate": "client_certificate", "tls_key": "client_key"}


def connects(function: Callable[..., None]) -> Callable[..., None]:
    """Return the command that has these options, and calls the function with what they say."""

    @wraps(function)
    def command(**given: Any) -> None:
        context = given["context"] if asked else given.pop("context")
        ours = {name: given.pop(name) for name, _ in _OPTIONS}
        function(_connection(ours, context), **given)

    own = list(inspect.signature(function).parameters.values())[1:]
    asked = any(parameter.name == "context" for parameter in own)
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in _OPTIONS
    ]
    if not asked:
        more.append(inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context))
    command.__signature__ = inspect.Signature([*own, *more])  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *more)}
    return command


def in_environment(context: typer.Context, name: str) -> bool:
    """Return whether an option's value is from its variable, not from the command line."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "ENVIRONMENT"


def _connection(given: dict[str, Any], context: typer.Context) -> Connection:
    """The command line goes before the environment, and there a name before its earlier one."""
    files = {}
    for name, earlier in _EARLIER.items():
        first, second = given[name], given[earlier]
        if second is not None and in_environment(context, name) and not in_environment(context, earlier):
            first = second
        files[name] = first if first is not None else second
    urls = given["scheduler_url"] or []
    return Connection(urls, given["token_file"], **files, token=os.environ.get("LUIGI_HA_TOKEN", ""))
