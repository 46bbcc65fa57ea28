"""What is shown of an error where there is room for one line."""

import contextlib
import json
from typing import Any, Final

from luigi_ha.appliance.engine.changes import JsonText

LONGEST: Final = 300  # characters


def last_line(error: JsonText) -> str:
    """The last line that says something; "" if there is none. Luigi's workers send JSON in JSON."""
    told: Any = json.loads(error)
    if isinstance(told, str) and (told[:1] in ('"', "{", "[") or told == "null"):
        with contextlib.suppress(ValueError):  # a text that only begins like JSON
            told = json.loads(told)
    if told is None or told in ({}, []):
        return ""
    lines = told.splitlines() if isinstance(told, str) else [json.dumps(told)]
    said = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return said if len(said) <= LONGEST else f"{said[: LONGEST - 3]}..."
