"""Commands whose options are made of a table: typer reads them off the signature, so they are written into it."""

import inspect
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

Option = tuple[str, Any, Any]  # name, annotation, default


def one_of(values: Iterable[str]) -> Callable[[str], list[str]]:
    """Return what completes an option that takes one of these; or several, with commas between them."""
    known = list(values)

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        return [f"{before}{comma}{value}" for value in known if value.startswith(last)]

    return complete


def with_options(
    function: Callable[..., None], options: Iterable[Option], command: Callable[..., None]
) -> Callable[..., None]:
    """Return `command` as typer is to see it: the options of `function` but its first parameter, and these."""
    own = list(inspect.signature(function).parameters.values())[1:]
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, annotation, default in options
    ]
    made = wraps(function)(command)
    made.__signature__ = inspect.Signature([*own, *more])  # type: ignore[attr-defined]
    made.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *more)}
    return made
