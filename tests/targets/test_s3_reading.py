"""Reading objects: in any order, through interruptions, always one version."""

import io
import random
from typing import Any

import pytest
from botocore.exceptions import ClientError, IncompleteReadError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luigi_ha.worker.targets import S3Target, s3_reading
from luigi_ha.worker.targets.s3_reading import ReplacedWhileReadError
from tests.targets.conftest import Bucket

DATA = random.Random(7).randbytes(3_000_000)


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the object were large."""
    for name, size in {"FIRST": 4096, "AFTER_SEEK": 1024, "LARGEST": 65536, "SKIPPED": 256, "BUFFER": 512}.items():
        monkeypatch.setattr(s3_reading, name, size)


@pytest.fixture
def target(bucket: Bucket) -> S3Target:
    bucket.put("k", DATA)
    bucket.s3.requests()
    return S3Target(bucket.url("k"))


def test_a_file_knows_its_name_and_what_it_can(target: S3Target) -> None:
    with target.open("rb") as source:
        assert source.name == target.path
        assert source.readable()
        assert source.seekable()
        assert not source.writable()
    assert source.closed


Step = tuple[str, int, int]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(0, 9000), st.just(0)),
        st.tuples(st.just("seek"), st.integers(0, 40_000), st.just(io.SEEK_SET)),
        st.tuples(st.just("seek"), st.integers(-300, 5000), st.just(io.SEEK_CUR)),
        st.tuples(st.just("seek"), st.integers(-30_000, 100), st.just(io.SEEK_END)),
    ),
    max_size=12,
)


@pytest.mark.usefixtures("small_windows")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_it_reads_like_a_file_in_memory(bucket: Bucket, steps: list[Step]) -> None:
    data = DATA[:30_000]
    bucket.put("k", data)
    with S3Target(bucket.url("k")).open("rb") as source:
        memory = io.BytesIO(data)
        for what, number, whence in steps:
            if what == "read":
                assert source.read(number) == memory.read(number)
            elif whence != io.SEEK_CUR or memory.tell() + number >= 0:
                assert source.seek(number, whence) == memory.seek(number, whence)
            assert source.tell() == memory.tell()


@pytest.mark.usefixtures("small_windows")
def test_in_order_it_asks_seldom(bucket: Bucket, target: S3Target) -> None:
    with target.open("rb") as source:
        assert source.read() == DATA
    assert sum(line.startswith("GET") for line in bucket.s3.requests()) < 60  # 3 MB / 64 KiB, and the growing ones


def test_the_end_of_a_large_one_costs_little(bucket: Bucket, target: S3Target) -> None:
    with target.open("rb") as source:
        source.seek(-100, io.SEEK_END)
        assert source.read() == DATA[-100:]
    assert sum(line.startswith("GET") for line in bucket.s3.requests()) == 1


def test_reading_goes_on_where_a_connection_broke(bucket: Bucket, target: S3Target) -> None:
    bucket.s3.fault("cut", "GET", times=3)
    with target.open("rb") as source:
        assert source.read() == DATA
    assert sum(line.startswith("GET") for line in bucket.s3.requests()) == 4


def test_a_store_that_always_breaks_off_is_given_up(
    bucket: Bucket, target: S3Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_reading, "INTERRUPTIONS", 2)
    bucket.put("k", b"x")  # half of it is nothing
    bucket.s3.fault("cut", "GET", times=100)

    def read() -> Any:
        with target.open("rb") as source:
            return source.read()

    with pytest.raises(IncompleteReadError, match="0 read, but total bytes expected is 1"):
        read()
    bucket.s3.forgive()


@pytest.mark.usefixtures("small_windows")
def test_an_object_replaced_while_it_is_read_is_not_mixed(bucket: Bucket, target: S3Target) -> None:
    with target.open("rb") as source:
        assert source.read(100) == DATA[:100]
        bucket.put("k", DATA[::-1])
        with pytest.raises(ReplacedWhileReadError):
            source.read()


@pytest.mark.usefixtures("small_windows")
def test_an_object_removed_while_it_is_read_is_an_error(bucket: Bucket, target: S3Target) -> None:
    with target.open("rb") as source:
        source.read(100)
        target.remove()
        with pytest.raises(ClientError, match=r"NoSuchKey|404"):
            source.read()
