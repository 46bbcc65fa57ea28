"""luigi's LocalTarget, written once, at once, and verified.

How a file appears: the data goes to a hidden file in the same directory, is flushed to the disk, and gets its name by
`link`, which fails if the name exists. The checksum stands beside it before that, under a lock on the directory, so
that it is always that of the writer who got the name. Killed at any moment, a writer leaves at most a hidden
`.NAME.XXXX.part`, and a checksum of nothing, which the next writer replaces.

Not promised: that lock, on file systems that cannot lock a directory (NFS). Two writers in the same instant could leave
one's data with the other's checksum there, which `exists()` reports. A file system without hard links (FAT) is refused.
"""

import contextlib
import errno
import fcntl
import io
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import luigi
from luigi.format import Format

from luigi_ha.worker.targets import digests, modes, sidecar
from luigi_ha.worker.targets.checking import Checksum, check
from luigi_ha.worker.targets.digests import Digests
from luigi_ha.worker.targets.errors import AlreadyWritten
from luigi_ha.worker.targets.writing import AsideFile


class LocalTarget(luigi.LocalTarget):
    """`LocalTarget(path)`; opens in r, w, rb and wb.

    checksum  what `exists()` does: "verify" it if there is one, "require" one, or "ignore" it
    """

    def __init__(
        self,
        path: "str | os.PathLike[str] | None" = None,
        format: Format | None = None,  # noqa: A002 - luigi's name
        is_tmp: bool = False,
        *,
        checksum: Checksum = "verify",
    ) -> None:
        super().__init__(path, format, is_tmp)  # type: ignore[no-untyped-call]
        self.checksum = checksum
        self._given_format = format

    def exists(self) -> bool:
        """Whether it is there, and is what was written. A directory only has to be there."""
        path = Path(self.path)
        if not path.is_file() or self.checksum == "ignore":
            return path.exists()
        try:
            with path.open("rb") as file:
                found = os.fstat(file.fileno())
                version = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
                check(str(path), self.checksum, sidecar.read(path), version, lambda: digests.of_file(file))
        except FileNotFoundError:
            return False  # removed in this moment
        return True

    def open(self, mode: str = "r") -> Any:
        asked = modes.parse(mode)
        modes.check(self._given_format, asked)
        path = Path(self.path)
        if asked.action == "r":
            return modes.reading(self._given_format, asked, io.BufferedReader(io.FileIO(path)))
        if os.path.lexists(path):
            raise AlreadyWritten(f"{path} exists, and is not written again")
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")

        def commit(_file: IO[bytes], counted: Digests) -> None:
            give_name(part, path, counted)

        file = AsideFile(str(path), part.open("x+b"), commit, lambda: part.unlink(missing_ok=True))
        return modes.writing(self._given_format, asked, file)

    @contextlib.contextmanager
    def temporary_path(self) -> Iterator[str]:
        """A path for a program that writes the file itself; it gets its name at the end of the `with`.

        A directory written there is moved as by luigi, without a checksum.
        """
        path = Path(self.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        try:
            yield str(part)
            if part.is_dir():
                self.fs.rename_dont_move(str(part), self.path)
            else:
                give_name(part, path, _count(part))
        finally:
            if part.is_file():
                part.unlink()

    def remove(self) -> None:
        """Data first: a checksum of nothing means nothing."""
        super().remove()  # type: ignore[no-untyped-call]
        sidecar.of(Path(self.path)).unlink(missing_ok=True)

    def move(self, new_path: str, raise_if_exists: bool = True) -> None:  # noqa: ARG002 - luigi's signature
        """To another name, with its checksum. What exists there is not replaced, whatever `raise_if_exists` says."""
        path, destination = Path(self.path), Path(new_path)
        if path.is_dir():
            super().move(new_path, raise_if_exists=True)  # type: ignore[no-untyped-call]
            return
        destination.parent.mkdir(parents=True, exist_ok=True)
        try:
            give_name(path, destination, sidecar.read(path) or _count(path))
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            self.copy(new_path)
            path.unlink()
        sidecar.of(path).unlink(missing_ok=True)

    def copy(self, new_path: str, raise_if_exists: bool = True) -> None:  # noqa: ARG002
        """A second one, with a checksum of its own. What exists there is not replaced."""
        self.exists()  # or a checksum would be made for what is not right any more
        with LocalTarget(self.path).open("rb") as source, LocalTarget(new_path).open("wb") as destination:
            shutil.copyfileobj(source, destination, digests.PIECE)


def give_name(part: Path, path: Path, counted: Digests) -> None:
    """Let a finished file appear, with its checksum, unless the name is taken. `part` is gone afterwards."""
    _sync(part)
    checksum = path.with_name(f".{path.name}.{secrets.token_hex(4)}.sum")
    _put(checksum, sidecar.text(path, counted))
    try:
        with _locked(path.parent):
            if os.path.lexists(path):
                raise AlreadyWritten(f"{path} was written by another one meanwhile")
            checksum.replace(sidecar.of(path))
            try:
                os.link(part, path)
            except FileExistsError:
                sidecar.of(path).unlink()  # somebody who does not know this lock was quicker
                raise AlreadyWritten(f"{path} was written by another one meanwhile") from None
            part.unlink()
            _sync(path.parent)
    finally:
        checksum.unlink(missing_ok=True)


def _put(place: Path, content: str) -> None:
    """Write a small new file, durably."""
    with place.open("x", errors="surrogateescape") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _count(path: Path) -> Digests:
    with path.open("rb") as file:
        return digests.of_file(file)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """One writer at a time names a file here; for the moment that takes."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # cannot be locked: see above
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
