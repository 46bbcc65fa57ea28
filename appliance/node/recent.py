"""The last events of this process, kept for the story of a failover: what was logged, when, in which part.

Not promised: what other processes logged; the keeper's own lines are in its log.
"""

import logging
from collections import deque
from typing import Any, NamedTuple

from luigi_ha.appliance import log

KEPT = 400  # events
LONGEST = 300  # characters of one field
BEFORE = 5.0  # s before it began that a story tells of


class Line(NamedTuple):
    """One event. `at`: wall clock, s."""

    at: float
    part: str
    event: str
    fields: dict[str, str]


class Recent(logging.Handler):
    """Listens to all events of ours from `start` to `stop`."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._lines: deque[Line] = deque(maxlen=KEPT)

    def start(self) -> None:
        logging.getLogger(log.ROOT).addHandler(self)

    def stop(self) -> None:
        logging.getLogger(log.ROOT).removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            part, event, fields = log.parts(record)
            told = {name: str(value)[:LONGEST] for name, value in fields.items()}
            self._lines.append(Line(record.created, part, event, told))
        except Exception:  # noqa: BLE001 - as every handler: whoever logs is not to pay for it
            self.handleError(record)

    def story(self, began: float, **facts: Any) -> dict[str, Any]:
        """What happened since `began` (wall clock, s), and shortly before that: times in ms from there."""
        lines = [
            [round((line.at - began) * 1000), line.part, line.event, line.fields]
            for line in list(self._lines) if line.at >= began - BEFORE
        ]  # fmt: skip
        return {"began": began, "lines": lines, **facts}
