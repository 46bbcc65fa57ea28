"""An S3 per test file, a bucket per test, and nothing remembered from one test to the next."""

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from luigi_ha.worker.targets import verified
from tests.support.s3_server import S3, s3_server

ROOT = Path(__file__).resolve().parents[2]
WRITER = """
import sys
from luigi_ha.worker import targets
with getattr(targets, sys.argv[1])(sys.argv[2]).open("wb") as out:
    out.write(b"half" * 100_000)
    out.flush()
    print("writing", flush=True)
    sys.stdin.read()
"""
_numbers = itertools.count()


def kill_a_writer(kind: str, path: str, **environment: str) -> None:
    """A process that is killed in the middle of writing a target."""
    command = [sys.executable, "-W", "ignore", "-c", WRITER, kind, path]
    surroundings = {**os.environ, **environment}
    with subprocess.Popen(
        command, cwd=ROOT, env=surroundings, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        process.send_signal(signal.SIGKILL)


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
