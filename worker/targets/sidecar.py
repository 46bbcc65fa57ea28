"""The checksum of a local file, in a hidden file beside it.

`data/sales.csv` has `data/.sales.csv.checksum`; `cksum -c .sales.csv.checksum` in that directory checks it, too:

    MD5 (sales.csv) = 5eb63bbbe01eeda093cb22bb8f5acdc3
    SHA256 (sales.csv) = b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9
"""

import re
from pathlib import Path

from luigi_ha.worker.targets.digests import Digests
from luigi_ha.worker.targets.errors import ChecksumMismatch

_LINES = re.compile(r"MD5 \(.*\) = ([0-9a-f]{32})\nSHA256 \(.*\) = ([0-9a-f]{64})\n")


def of(path: Path) -> Path:
    """Where the checksum of `path` is."""
    return path.with_name(f".{path.name}.checksum")


def text(path: Path, digests: Digests) -> str:
    """What stands in it."""
    name = path.name.replace("\n", "\\n")
    return f"MD5 ({name}) = {digests.md5}\nSHA256 ({name}) = {digests.sha256}\n"


def read(path: Path) -> Digests | None:
    """What was stored for `path`; None: nothing."""
    place = of(path)
    try:
        found = place.read_text(errors="surrogateescape")
    except FileNotFoundError:
        return None
    match = _LINES.fullmatch(found)
    if match is None:
        raise ChecksumMismatch(f"{place} is damaged: it is no checksum of {path}")
    return Digests(match[1], match[2])
