"""Log lines of the keeper are written by a thread: a pipe that nobody empties delays no renewal.

A line waits here until the stream takes it; what would be too much is dropped, and the number of lines that are
missing is the next line. At the end the thread is given a moment, no more.
"""

import contextlib
import logging
import os
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

WAITING = 1000  # lines
AT_THE_END = 0.5  # s for the lines that wait when the process ends


class _Writer(logging.Handler):
    """In place of `handler`: its format, its level, its stream."""

    def __init__(self, handler: "logging.StreamHandler[Any]", descriptor: int) -> None:
        super().__init__(handler.level)
        self.formatter = handler.formatter
        self._descriptor = descriptor
        self._waiting: deque[str] = deque()
        self._missing = 0
        self._some = threading.Event()
        self._none = threading.Event()
        threading.Thread(target=self._write, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        if len(self._waiting) >= WAITING:
            self._missing += 1
            return
        if self._missing:
            self._waiting.append(f"{self._missing} lines are missing: nobody took them in time")
            self._missing = 0
        self._none.clear()
        self._waiting.append(self.format(record))
        self._some.set()

    def finish(self, seconds: float) -> None:
        """Wait until everything is written, or for so long."""
        self._none.wait(seconds)

    def _write(self) -> None:
        while True:
            self._some.wait()
            self._some.clear()
            while self._waiting:
                rest = (self._waiting.popleft() + "\n").encode(errors="replace")
                with contextlib.suppress(OSError):  # a closed pipe: logging never stops anything
                    while rest:
                        rest = rest[os.write(self._descriptor, rest) :]
            self._none.set()


@contextlib.contextmanager
def written_beside() -> Iterator[None]:
    """Every handler that writes to a descriptor does it in a thread, as long as this lasts."""
    replaced: list[tuple[logging.Logger, logging.Handler, _Writer]] = []
    for logger in (logging.getLogger(), logging.getLogger("luigi_ha")):
        for handler in list(logger.handlers):
            if isinstance(handler, logging.StreamHandler):
                with contextlib.suppress(OSError, ValueError, AttributeError):  # a stream without a descriptor
                    writer = _Writer(handler, handler.stream.fileno())
                    logger.removeHandler(handler)
                    logger.addHandler(writer)
                    replaced.append((logger, handler, writer))
    try:
        yield
    finally:
        for logger, handler, writer in replaced:
            writer.finish(AT_THE_END)
            logger.removeHandler(writer)
            logger.addHandler(handler)
