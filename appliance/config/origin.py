"""A value and where it was written; what all sources are read into."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, NamedTuple


class Origin(NamedTuple):
    """A value and where it was written, for people."""

    value: Any
    where: str
    checked: bool = False
    """It has the option's type, and is what luigid would run with."""


Values = dict[tuple[str, str], Origin]


class Note(NamedTuple):
    """What the operator should know. A warning: something that was written has no effect, and may have been meant."""

    text: str
    warning: bool = False


def near(name: str, known: Iterable[str]) -> str:
    """Return a hint to the known name that `name` may have been meant to be, or ""."""
    by_form = {_form(each): each for each in sorted(known)}
    found = get_close_matches(_form(name), list(by_form), n=1, cutoff=0.6)
    return f"; did you mean {by_form[found[0]]!r}?" if found else ""


def _form(name: str) -> str:
    return name.strip().lower().replace("-", "_")
