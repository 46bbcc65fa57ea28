"""One option: its default, its meaning and its bounds."""

import math
from dataclasses import field
from typing import Any


def option(
    default: Any, text: str, *, least: float = -math.inf, most: float = math.inf, choices: tuple[str, ...] = ()
) -> Any:
    """A dataclass field with what `luigi-ha serve --check` and the errors say of it."""
    return field(default=default, metadata={"text": text, "least": least, "most": most, "choices": choices})
