"""A configuration nobody can run with. The message names the source, the key, and what would be right."""

from collections.abc import Iterable
from difflib import get_close_matches


class ConfigError(Exception):
    """Root and only kind: the operator can correct it."""

    def __init__(self, where: str, what: str, expected: str = "") -> None:
        super().__init__(f"{where}: {what}" + (f"; {expected}" if expected else ""))
        self.where = where
        self.what = what
        self.expected = expected


def unknown_key(where: str, kind: str, key: str, known: Iterable[str]) -> ConfigError:
    """`key` is nothing we know; say what it may have been meant to be."""
    names = sorted(known)
    near = get_close_matches(key, names, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(names)}"
    return ConfigError(where, f"unknown {kind} {key!r}", hint)
