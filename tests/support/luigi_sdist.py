"""Luigi's source distribution, fetched with pip at test time and kept in `.cache/`.

Luigi's tests are not part of its wheel, and nothing of them is copied into this project. The archive's
digest is pinned here: what runs is what was reviewed.
"""

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from tests.support.archives import unpack
from tests.support.patience import patient

LUIGI_VERSION = "3.8.1"
ARCHIVE_SHA256 = "2fa5eb5d3474e495de09bd964f502936c08f8b1eb6e0f3ca3c8a69116c38d0c3"

CACHE = Path(__file__).resolve().parents[2] / ".cache"


class ArchiveError(Exception):
    """The archive could not be fetched, or is not the one whose digest is pinned."""


def unpacked(cache: Path = CACHE) -> Path:
    """Directory of the unpacked source distribution; fetches it the first time (one request, about 1.3 MB)."""
    directory = cache / f"luigi-{LUIGI_VERSION}"
    if not (directory / "test").is_dir():
        archive = cache / f"luigi-{LUIGI_VERSION}.tar.gz"
        if not archive.exists():
            _download(archive)
        _verify(archive)
        _unpack(archive, directory)
    return directory


def _download(archive: Path) -> None:
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=archive.parent) as scratch:
        # pip insists on the package's metadata, for which it would build an isolated environment (over a minute);
        # luigi's build tools are in this one.
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-binary", "luigi", "--no-deps"]
        command += ["--no-build-isolation", "--dest", scratch, f"luigi=={LUIGI_VERSION}"]
        outcome = subprocess.run(command, capture_output=True, text=True, timeout=patient(300), check=False)
        fetched = Path(scratch) / archive.name
        if outcome.returncode != 0 or not fetched.exists():
            raise ArchiveError(f"pip could not fetch luigi's source distribution:\n{outcome.stdout}{outcome.stderr}")
        fetched.replace(archive)


def _verify(archive: Path) -> None:
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if digest != ARCHIVE_SHA256:
        archive.unlink()
        raise ArchiveError(f"{archive.name} has sha256 {digest}, expected {ARCHIVE_SHA256}; it was removed")


def _unpack(archive: Path, directory: Path) -> None:
    with tempfile.TemporaryDirectory(dir=directory.parent) as scratch, tarfile.open(archive) as contents:
        unpack(contents, Path(scratch))
        if directory.exists():
            shutil.rmtree(directory)
        (Path(scratch) / directory.name).rename(directory)
