"""Reading an object as a file: in order, or seeking in it as parquet's readers do.

Invariant: all bytes come from one version of the object, that of the ETag it was opened with; if it is replaced
meanwhile, the next read fails.

It asks for ranges: small ones after a seek, doubling while the reader goes on in order, so a footer costs little and a
whole file few requests. A connection that breaks in the middle is taken up where it broke.
"""

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client as BotoClient

FIRST = 4 << 20  # bytes asked for at the beginning of the object
AFTER_SEEK = 256 << 10
LARGEST = 64 << 20
SKIPPED = 64 << 10  # a seek forward over no more than this reads on instead of asking again
BUFFER = 128 << 10
INTERRUPTIONS = 10  # so often in a row, without a byte in between


class S3Raw(io.RawIOBase):
    """Bytes of one version of an object. Use `open_object`, which buffers."""

    def __init__(self, client: "BotoClient", where: Mapping[str, Any], name: str, etag: str, size: int) -> None:
        self.name = name
        self._client = client
        self._where = where  # Bucket, Key, and what else every request of this object needs
        self._etag = etag
        self._size = size
        self._at = 0
        self._body: Any = None
        self._body_at = 0  # where the body stands
        self._body_end = 0
        self._window = FIRST

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"{self.name}: seek before the beginning")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        with memoryview(buffer) as view, view.cast("B") as room:
            wanted = min(len(room), self._size - self._at)
            if wanted <= 0:
                return 0
            data = self._read(wanted)
            room[: len(data)] = data
            self._at += len(data)
            return len(data)

    def close(self) -> None:
        self._drop()
        super().close()

    def _read(self, wanted: int) -> bytes:
        interruptions = 0
        while True:
            try:
                self._place(wanted)
                data: bytes = self._body.read(min(wanted, self._body_end - self._body_at))
            except (BotoCoreError, HTTPError, OSError):
                # boto3's own retries end where the body begins.
                self._drop()
                interruptions += 1
                if interruptions > INTERRUPTIONS:
                    raise
            else:
                if data:
                    self._body_at += len(data)
                    return data
                raise OSError(f"{self.name}: the store ended at byte {self._body_at} of {self._size}")

    def _place(self, wanted: int) -> None:
        """Let the body stand at the reader's position."""
        if self._body is not None and self._body_at < self._at <= min(self._body_end, self._body_at + SKIPPED):
            self._body_at += len(self._body.read(self._at - self._body_at))
        if self._body is not None and self._body_at == self._at < self._body_end:
            return
        in_order = self._body_at == self._at
        self._drop()
        if self._at:
            self._window = min(self._window * 2, LARGEST) if in_order else AFTER_SEEK
        end = min(self._size, self._at + max(self._window, wanted))
        asked = f"bytes={self._at}-{end - 1}"
        try:
            reply = self._client.get_object(**self._where, Range=asked, IfMatch=self._etag)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 412:
                raise ReplacedWhileReadError(f"{self.name} was replaced while it was read") from error
            raise
        self._body, self._body_at, self._body_end = reply["Body"], self._at, end

    def _drop(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None


class ReplacedWhileReadError(Exception):
    """The object is another one than the one that was opened."""


def open_object(client: "BotoClient", where: Mapping[str, Any], name: str, etag: str, size: int) -> io.BufferedReader:
    """The version `etag` of an object, `size` bytes long, as a file."""
    return io.BufferedReader(S3Raw(client, where, name, etag, size), BUFFER)
