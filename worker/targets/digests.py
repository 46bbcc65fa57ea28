"""MD5 and SHA-256 of data, counted while it passes.

Two, because MD5 is what other tools and the stores themselves show, and SHA-256 is what nobody can forge.
"""

import hashlib
from typing import IO, NamedTuple

PIECE = 1 << 20  # bytes read at a time


class Digests(NamedTuple):
    """Both, in hexadecimal."""

    md5: str
    sha256: str

    def __str__(self) -> str:
        return f"md5 {self.md5}, sha256 {self.sha256}"


class Hasher:
    """Takes data piece by piece."""

    __slots__ = ("_md5", "_sha256", "size")

    def __init__(self) -> None:
        self.size = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha256 = hashlib.sha256()

    def update(self, data: bytes | memoryview) -> None:
        self._md5.update(data)
        self._sha256.update(data)
        self.size += len(data)

    def digests(self) -> Digests:
        return Digests(self._md5.hexdigest(), self._sha256.hexdigest())


def of_file(file: IO[bytes]) -> Digests:
    """From where the file stands to its end."""
    hasher = Hasher()
    while piece := file.read(PIECE):
        hasher.update(piece)
    return hasher.digests()
