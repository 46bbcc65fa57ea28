"""Who is present: one file for each member, locked for as long as its process lives. Every method may block."""

import json
import os
from pathlib import Path
from urllib.parse import quote, unquote

from luigi_ha.ha.elector import Member
from luigi_ha.ha.errors import Unusable
from luigi_ha.ha.filelock.files import Files, usable


class Presence:
    """This process's file among those in `directory`. Read and changed under the control lock only."""

    def __init__(self, files: Files, directory: Path, name: str) -> None:
        self._files = files
        self._directory = directory
        self._path = directory / f"{quote(name, safe='')}.json"
        self._descriptor: int | None = None

    def register(self, about: dict[str, str]) -> None:
        """Unusable if another process on this machine has the name."""
        with self._files.control(), usable(self._path):
            if self._descriptor is None:
                self._descriptor = self._take()
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, json.dumps(about).encode(), 0)

    def members(self) -> list[Member]:
        with self._files.control(), usable(self._directory):
            found = [member for path in sorted(self._directory.glob("*.json")) if (member := self._look(path))]
        return sorted(found, key=lambda member: member.name)

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _take(self) -> int:
        self._directory.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        if not self._files.try_lock(descriptor):
            os.close(descriptor)
            raise Unusable(f"{self._path} is locked: another process here has this name; expected one for each")
        return descriptor

    def _look(self, path: Path) -> Member | None:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            if self._files.try_lock(descriptor):  # nobody is behind it any more
                path.unlink()
                return None
            raw = os.pread(descriptor, 65536, 0)
        finally:
            os.close(descriptor)
        try:
            about = {str(key): str(value) for key, value in json.loads(raw).items()}
        except (ValueError, AttributeError):
            about = {}
        return Member(unquote(path.stem), about)
