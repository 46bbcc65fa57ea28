"""Archives, unpacked as safely as the Python that runs can."""

import tarfile
from pathlib import Path


def unpack(contents: tarfile.TarFile, where: Path) -> None:
    """Extract all. Debian 12's Python (3.11.2) has no filters; without one nothing is lost where the archive is ours,
    or known by its hash."""
    safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    contents.extractall(where, **safely)
