"""What tasks write to stdout and stderr, of themselves and of the programs they start: one file per attempt, bounded.

A file has the beginning and the end of the output; what lies between is left out and counted. While a task runs, its
latest output is in `.tail-0` and `.tail-1` beside the file, so that a crash leaves it on disk, too.

One thread reads for all tasks, so that no task ever waits for a busy worker. Not promised: that output survives a full
disk; a task is never held up by it.
"""

import contextlib
import hashlib
import os
import selectors
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from luigi_ha.worker import log
from luigi_ha.worker.client.waker import Waker
from luigi_ha.worker.spool import Run

PIECE = 65536
LINE = 8192  # bytes of a line that go into the worker's own log
_log = log.get()


class TaskLog:
    """The file of one attempt."""

    def __init__(self, path: Path, limit: int) -> None:
        """OSError."""
        self.path = path
        self._half = limit // 2
        self._out = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        self._head = self._half
        self._tails: list[Path] = [path.with_name(f"{path.name}.tail-{number}") for number in (0, 1)]
        self._tail: int | None = None  # the open one
        self._in_tail = 0
        self._total = 0

    def write(self, data: bytes) -> None:
        self._total += len(data)
        if self._head:
            now, data = data[: self._head], data[self._head :]
            os.write(self._out, now)
            self._head -= len(now)
        if data:
            if self._tail is None or self._in_tail >= self._half:
                self._turn()
            assert self._tail is not None  # noqa: S101 - just opened
            os.write(self._tail, data)
            self._in_tail += len(data)

    def _turn(self) -> None:
        """The newer tail becomes the older one."""
        if self._tail is not None:
            os.close(self._tail)
            self._tails.reverse()
        self._tail = os.open(self._tails[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        self._in_tail = 0

    def close(self) -> None:
        """Put beginning and end together."""
        if self._tail is not None:
            os.close(self._tail)
            both = b"".join(tail.read_bytes() for tail in self._tails if tail.exists())
            end = both[-self._half :]
            left_out = self._total - self._half - len(end)
            if left_out:
                os.write(self._out, b"\n[... %d bytes left out ...]\n" % left_out)
            os.write(self._out, end)
            for tail in self._tails:
                tail.unlink(missing_ok=True)
        os.close(self._out)


class _Stream:
    def __init__(self, run: Run, file: TaskLog | None) -> None:
        self.run = run
        self.file = file
        self.line = b""


class Output:
    """The thread that reads. `capture` gives it something to read."""

    def __init__(self, directory: Path, limit: int, keep: int, *, tell: bool) -> None:
        """`tell`: each line is also an event of the worker's own log. OSError."""
        directory.mkdir(mode=0o750, exist_ok=True)
        self._directory = directory
        self._limit = limit
        self._keep = keep
        self._tell = tell
        self._opened = 0
        self.on_end: Callable[[Run], None] = lambda _run: None  # called by the thread: all is in the run's file
        self._new: deque[tuple[int, _Stream]] = deque()
        self._waker = Waker()
        self._over = False
        self._thread = threading.Thread(target=self._read, name="output", daemon=True)
        self._thread.start()

    def path(self, run: Run) -> Path:
        """Where the output of a run is."""
        name = quote(run.task_id, safe="()[],=+ ")
        if len(name) > 180:
            name = name[:160] + hashlib.sha256(name.encode()).hexdigest()[:16]
        return self._directory / f"{name}.{run.attempt or run.key}.log"

    def capture(self, run: Run, source: int) -> None:
        """Read what comes from a descriptor, to its end, and close it."""
        if self._opened % 50 == 0:
            self._forget_old()
        self._opened += 1
        os.set_blocking(source, False)
        self._new.append((source, _Stream(run, self._file(run))))
        self._waker.wake()

    def _file(self, run: Run) -> TaskLog | None:
        try:
            return TaskLog(self.path(run), self._limit)
        except OSError as error:
            _log.error("task_output_not_kept", path=str(self.path(run)), error=str(error), **run.fields)
            return None

    def close(self) -> None:
        """Read what is there, and end."""
        self._over = True
        self._waker.wake()
        self._thread.join()
        self._waker.close()

    def _read(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._waker, selectors.EVENT_READ)
            while not self._over:
                self._turn(selector, None)
            self._turn(selector, 0)
            for source in [key.fd for key in selector.get_map().values() if key.data is not None]:
                self._ended(selector, source)

    def _turn(self, selector: selectors.BaseSelector, timeout: float | None) -> None:
        for key, _ in selector.select(timeout):
            if key.data is None:
                self._waker.clear()
                while self._new:
                    source, stream = self._new.popleft()
                    selector.register(source, selectors.EVENT_READ, stream)
            else:
                self._take(selector, key.fd, key.data)

    def _take(self, selector: selectors.BaseSelector, source: int, stream: _Stream) -> None:
        try:
            data = os.read(source, PIECE)
        except BlockingIOError:
            return
        if not data:
            self._ended(selector, source)
            return
        if stream.file is not None:
            try:
                stream.file.write(data)
            except OSError as error:
                _log.error("task_output_not_kept", path=str(stream.file.path), error=str(error), **stream.run.fields)
                stream.file = None
        if self._tell:
            *lines, stream.line = (stream.line + data).split(b"\n")
            for line in lines:
                self._say(stream, line)
            if len(stream.line) > LINE:
                self._say(stream, stream.line)
                stream.line = b""

    def _say(self, stream: _Stream, line: bytes) -> None:
        _log.info("task_output", line=line[:LINE].decode("utf-8", "replace"), **stream.run.fields)

    def _ended(self, selector: selectors.BaseSelector, source: int) -> None:
        stream: _Stream = selector.unregister(source).data
        os.close(source)
        if self._tell and stream.line:
            self._say(stream, stream.line)
        if stream.file is not None:
            try:
                stream.file.close()
            except OSError as error:
                _log.error("task_output_not_kept", path=str(stream.file.path), error=str(error), **stream.run.fields)
        self.on_end(stream.run)

    def _forget_old(self) -> None:
        files = sorted(self._directory.glob("*.log"), key=_changed)
        for old in files[: max(0, len(files) - self._keep)]:
            old.unlink(missing_ok=True)


def _changed(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return 0.0
