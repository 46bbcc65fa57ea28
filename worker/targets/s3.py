"""luigi's S3Target, written once, at once, and verified.

What is written is kept in a temporary file without a name until `close()`, and then uploaded (worker.targets.s3_writing
says how, and where the checksums are); a process that is killed leaves nothing on the disk.

A path that ends with `/` means the keys below it, as luigi's S3Target does for every path; without the `/` only the key
itself counts.
"""

import contextlib
import io
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from typing import IO, Any

from luigi.contrib.s3 import S3Client as LuigiS3Client
from luigi.format import Format
from luigi.target import FileSystemTarget

from luigi_ha.worker.targets import digests, modes
from luigi_ha.worker.targets.checking import Checksum, check
from luigi_ha.worker.targets.digests import Digests
from luigi_ha.worker.targets.errors import AlreadyWritten
from luigi_ha.worker.targets.s3_client import FileNotFoundException, S3Client, boto_client, bucket_and_key
from luigi_ha.worker.targets.s3_reading import open_object
from luigi_ha.worker.targets.s3_writing import EVERYWHERE, PART_SIZE, Upload, checksums, head
from luigi_ha.worker.targets.writing import AsideFile


class NotThereError(FileNotFoundException, FileNotFoundError):
    """There is no such object: luigi's error, and Python's."""


class S3Target(FileSystemTarget):
    """`S3Target("s3://bucket/key")`; opens in r, w, rb and wb.

    client       luigi's S3Client; ours, configured by luigi.cfg and the environment, if not given
    checksum     what `exists()` does: "verify" it if there is one, "require" one, or "ignore" it
    conditional  False: for a store without `If-None-Match`. What exists is refused then, too, but of two writers in the
                 same moment both may believe that they were first
    part_size    bytes; what is larger is uploaded in parts of that size
    options      of boto3's put_object: ServerSideEncryption, StorageClass, Metadata, ...
    """

    def __init__(
        self,
        path: str,
        format: Format | None = None,  # noqa: A002 - luigi's name
        client: LuigiS3Client | None = None,
        *,
        checksum: Checksum = "verify",
        conditional: bool = True,
        part_size: int = PART_SIZE,
        **options: Any,
    ) -> None:
        super().__init__(path)  # type: ignore[no-untyped-call]
        self.format = format
        self.checksum = checksum
        self._fs = client or S3Client()
        self._conditional = conditional
        self._part_size = part_size
        self._options = options

    @property
    def fs(self) -> LuigiS3Client:
        return self._fs

    def exists(self) -> bool:
        """Whether it is there, and is what was written."""
        if self.path.endswith("/"):
            return bool(self.fs.exists(self.path))
        found = self._head()
        if found is None:
            return False

        def count() -> Digests:
            with self._reader(found) as file:
                return digests.of_file(file)

        place = (boto_client(self.fs).meta.endpoint_url, *bucket_and_key(self.path))
        version = (*place, found["ETag"], found.get("VersionId"), found["ContentLength"])
        check(self.path, self.checksum, checksums(found), version, count, shared=True)
        return True

    def open(self, mode: str = "r") -> Any:
        asked = modes.parse(mode)
        modes.check(self.format, asked)
        found = self._head()
        if asked.action == "r":
            if found is None:
                raise NotThereError(f"{self.path} does not exist")
            return modes.reading(self.format, asked, self._reader(found))
        if found is not None:
            raise AlreadyWritten(f"{self.path} exists, and is not written again")
        return modes.writing(self.format, asked, self._aside())

    @contextlib.contextmanager
    def temporary_path(self) -> Iterator[str]:
        """A key for a program that writes to S3 itself; at the end of the `with` it comes here, with checksums."""
        part = S3Target(f"{self.path}.{secrets.token_hex(4)}.part", client=self.fs)
        try:
            yield part.path
            with part.open("rb") as source, self._aside() as destination:
                shutil.copyfileobj(source, destination, digests.PIECE)
        finally:
            self.fs.remove(part.path)

    def _aside(self) -> AsideFile:
        kept = tempfile.TemporaryFile(prefix="luigi-ha-s3-")  # noqa: SIM115 - AsideFile closes it
        return AsideFile(self.path, kept, self._store, lambda: None)

    def _store(self, file: IO[bytes], counted: Digests) -> None:
        client = boto_client(self.fs)
        Upload(client, self._where(), self.path, self._options, self._part_size, self._conditional).store(file, counted)

    def _reader(self, found: Mapping[str, Any]) -> io.BufferedReader:
        return open_object(boto_client(self.fs), self._where(), self.path, found["ETag"], found["ContentLength"])

    def _head(self) -> Mapping[str, Any] | None:
        return head(boto_client(self.fs), self._where())

    def _where(self) -> dict[str, Any]:
        """What every request about this object says."""
        bucket, key = bucket_and_key(self.path)
        also = {name: value for name, value in self._options.items() if name in EVERYWHERE}
        return {"Bucket": bucket, "Key": key, **also}
