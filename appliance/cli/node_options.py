"""Options of a node as flags of commands, made of the table of options (`luigi_ha.appliance.config`).

    @takes("database", "cluster")
    def pause(flags: Flags, config: Config = None, as_json: Json = False) -> None:

is a command with `--database` and `--cluster` instead of `flags`. Names, types, defaults and help are the table's, so
they cannot say anything else than what `serve` does. The environment and the file are read by `load`, which knows where
each value came from; here a flag that is not given is None.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from typing import Annotated, Any, get_type_hints

import typer

from luigi_ha.appliance.cli.signatures import one_of, with_options
from luigi_ha.appliance.config.options import SECRET, Serve

Flags = Mapping[str, Any]
FLAGS = tuple(field.name for field in fields(Serve) if field.name not in SECRET)  # a secret is seen in every `ps`


def takes(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that gives a command these options of a node; it gets those that were given."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        def command(**given: Any) -> None:
            flags = {name: given.pop(name) for name in names}
            function(flags, **given)

        table = {field.name: field for field in fields(Serve)}
        return with_options(function, [(name, _annotation(table[name]), None) for name in names], command)

    return decorate


def variable(name: str) -> str:
    """Return the environment variable of a node's option."""
    return f"LUIGI_HA_{name.upper()}"


def default(field: "Field[Any]") -> str:
    """Return an option's default as people write it; "" if it has none, or the text says what that means."""
    value = None if field.default is MISSING else field.default
    if value in (None, "", ()) or value is False:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else f"{value}"


def _annotation(field: "Field[Any]") -> Any:
    kind = _kind(get_type_hints(Serve)[field.name])
    flag = f"--{field.name.replace('_', '-')}"
    names = (f"{flag}/--no-{flag.removeprefix('--')}",) if kind is bool else (flag,)
    text = field.metadata["text"]
    stands = f" [{default(field)}]" if default(field) else ""
    lists = ", with commas between them" if kind is str and _is_list(get_type_hints(Serve)[field.name]) else ""
    told = f"{text[0].upper()}{text[1:]}{lists}.{stands} [env var: {variable(field.name)}]"
    completes = one_of(field.metadata["choices"]) if field.metadata["choices"] else None
    return Annotated[kind | None, typer.Option(*names, help=told, autocompletion=completes)]


def _is_list(hint: Any) -> bool:
    return getattr(hint, "__origin__", None) is tuple


def _kind(hint: Any) -> Any:
    """The type of the flag: a list is a text with commas."""
    for kind in (bool, int, float):
        if hint is kind or kind in getattr(hint, "__args__", ()):
            return kind
    return str
