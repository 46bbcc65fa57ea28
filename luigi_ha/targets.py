"""Outputs that are written once, appear at once, and are verified: public, and stable within a major version.

    from luigi_ha.targets import LocalTarget, S3Target

See `luigi_ha.worker.targets` for what they promise. They need luigi (the extra `worker`), `S3Target` boto3 too (`s3`).
"""

from typing import TYPE_CHECKING, Any

try:
    import luigi as _luigi  # noqa: F401
except ModuleNotFoundError:
    raise ImportError("luigi_ha.targets needs luigi; expected: pip install 'luigi-ha[worker]'") from None

from luigi_ha.worker import targets
from luigi_ha.worker.targets import (
    AlreadyWritten,
    ChecksumMismatch,
    LibraryMissing,
    LocalTarget,
    NoChecksum,
    NoConditionalWrites,
    NotStored,
    TargetError,
)

if TYPE_CHECKING:
    from luigi_ha.worker.targets import S3Target

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
        return targets.S3Target
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
