"""Events of leadership: a constant name and fields, for the format that the program chose.

Only the standard library's logging: a record of the logger `luigi_ha.<part>` carries its fields in the attribute
`luigi_ha_fields`, which the program's formatters print. Fields are short and hold no secrets.
"""

import logging
from typing import Any


class Events:
    """A logger of named events."""

    __slots__ = ("_logger",)

    def __init__(self, part: str) -> None:
        self._logger = logging.getLogger(f"luigi_ha.{part}")

    def info(self, event: str, /, **fields: Any) -> None:
        self._logger.info(event, extra={"luigi_ha_fields": fields})

    def warning(self, event: str, /, **fields: Any) -> None:
        self._logger.warning(event, extra={"luigi_ha_fields": fields})
