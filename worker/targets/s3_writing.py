"""Storing an object once: from a finished file, in one piece or many, only where nothing is.

The condition is the store's: `If-None-Match: *` on the last request, so of two writers that race one gets 412, however
close they are. Each write has an id, kept with the object: a request that was repeated because its reply was lost finds
its own id, and knows that it has won, not lost.

The checksums are metadata of the object, not a second object beside it, which could be missing, late, or of another
writer. They are known before the upload begins, so this works for parts, too, where the store's own ETag is no checksum
of the content. They appear with the data in one step, and go with it when the store copies it (CopyObject, a rename in
the console, replication). What loses them is a client's copy in parts (boto3's `copy` above 8 MB).

A process that is killed in the middle of parts leaves them at the store, unseen: let a lifecycle rule of the bucket end
them (AbortIncompleteMultipartUpload).
"""

import base64
import hashlib
import logging
import os
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from luigi_ha.worker.targets.digests import Digests
from luigi_ha.worker.targets.errors import AlreadyWritten, NoConditionalWrites

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client as BotoClient

logger = logging.getLogger("luigi-interface")

MD5, SHA256, WRITE = "luigi-ha-md5", "luigi-ha-sha256", "luigi-ha-write"  # names in the object's metadata
PART_SIZE = 16 << 20  # bytes; also the size up to which it is one piece
MOST_PARTS = 10_000
AT_ONCE = 4  # parts
CONFLICTS = 5  # so often the store may say "conflict", which is neither yes nor no
# What of the options of a write must go with every request about the object.
EVERYWHERE = ("SSECustomerAlgorithm", "SSECustomerKey", "SSECustomerKeyMD5", "RequestPayer", "ExpectedBucketOwner")


def head(client: "BotoClient", where: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What the store says of the object; None: it is not there."""
    try:
        return client.head_object(**where)
    except ClientError as error:
        if _status(error) == 404:
            return None
        raise


def checksums(found: Mapping[str, Any]) -> Digests | None:
    """What was stored with the object; None: nothing."""
    kept = found["Metadata"]
    return Digests(kept[MD5], kept[SHA256]) if MD5 in kept and SHA256 in kept else None


@dataclass
class Upload:
    """One write of one object. `name` for messages; `options` are boto3's, of put_object."""

    client: "BotoClient"
    where: Mapping[str, Any]
    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    part_size: int = PART_SIZE
    conditional: bool = True

    def __post_init__(self) -> None:
        self._write_id = uuid.uuid4().hex

    def store(self, file: IO[bytes], counted: Digests) -> None:
        """Returns when it is there. `file` is at its beginning, and has a descriptor."""
        size = os.fstat(file.fileno()).st_size
        metadata = {**self.options.get("Metadata", {}), MD5: counted.md5, SHA256: counted.sha256, WRITE: self._write_id}
        attributes = {**self.options, **self.where, "Metadata": metadata}
        for conflicts in range(CONFLICTS + 1):
            self._look_first()
            try:
                if size <= self.part_size:
                    self._put(file, attributes, counted)
                else:
                    self._put_parts(file, size, attributes)
            except ClientError as error:
                if self._is_settled(error, last=conflicts == CONFLICTS):
                    return
                time.sleep(0.1 * 2**conflicts)
            else:
                if not self.conditional:
                    self._look_again()
                return

    def _put(self, file: IO[bytes], attributes: Mapping[str, Any], counted: Digests) -> None:
        file.seek(0)
        md5 = base64.b64encode(bytes.fromhex(counted.md5)).decode()
        self.client.put_object(**attributes, **self._condition(), Body=file, ContentMD5=md5)

    def _put_parts(self, file: IO[bytes], size: int, attributes: Mapping[str, Any]) -> None:
        part_size = max(self.part_size, -(-size // MOST_PARTS))
        upload = {**self.where, "UploadId": self.client.create_multipart_upload(**attributes)["UploadId"]}

        def send(number: int) -> dict[str, Any]:
            piece = os.pread(file.fileno(), part_size, (number - 1) * part_size)
            md5 = base64.b64encode(hashlib.md5(piece, usedforsecurity=False).digest()).decode()
            reply = self.client.upload_part(**upload, PartNumber=number, Body=piece, ContentMD5=md5)
            return {"PartNumber": number, "ETag": reply["ETag"]}

        try:
            pool = ThreadPoolExecutor(AT_ONCE, "s3-part")
            try:
                parts: Any = list(pool.map(send, range(1, -(-size // part_size) + 1)))
            finally:
                pool.shutdown(cancel_futures=True)
            self.client.complete_multipart_upload(**upload, **self._condition(), MultipartUpload={"Parts": parts})
        except BaseException:
            self._abort(upload)
            raise

    def _abort(self, upload: Mapping[str, Any]) -> None:
        try:
            self.client.abort_multipart_upload(**upload)
        except (ClientError, BotoCoreError) as error:
            if not isinstance(error, ClientError) or _status(error) != 404:
                logger.warning("%s: the parts of a failed upload stay at the store: %s", self.name, error)

    def _condition(self) -> dict[str, Any]:
        return {"IfNoneMatch": "*"} if self.conditional else {}

    def _is_settled(self, error: ClientError, *, last: bool) -> bool:
        """After a refusal: whether it is ours that is there. False: nothing is, and trying again makes sense."""
        status, code = _status(error), error.response["Error"].get("Code", "")
        if status == 501 and self.conditional:
            raise NoConditionalWrites(
                f"{self.name}: the store does not know If-None-Match, so two writers could not be told apart; "
                "S3Target(..., conditional=False) writes without that certainty"
            ) from error
        # 412: somebody was there. 409: a conflict with another write. 404: the parts were already made an object.
        if status not in (404, 409, 412) or code == "NoSuchBucket":
            raise error
        if self._mine():
            return True
        if last or status == 404:
            raise error
        return False

    def _mine(self) -> bool:
        """True: our write is there; False: nothing is. AlreadyWritten: another one's is."""
        found = head(self.client, self.where)
        if found is None:
            return False
        if found["Metadata"].get(WRITE) != self._write_id:
            raise AlreadyWritten(f"{self.name} was written by another one meanwhile")
        return True

    def _look_first(self) -> None:
        if not self.conditional and head(self.client, self.where) is not None:
            raise AlreadyWritten(f"{self.name} was written by another one meanwhile")

    def _look_again(self) -> None:
        if not self._mine():
            raise AlreadyWritten(f"{self.name} was removed by another one in the moment it was written")


def _status(error: ClientError) -> int:
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
