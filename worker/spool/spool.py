"""The log of runs. Each task's process appends to it: that the run began, and how it ended.

Invariants
* "started" is on disk before the task's first step, "finished" before anybody hears of the result. Each is flushed.
* A run is outstanding from "started" until "acknowledged". What is outstanding when a worker begins is left over from
  one that died, and is reported with its own attempt and run_id.
* An acknowledgement is not flushed: forgetting it has the same report sent again, which changes nothing.
* A damaged line is moved to `damaged.txt` beside the spool and told; the others count.

The log is cut into files. One that is long enough is closed, and removed when its last run is acknowledged. Only one
process opens a spool (worker.spool.home); the processes of its tasks append to the file they are given.

Not promised: a result, if the disk loses what it said was flushed.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from luigi_ha.worker import log
from luigi_ha.worker.spool import records
from luigi_ha.worker.spool.records import Finished, Run, Started

SEGMENT_BYTES = 1 << 20
_log = log.get()


class Entry:
    """One run in the spool. The process of its task writes; the worker acknowledges."""

    def __init__(self, run: Run, path: Path) -> None:
        self.run = run
        self.path = path

    def started(self, family: str, module: str | None, params: dict[str, str], session: int, born: int) -> None:
        """OSError: it is not on disk, so the task must not begin."""
        _append(self.path, records.started_line(Started(self.run, family, module, params, session, born, time.time())))

    def finished(self, finished: Finished) -> None:
        """OSError: it is not on disk."""
        _append(self.path, records.finished_line(finished))


class Leftover:
    """A run that an earlier worker of this spool did not report, or whose report was not acknowledged."""

    def __init__(self, run: Run, entry: Entry) -> None:
        self.run = run
        self.entry = entry
        self.started: Started | None = None
        self.finished: Finished | None = None


class Spool:
    """Open until the worker ends."""

    def __init__(self, directory: Path) -> None:
        """Read what is left over. OSError."""
        directory.mkdir(mode=0o750, exist_ok=True)
        self._directory = directory
        self._outstanding: dict[Path, set[str]] = {}
        self.leftovers: list[Leftover] = []
        last = 0
        for path in sorted(directory.glob("*.spool")):
            last = int(path.stem)
            found = self._read(path)
            self.leftovers += found
            self._outstanding[path] = {leftover.run.key for leftover in found}
            self._forget_if_over(path)
        self._current = self._begin(last + 1)

    @property
    def outstanding(self) -> int:
        """Runs that are not acknowledged."""
        return sum(map(len, self._outstanding.values()))

    def entry(self, run: Run) -> Entry:
        """A place for a new run."""
        if self._current.stat().st_size > SEGMENT_BYTES:
            full, self._current = self._current, self._begin(int(self._current.stem) + 1)
            self._forget_if_over(full)
        self._outstanding[self._current].add(run.key)
        return Entry(run, self._current)

    def acknowledged(self, entry: Entry) -> None:
        """The scheduler has it, or will never take it."""
        keys = self._outstanding.get(entry.path)
        if keys is None or entry.run.key not in keys:
            return
        keys.discard(entry.run.key)
        _append(entry.path, records.acknowledged_line(entry.run.key), flush=False)
        self._forget_if_over(entry.path)

    def outcome(self, entry: Entry) -> Finished | None:
        """How a run ended, if its process could still write that down. OSError."""
        for left in self._read(entry.path):
            if left.run.key == entry.run.key:
                return left.finished
        return None

    # -- files -------------------------------------------------------------------------------------------------

    def _begin(self, number: int) -> Path:
        path = self._directory / f"{number:08}.spool"
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640))
        flush_directory(self._directory)
        self._outstanding[path] = set()
        return path

    def _forget_if_over(self, path: Path) -> None:
        if not self._outstanding[path] and path != getattr(self, "_current", None):
            path.unlink()
            del self._outstanding[path]

    def _read(self, path: Path) -> list[Leftover]:
        """The runs of a file that are outstanding, oldest first."""
        found: dict[str, Leftover] = {}
        over = set()
        for line in path.read_bytes().split(b"\n"):
            if not line:
                continue
            try:
                for key in self._take(line, path, found):
                    over.add(key)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                self._set_aside(path, line, error)
        return [leftover for key, leftover in found.items() if key not in over]

    def _take(self, line: bytes, path: Path, found: dict[str, Leftover]) -> Iterator[str]:
        value = records.decode(line)
        if value["kind"] == "acknowledged":
            yield value["key"]
        elif value["kind"] == "started":
            started = records.read_started(value)
            found.setdefault(started.run.key, Leftover(started.run, Entry(started.run, path))).started = started
        elif value["kind"] == "finished":
            finished = records.read_finished(value)
            found.setdefault(finished.run.key, Leftover(finished.run, Entry(finished.run, path))).finished = finished
        else:
            raise ValueError(f"a record of kind {value['kind']!r}")

    def _set_aside(self, path: Path, line: bytes, error: Exception) -> None:
        aside = self._directory / "damaged.txt"
        with aside.open("ab") as out:
            out.write(b"%b: %b\n" % (path.name.encode(), line))
        _log.error("spool_entry_damaged", path=str(path), error=str(error), moved_to=str(aside), bytes=len(line))


def _append(path: Path, line: bytes, *, flush: bool = True) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        written = os.write(descriptor, line)  # one call: lines of several processes do not mix
        if written < len(line):
            raise OSError(f"only {written} of {len(line)} bytes could be written to {path}")
        if flush:
            os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def flush_directory(directory: Path) -> None:
    """New names in it are on disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
