"""Where a SQLite file lies, and what lies beside it.

Invariant: whatever names lead to one file, what is beside it is one directory: names are followed to their end. (Hard
links are no names of this kind: SQLite's own log is beside each of them. `luigi_ha.appliance.store.sqlite_file` refuses
them.)
"""

from pathlib import Path
from urllib.parse import unquote


def sqlite_path(url: str) -> Path:
    """The file of a sqlite:/// URL, as it is named there."""
    return Path(unquote(url.partition(":///")[2].partition("?")[0]))


def leadership_directory(path: Path) -> Path:
    """Where the lock of a pair is kept, and what this node has seen of the file: beside the file itself."""
    real = path.resolve()
    return real.with_name(real.name + ".leadership")


def memories(path: Path) -> list[Path]:
    """Where it is remembered what has been written: beside the file, and beside a symbolic link that leads to it, which
    may lead elsewhere the next time."""
    places = [leadership_directory(path)]
    if path.is_symlink():
        named = path.absolute()
        places.append(named.with_name(named.name + ".leadership"))
    return [place / "seen.json" for place in places]


def obstacle(path: Path) -> tuple[str, str] | None:
    """What is wrong with the place of a SQLite file, and what would be right; None: nothing. Nothing is made."""
    directory = path.absolute().parent
    if not directory.is_dir():
        return f"cannot open {path}: the directory {directory} does not exist", "an existing directory"
    if path.is_dir():
        return f"cannot open {path}: it is a directory", "a file"
    try:
        links = path.stat().st_nlink
    except OSError:
        return None
    if links > 1:
        what = f"cannot open {path}: it has {links} names (hard links), and SQLite keeps a log beside each of them"
        return f"{what}: two schedulers would destroy it", "one name (a symbolic link may be another)"
    return None
