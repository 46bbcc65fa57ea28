"""One line per event: a constant name, then fields. Key=value for people, JSON for machines.

    log = log.get("node")
    log.info("leading", epoch=7, records=100_000)
    -> 2024-11-22T23:15:02.114Z info node leading epoch=7 records=100000

The name says which event it is, so that an operator can grep for it; what varies is in the fields. Lines of libraries
that log free text become the event `library` with the field `message`.

Not promised: that a line survives a full disk or a closed pipe; logging never stops the scheduler.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

from luigi_ha.appliance.clock import monotonic

ROOT = "luigi_ha"
_FIELDS = "luigi_ha_fields"

LogFormat = Literal["keyvalue", "json"]


class Events:
    """A logger of named events. `fields` must be short and hold no secrets."""

    __slots__ = ("_logger",)

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def debug(self, event: str, /, **fields: Any) -> None:
        self._log(logging.DEBUG, event, fields)

    def info(self, event: str, /, **fields: Any) -> None:
        self._log(logging.INFO, event, fields)

    def warning(self, event: str, /, **fields: Any) -> None:
        self._log(logging.WARNING, event, fields)

    def error(self, event: str, /, **fields: Any) -> None:
        self._log(logging.ERROR, event, fields)

    def exception(self, event: str, /, **fields: Any) -> None:
        """An error with the traceback of the exception being handled."""
        self._log(logging.ERROR, event, fields, exc_info=True)

    def exception_of(self, error: BaseException, event: str, /, **fields: Any) -> None:
        """An error with the traceback of this exception, which is not being handled any more."""
        self._log(logging.ERROR, event, fields, exc_info=error)

    def _log(self, level: int, event: str, fields: dict[str, Any], exc_info: bool | BaseException = False) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, event, extra={_FIELDS: fields}, exc_info=exc_info)


class Seldom:
    """Warnings that strangers can cause: of each kind one line in a while, which says how many were left out."""

    def __init__(self, events: Events, every: float = 10.0) -> None:
        """`every`: s."""
        self._events = events
        self._every = every
        self._told: dict[str, tuple[float, int]] = {}  # kind -> (when, how many since)

    def warning(self, event: str, /, why: str, **fields: Any) -> None:
        """`why` is the kind: one of a few."""
        now = monotonic()
        told, since = self._told.get(why, (now - self._every, 0))
        if now - told < self._every:
            self._told[why] = (told, since + 1)
        else:
            self._told[why] = (now, 0)
            self._events.warning(event, why=why, **fields, left_out=since)


def get(part: str) -> Events:
    """The events of one part of the program: "node", "api", "mail", ..."""
    return Events(logging.getLogger(f"{ROOT}.{part}"))


def configure(style: LogFormat = "keyvalue", level: str = "info", stream: TextIO | None = None) -> None:
    """Send everything to `stream` (default: standard error) in one format. Call once, from a command."""
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(JsonLines() if style == "json" else KeyValue())
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(max(logging.INFO, logging.getLevelName(level.upper())))
    logging.getLogger(ROOT).setLevel(level.upper())
    # Alembic tells every step and aiohttp every bad request; both are ours to report.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("aiohttp").setLevel(logging.CRITICAL)
    logging.raiseExceptions = False


def parts(record: logging.LogRecord) -> tuple[str, str, dict[str, Any]]:
    """The part of the program, the event's name and its fields."""
    fields = getattr(record, _FIELDS, None)
    if fields is None:
        return record.name, "library", {"message": record.getMessage()}
    return record.name.removeprefix(ROOT + "."), record.msg, dict(fields)


def _moment(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class KeyValue(logging.Formatter):
    """`time level part event key=value ...`; values with spaces or quotes are quoted."""

    def format(self, record: logging.LogRecord) -> str:
        part, event, fields = parts(record)
        words = [_moment(record), record.levelname.lower(), part, event]
        words += [f"{key}={_plain(value)}" for key, value in fields.items()]
        line = " ".join(words)
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonLines(logging.Formatter):
    """One JSON object per line: time, level, part, event, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        part, event, fields = parts(record)
        line = {"time": _moment(record), "level": record.levelname.lower(), "part": part, "event": event, **fields}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    if text and text.isascii() and text.isprintable() and not any(c in ' "=' for c in text):
        return text
    return json.dumps(text)
