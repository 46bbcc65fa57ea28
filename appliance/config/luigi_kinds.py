"""The types of luigid's options: what its parameters read from a file, value for value, and what ours take besides.

Invariant: a text that luigi's own parameter takes is taken, and is the same value, except that

* numbers that no clock and no database can hold are replaced by the nearest that they can (`LONGEST`);
* not-a-number is infinite: luigid compares a time with it, is told no, and waits for ever.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from luigi_ha.appliance.config.options import LARGEST_WHOLE

LONGEST = LARGEST_WHOLE  # as s: 30 million years


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of option. `parse` raises ValueError, TypeError or OverflowError for what it does not take."""

    parse: Callable[[Any], Any]
    expected: str


def _whole(value: Any) -> int:
    """As luigi's IntParameter: a float of luigi.toml is cut, true is 1."""
    return max(-LONGEST, min(LONGEST, int(value)))


def _number(value: Any) -> float:
    """As luigi's FloatParameter; inf is a number, and so is 1e400."""
    number = float(value)
    return math.inf if math.isnan(number) else number


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(value)
    return number


def _truth(value: Any) -> bool:
    """As luigi's BoolParameter, which knows true and false alone; yes, on, 1 and their opposites besides."""
    word = str(value).strip().lower()
    if word in ("true", "yes", "on", "1"):
        return True
    if word in ("false", "no", "off", "0"):
        return False
    raise ValueError(value)


def _text(value: Any) -> str:
    return str(value)


def _addresses(value: Any) -> tuple[str, ...]:
    """luigi splits at commas when it sends."""
    parts = value if isinstance(value, list) else str(value).split(",")
    return tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))


def _origins(value: Any) -> tuple[str, ...]:
    """As luigi's ListParameter, a JSON list; besides, a list of luigi.toml and texts between commas. "*" and "null"
    are no origins."""
    if isinstance(value, str):
        try:
            parts = list(json.loads(value))
        except ValueError:
            if value.lstrip().startswith(("[", "{", '"')):
                raise
            parts = [part.strip() for part in value.split(",")]
    elif isinstance(value, list):
        parts = value
    else:
        raise TypeError(value)
    return tuple(dict.fromkeys(part for part in parts if isinstance(part, str) and part not in ("", "*", "null")))


def choice(*names: str) -> Kind:
    """As luigi's ChoiceParameter: one of the names, letter by letter."""

    def parse(value: Any) -> str:
        if str(value) not in names:
            raise ValueError(value)
        return str(value)

    return Kind(parse, f"one of {', '.join(names)}")


def _amount(value: Any) -> float:
    """A resource's total: luigi takes whole numbers, and any number of luigi.toml; fractions are taken everywhere."""
    if isinstance(value, str):
        try:
            value = int(value)
        except ValueError:
            value = float(value)
    if not isinstance(value, (int, float)) or math.isnan(value):
        raise TypeError(value)
    return max(-LONGEST, min(LONGEST, value))


WHOLE = Kind(_whole, "a whole number")
NUMBER = Kind(_number, "a number")
FINITE = Kind(_finite, "a number")
TRUTH = Kind(_truth, "true or false")
TEXT = Kind(_text, "text")
ADDRESSES = Kind(_addresses, "e-mail addresses with commas between them")
ORIGINS = Kind(_origins, 'a JSON list of origins, such as ["https://a.example"]')
AMOUNT = Kind(_amount, "a whole number")
