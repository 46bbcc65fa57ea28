"""What a target refuses, as types. They are luigi's FileSystemExceptions: code that catches those goes on to work."""

from luigi.target import FileAlreadyExists, FileSystemException


class TargetError(FileSystemException):
    """Root of the targets' errors."""


class AlreadyWritten(TargetError, FileAlreadyExists):  # noqa: N818 - they say what is so
    """Something is there already, and is not replaced."""


class ChecksumMismatch(TargetError):  # noqa: N818
    """What is there is not what was written. Look at it; remove it, and the task runs again."""


class NoChecksum(TargetError):  # noqa: N818
    """What is there has no checksum, and the target was told to refuse that."""


class NoConditionalWrites(TargetError):  # noqa: N818
    """The store does not know `If-None-Match`, by which two writers are told apart."""


class NotStored(TargetError):  # noqa: N818
    """A write failed earlier, so closing the file stores nothing."""


class LibraryMissing(TargetError, ImportError):  # noqa: N818
    """A package that this target needs is not installed."""
