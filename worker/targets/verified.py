"""What has been read and found right, so that it is read once.

Objects of a store never change under one ETag and version, so that they were right is remembered on this machine for
all processes of this user: luigi runs each task in a process of its own, and each asks for all its inputs. Files may
change in place; they are remembered by this process only, together with their inode and times.

Not promised: that decay of a medium is noticed after the first look.
"""

import hashlib
import os
import stat
import tempfile
from pathlib import Path

DIRECTORY_VARIABLE = "LUIGI_HA_VERIFIED"  # where it is remembered; empty: nowhere but in this process
_here: set[str] = set()


def contains(identity: tuple[object, ...], *, shared: bool = False) -> bool:
    """Whether this very version was found right before."""
    name = _name(identity)
    if name in _here:
        return True
    directory = _directory() if shared else None
    if directory is not None and (directory / name).exists():
        _here.add(name)
        return True
    return False


def add(identity: tuple[object, ...], *, shared: bool = False) -> None:
    """This version is right."""
    name = _name(identity)
    _here.add(name)
    directory = _directory() if shared else None
    if directory is not None:
        try:
            (directory / name).touch(mode=0o600)
        except OSError:
            return  # a full or read-only disk: it is read again, no more


def _name(identity: tuple[object, ...]) -> str:
    return hashlib.sha256(repr(identity).encode("utf-8", "surrogatepass")).hexdigest()


def _directory() -> Path | None:
    """A directory that is ours and nobody else can write to; None: there is none."""
    chosen = os.environ.get(DIRECTORY_VARIABLE)
    if chosen == "":
        return None
    user = os.geteuid()
    directory = Path(chosen or Path(tempfile.gettempdir()) / f"luigi-ha-verified-{user}")
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        found = directory.lstat()
    except OSError:
        return None
    mine = stat.S_ISDIR(found.st_mode) and found.st_uid == user and not found.st_mode & 0o022
    return directory if mine else None
