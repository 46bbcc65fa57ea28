"""Outputs that are written once, appear at once, and are verified.

    from luigi_ha.targets import LocalTarget, S3Target

Both take the place of luigi's targets of the same names. The rules they add:

* **Written once.** What exists is never replaced: not by a second run, not by two runs that race. The later one gets
  `AlreadyWritten`.
* **At once.** Readers see nothing until `close()`, then everything. If the body of the `with` raises, or the process
  dies, nothing is there.
* **Verified.** MD5 and SHA-256 are stored with the data, and `exists()` compares, once for each version of the data.
  Data that is not what was written is an error, `ChecksumMismatch`, neither "there" nor "absent": absent, the task
  would run again and be refused; there, the next task would go on with it.

Not promised: anything about data that others put there without these targets. It has no checksum, and counts as
existing, as with luigi, unless `checksum="require"`.
"""

from typing import TYPE_CHECKING, Any

from luigi_ha.worker.targets.errors import (
    AlreadyWritten,
    ChecksumMismatch,
    LibraryMissing,
    NoChecksum,
    NoConditionalWrites,
    NotStored,
    TargetError,
)
from luigi_ha.worker.targets.local import LocalTarget

if TYPE_CHECKING:
    from luigi_ha.worker.targets.s3 import S3Target

__all__ = [
    "AlreadyWritten",
    "ChecksumMismatch",
    "LibraryMissing",
    "LocalTarget",
    "NoChecksum",
    "NoConditionalWrites",
    "NotStored",
    "S3Target",
    "TargetError",
]


def __getattr__(name: str) -> Any:
    """S3Target when it is asked for: it needs boto3, which the others do not."""
    if name == "S3Target":
        from luigi_ha.worker.targets.s3 import S3Target  # noqa: PLC0415

        return S3Target
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
