"""One line per event, written with one system call: JSON for machines, key=value for people.

    log = log.get()
    log.info("task_finished", task_id="Load_1", attempt=1, seconds=0.4)
    -> {"time": "2024-11-22T23:15:02.114Z", "level": "info", "part": "worker", "event": "task_finished",
        "worker_id": "etl7-3f9a", "task_id": "Load_1", "attempt": 1, "seconds": 0.4}

A line has the shape of a scheduler's (luigi_ha.appliance.log), and the same thing has the same name in both. The name
says which event it is; what varies is in the fields. What libraries log becomes the event `library`.
No stream of Python's is used: a buffer's lock could be held by another thread in the moment of a fork.

Not promised: that a line survives a full disk or a closed pipe; logging never stops a worker.
"""

import contextlib
import json
import logging
import os
from datetime import UTC, datetime
from typing import Any

ROOT = "luigi_ha_worker"
PART = "worker"
_FIELDS = "luigi_ha_fields"


class Events:
    """A logger of named events. `fields` must be short and hold no secrets."""

    __slots__ = ("_logger",)

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def debug(self, event: str, /, **fields: Any) -> None:
        self.at(logging.DEBUG, event, fields)

    def info(self, event: str, /, **fields: Any) -> None:
        self.at(logging.INFO, event, fields)

    def warning(self, event: str, /, **fields: Any) -> None:
        self.at(logging.WARNING, event, fields)

    def error(self, event: str, /, **fields: Any) -> None:
        self.at(logging.ERROR, event, fields)

    def at(self, level: int, event: str, fields: dict[str, Any]) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, event, extra={_FIELDS: fields})


def get() -> Events:
    """The worker's events."""
    return Events(logging.getLogger(ROOT))


class _Descriptor(logging.Handler):
    """Writes each line to a file descriptor, at once and whole."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):
            os.write(self._descriptor, (self.format(record) + "\n").encode("utf-8", "backslashreplace"))


class _Line(logging.Formatter):
    def __init__(self, always: dict[str, Any], style: str) -> None:
        super().__init__()
        self._always = always
        self._json = style == "json"

    def format(self, record: logging.LogRecord) -> str:
        own: dict[str, Any] | None = getattr(record, _FIELDS, None)
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = {"time": moment, "level": record.levelname.lower()}
        if own is None:
            line |= {"part": record.name, "event": "library", **self._always, "message": record.getMessage()}
        else:
            line |= {"part": PART, "event": record.msg, **self._always, **own}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        if self._json:
            return json.dumps(line, default=str)
        head = " ".join(line.pop(name) for name in ("time", "level", "part", "event"))
        return " ".join([head, *(f"{name}={_plain(value)}" for name, value in line.items())])


class _Text(logging.Formatter):
    """For the log of a task: lines as programs write them."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        own: dict[str, Any] = getattr(record, _FIELDS, {})
        return " ".join([super().format(record), *(f"{name}={_plain(value)}" for name, value in own.items())])


def configure(style: str, level: str, always: dict[str, Any], descriptor: int = 2) -> None:
    """Everything goes to this descriptor in one format; `always` is part of each line."""
    _replace_handlers(_Descriptor(descriptor), _Line(always, style))
    logging.getLogger().setLevel(logging.WARNING)
    # In this process luigi tells every question it asks; what it tells of a task is in the task's own log.
    logging.getLogger("luigi-interface").setLevel(logging.WARNING)
    logging.getLogger(ROOT).setLevel(level.upper())
    logging.raiseExceptions = False


def configure_beside_others(style: str = "keyvalue") -> None:
    """Only our own events, on stderr; whatever else is logged is the affair of the program we run in."""
    handler = _Descriptor(2)
    handler.setFormatter(_Line({}, style))
    ours = logging.getLogger(ROOT)
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    ours.propagate = False


def configure_task_process() -> None:
    """In a process that runs one task: logging is text on stderr, part of the task's output."""
    _replace_handlers(_Descriptor(2), _Text())
    logging.getLogger().setLevel(logging.INFO)
    logging.getLogger("luigi-interface").setLevel(logging.INFO)


def _replace_handlers(handler: logging.Handler, formatter: logging.Formatter) -> None:
    handler.setFormatter(formatter)
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    if text and text.isascii() and text.isprintable() and not any(c in ' "=' for c in text):
        return text
    return json.dumps(text)
