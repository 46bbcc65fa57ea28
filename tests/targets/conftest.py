"""An S3 per test file, a bucket per test, and nothing remembered from one test to the next."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.s3_server import S3, s3_server
from worker.targets import verified

_numbers = itertools.count()


class Bucket(NamedTuple):
    """An empty bucket."""

    s3: S3
    name: str

    def url(self, key: str) -> str:
        return f"s3://{self.name}/{key}"

    def keys(self) -> list[str]:
        return [found["Key"] for found in self.s3.client().list_objects_v2(Bucket=self.name).get("Contents", [])]

    def uploads(self) -> int:
        """Uploads in parts that were begun and neither completed nor aborted."""
        return len(self.s3.client().list_multipart_uploads(Bucket=self.name).get("Uploads", []))

    def put(self, key: str, data: bytes, **more: object) -> None:
        self.s3.client().put_object(Bucket=self.name, Key=key, Body=data, **more)


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with s3_server() as server:
        yield server


@pytest.fixture
def bucket(s3: S3, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    name = f"bucket-{next(_numbers)}"
    s3.client().create_bucket(Bucket=name)
    s3.requests()
    return Bucket(s3, name)


@pytest.fixture(autouse=True)
def _forgetful(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verified._here.clear()
    monkeypatch.setenv(verified.DIRECTORY_VARIABLE, str(tmp_path / "verified"))
