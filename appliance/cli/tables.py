"""Rows as text, and what is too long for a row."""

from collections.abc import Sequence

SHORTEST = 40  # characters of an id that are always shown
MORE = "\u2026"  # what follows is left out


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return aligned columns, two spaces between them; the last one is as long as it is."""
    lines = [tuple(heads), *(tuple(row) for row in rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def shortened(names: Sequence[str], least: int = SHORTEST) -> list[str]:
    """Return each name, or as much of its beginning as none of the others has: it still says which one is meant."""
    ordered = sorted(set(names))
    short: dict[str, str] = {}
    for number, name in enumerate(ordered):
        beside = [*ordered[max(0, number - 1) : number], *ordered[number + 1 : number + 2]]
        needed = max([least, *(1 + _common(name, other) for other in beside)])
        short[name] = name if len(name) <= needed + 1 else name[:needed] + MORE
    return [short[name] for name in names]


def cut(text: str, most: int) -> str:
    """Return a text that is not longer than `most` characters."""
    return text if len(text) <= most else text[: most - 1] + MORE


def age(seconds: float) -> str:
    """Return how long something lasts, in its largest unit: 45s, 12m, 3h, 8d."""
    seconds = max(0.0, seconds)
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= length:
            return f"{int(seconds // length)}{unit}"
    return f"{int(seconds)}s"


def amount(value: float | None) -> str:
    """Return a number as people write it."""
    return "?" if value is None else f"{value:,.10g}"


def _common(one: str, other: str) -> int:
    length = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        length += 1
    return length
