"""How S3 is reached: luigi's S3Client, patient, and made once per process instead of once per target.

Where and as whom is configured as everywhere: `[s3]` of luigi.cfg (its names are boto3's: endpoint_url, region_name,
aws_access_key_id, aws_role_arn, ...), else boto3's own places (AWS_ENDPOINT_URL_S3, AWS_PROFILE, ~/.aws, the instance).

Retries: 10, adaptive (boto3 slows down when the store says so), unless AWS_MAX_ATTEMPTS or AWS_RETRY_MODE say
otherwise.
"""

import os
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from luigi_ha.worker.targets.errors import LibraryMissing

try:
    import boto3
    from botocore.config import Config
except ImportError as missing:
    raise LibraryMissing("S3Target needs boto3: pip install 'luigi-ha[s3]'") from missing

from luigi.contrib.s3 import FileNotFoundException
from luigi.contrib.s3 import S3Client as LuigiS3Client

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client as BotoClient

RETRIES = 10
CONNECT_TIMEOUT = 10  # s
READ_TIMEOUT = 60  # s without a byte

_made: dict[
    tuple[object, ...], Any
] = {}  # (pid, options, environment) -> boto3's resource: a fork must not share its connections
_making = threading.Lock()


class S3Client(LuigiS3Client):
    """luigi's S3Client with our patience. Options as luigi's."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]

    @property
    def s3(self) -> Any:
        if self._s3 is not None:
            return self._s3
        if self._options.get("aws_role_arn"):
            return self._make()  # its credentials end after an hour; each client asks for its own, as in luigi
        surroundings = [(name, value) for name, value in os.environ.items() if name.startswith("AWS_")]
        options = [(name, repr(value)) for name, value in self._options.items()]
        key = (os.getpid(), *sorted(surroundings + options))
        with _making:
            if key not in _made:
                _made[key] = self._make()
            return _made[key]

    @s3.setter
    def s3(self, value: Any) -> None:
        self._s3 = value

    def _make(self) -> Any:
        self._options.setdefault("config", config())
        made = LuigiS3Client.s3.fget(self)  # type: ignore[attr-defined]
        self._s3 = made if self._options.get("aws_role_arn") else None
        return made


def config() -> Config:
    """boto3's settings where luigi.cfg has none."""
    retries: dict[str, Any] = {}
    if "AWS_MAX_ATTEMPTS" not in os.environ:
        retries["max_attempts"] = RETRIES
    if "AWS_RETRY_MODE" not in os.environ:
        retries["mode"] = "adaptive"
    return Config(
        retries=retries,  # type: ignore[arg-type]
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        tcp_keepalive=True,
        # Content-MD5, which every store checks, is sent with each piece; boto3's newer checksums not all stores know.
        request_checksum_calculation="when_required",
    )


def boto_client(client: LuigiS3Client) -> "BotoClient":
    """boto3's client below luigi's."""
    found: BotoClient = client.s3.meta.client
    return found


def bucket_and_key(path: str) -> tuple[str, str]:
    """("bucket", "a/b?c") of s3://bucket/a/b?c."""
    parts = urlsplit(path, allow_fragments=False)
    key = parts.path.removeprefix("/") + (f"?{parts.query}" if parts.query else "")
    if parts.scheme not in ("s3", "s3a", "s3n") or not parts.netloc or not key:
        raise ValueError(f"{path!r}: an S3 path is s3://bucket/key")
    return parts.netloc, key


__all__ = ["FileNotFoundException", "S3Client", "boto3", "boto_client", "bucket_and_key", "config"]
