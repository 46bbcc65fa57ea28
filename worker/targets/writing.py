"""The file object that a target opens for writing: what is written is kept aside, and is stored by `close()` or never.

It is no `io.BufferedWriter` on purpose: pandas 2 writes to the *name* of such a file, past it. And it has no `mode`:
pandas takes a text file for a binary one if the `mode` it finds says so.

Invariant: `commit` is called at most once, by `close()`, and only if nothing went wrong before. An exception in the
body of the `with`, a write that failed, or an object that is forgotten without `close()` leave nothing.
"""

import io
import logging
from collections.abc import Callable
from types import TracebackType
from typing import IO, Any, Self

from luigi_ha.worker.targets.digests import Digests, Hasher, of_file
from luigi_ha.worker.targets.errors import NotStored

logger = logging.getLogger("luigi-interface")

Commit = Callable[[IO[bytes], Digests], None]


class AsideFile(io.BufferedIOBase):
    """Writable, seekable, binary. `kept` is where the bytes go meanwhile, opened for reading and writing."""

    def __init__(self, name: str, kept: IO[bytes], commit: Commit, discard: Callable[[], None]) -> None:
        self.name = name
        self._ended = False
        self._failed: str | None = None
        self._kept = kept
        self._commit = commit
        self._discard = discard
        self._hasher: Hasher | None = Hasher()  # None: not written from front to back; counted at the end
        self._at = 0  # where `kept` stands

    @property
    def closed(self) -> bool:
        return self._ended

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._check()
        with memoryview(data) as view, view.cast("B") as piece:
            try:
                self._kept.write(piece)
            except OSError as error:
                self._failed = str(error)
                raise
            if self._hasher is not None:
                self._hasher.update(piece)
            self._at += len(piece)
            return len(piece)

    def flush(self) -> None:
        if not self._ended:
            try:
                self._kept.flush()
            except OSError as error:
                self._failed = str(error)
                raise

    def tell(self) -> int:
        self._check()
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._check()
        moved = self._kept.seek(offset, whence)
        if moved != self._at:
            self._hasher = None
        self._at = moved
        return moved

    def truncate(self, size: int | None = None, /) -> int:
        self._check()
        self._hasher = None
        return self._kept.truncate(size)

    def fileno(self) -> int:
        """For programs that write to the descriptor themselves (luigi's Gzip format)."""
        self.flush()
        self._hasher = None
        return self._kept.fileno()

    def close(self) -> None:
        """Store it. Returns when it is there; raises when it is not."""
        if self._ended:
            return
        try:
            if self._failed is not None:
                raise NotStored(f"{self.name}: a write failed ({self._failed}), so nothing was stored")
            self._kept.flush()
            digests = self._count()
            self._kept.seek(0)
            self._commit(self._kept, digests)
        finally:
            self._end()

    def abandon(self) -> None:
        """Forget it."""
        if not self._ended:
            self._end()

    def __enter__(self) -> Self:
        self._check()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    def __del__(self) -> None:
        # Not IOBase's, which would close, that is, store: who forgets a file may have failed in the middle of it.
        if not getattr(self, "_ended", True):
            logger.warning("%s was never closed: what was written is discarded", self.name)
            self._end()

    def _count(self) -> Digests:
        if self._hasher is not None:
            return self._hasher.digests()
        self._kept.seek(0)
        return of_file(self._kept)

    def _check(self) -> None:
        if self._ended:
            raise ValueError(f"{self.name}: I/O operation on a closed file")

    def _end(self) -> None:
        self._ended = True
        try:
            self._kept.close()
        finally:
            self._discard()


class TextFile(io.TextIOWrapper):
    """The same for text. luigi's own wrapper passes on attributes of what is below, `mode` among them."""

    def __init__(self, below: AsideFile, *args: Any, **kwargs: Any) -> None:
        self._below = below
        super().__init__(below, *args, **kwargs)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._below.abandon()

    def __del__(self) -> None:
        self._below.__del__()
