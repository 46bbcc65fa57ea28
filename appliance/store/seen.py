"""What this machine has seen of a SQLite file, kept beside it: so that a start on an older one is noticed.

Invariant: what is remembered was committed, in the file that lay under the name then. So a database that has less has
lost it: it was deleted, replaced, or restored from a backup.

Not promised: that the last second's commits are remembered; or anything, once this memory is deleted too.
"""

import contextlib
import json
import os
from pathlib import Path
from typing import NamedTuple

from luigi_ha.appliance import log
from luigi_ha.appliance.engine.changes import Epoch
from luigi_ha.appliance.store.position import Position
from luigi_ha.appliance.store.sqlite_file import Back, Identity, Inside, SqliteFile, identity

_log = log.get("store")


class Seen(NamedTuple):
    """The last position that was remembered, and of which file."""

    position: Position
    inside: Inside | None  # the position in the file itself, without its log
    file: Identity


class Memory:
    """Of one file, in one or two places (`luigi_ha.appliance.places.memories`)."""

    def __init__(self, file: SqliteFile, places: list[Path]) -> None:
        self._file = file
        self._places = places
        self._last: Position | None = None

    def read(self) -> Seen | None:
        """The newest there is."""
        found = [seen for place in self._places if (seen := _read(place)) is not None]
        return max(found, key=lambda seen: seen.position[:2], default=None)

    def remember(self, position: Position) -> None:
        """This has been committed. What cannot be written is left out."""
        if position == self._last or self._file.trouble() is not None:
            return
        lies = identity(self._file.path)
        newest = self.read()
        if lies is None or (newest is not None and newest.position[:2] > position[:2]):
            return
        content = json.dumps({**position._asdict(), "inside": self._file.inside, "file": lies})
        for place in self._places:
            try:
                place.parent.mkdir(mode=0o700, exist_ok=True)
                beside = place.with_suffix(f".{os.getpid()}")
                beside.touch(mode=0o600)
                beside.write_text(content)
                beside.replace(place)
            except OSError as error:
                _log.warning("not_remembered", path=str(place), error=str(error))
        self._last = position

    def forget(self) -> None:
        """Nothing has been seen."""
        self._last = None
        for place in self._places:
            with contextlib.suppress(FileNotFoundError):
                place.unlink()

    def mixed(self, seen: Seen) -> str | None:
        """Why the file and its log do not belong together; None: they do."""
        if self._file.there and identity(self._file.path) != seen.file and _size(self._file.log_path):
            return f"{self._file.path} is another file than the one that {self._file.log_path.name} belongs to"
        if _size(self._file.log_path) and self._file.compare(seen.inside) is Back.MIXED:
            return f"{self._file.path} was written over by an older copy, and {self._file.log_path.name} is the newer's"
        return None


def _read(place: Path) -> Seen | None:
    try:
        found = json.loads(place.read_text())
        inside, lies = found["inside"], found["file"]
        position = Position(Epoch(int(found["epoch"])), int(found["seq"]), str(found["hash"]))
        return Seen(position, (inside[0], inside[1]) if inside else None, (lies[0], lies[1]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        _log.warning("memory_unreadable", path=str(place), error=str(error) or type(error).__name__)
        return None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
