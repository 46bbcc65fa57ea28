"""S3Target against an S3 over HTTP."""

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import luigi.configuration
import luigi.contrib.s3
import luigi.format
import pytest
from botocore.exceptions import ClientError

from luigi_ha.worker.targets import (
    AlreadyWritten,
    ChecksumMismatch,
    NoChecksum,
    NoConditionalWrites,
    S3Target,
    verified,
)
from luigi_ha.worker.targets.s3_client import S3Client, boto_client
from tests.targets.conftest import Bucket, kill_a_writer

MEGABYTE = 1 << 20
LARGE = 5 * MEGABYTE + 1
PARTS: dict[str, Any] = {"part_size": 5 * MEGABYTE}


def write(target: S3Target, data: bytes) -> None:
    with target.open("wb") as out:
        out.write(data)


def read(target: S3Target) -> bytes:
    with target.open("rb") as source:
        found: bytes = source.read()
        return found


def test_text_and_bytes_come_back(bucket: Bucket) -> None:
    with S3Target(bucket.url("text")).open("w") as out:
        out.write("grün\nblau\n")
    with S3Target(bucket.url("text")).open("r") as source:
        assert list(source) == ["grün\n", "blau\n"]
    assert read(S3Target(bucket.url("text"))) == "grün\nblau\n".encode()
    write(S3Target(bucket.url("bytes")), b"\x00\xff\r\n")
    assert read(S3Target(bucket.url("bytes"))) == b"\x00\xff\r\n"
    assert S3Target(bucket.url("bytes")).exists()


@pytest.mark.parametrize("mode", ["a", "r+", "x", "", "rw", "br"])
def test_other_modes_are_refused(bucket: Bucket, mode: str) -> None:
    with pytest.raises(ValueError, match="r, w, rb and wb"):
        S3Target(bucket.url("k")).open(mode)


def test_nothing_is_there_before_the_close_and_everything_after(bucket: Bucket) -> None:
    target = S3Target(bucket.url("k"))
    with target.open("w") as out:
        out.write("a" * MEGABYTE)
        out.flush()
        assert bucket.keys() == []
        assert not target.exists()
    assert bucket.keys() == ["k"]
    assert target.exists()


@pytest.mark.parametrize("mode", ["w", "wb"])
def test_nothing_is_there_when_the_body_raises(bucket: Bucket, mode: str) -> None:
    target = S3Target(bucket.url("k"))
    opened: list[Any] = []

    def fail() -> None:
        with target.open(mode) as out:
            opened.append(out)
            out.write("half" if mode == "w" else b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert bucket.keys() == []
    assert opened[0].closed


@pytest.mark.parametrize("mode", ["w", "wb"])
def test_a_file_that_is_forgotten_without_close_is_not_stored(bucket: Bucket, mode: str) -> None:
    out: Any = S3Target(bucket.url("k")).open(mode)
    out.write("half" if mode == "w" else b"half")
    del out
    assert bucket.keys() == []


def test_what_exists_is_refused_before_the_work(bucket: Bucket) -> None:
    write(S3Target(bucket.url("k")), b"first")
    with pytest.raises(AlreadyWritten, match=r"s3://bucket-\d+/k exists"):
        S3Target(bucket.url("k")).open("w")
    assert read(S3Target(bucket.url("k"))) == b"first"


@pytest.mark.parametrize("size", [10, LARGE])
def test_a_key_that_appears_meanwhile_is_not_replaced(bucket: Bucket, size: int) -> None:
    target = S3Target(bucket.url("k"), **PARTS)
    out = target.open("wb")
    out.write(b"2" * size)
    bucket.put("k", b"first")
    with pytest.raises(AlreadyWritten, match="meanwhile"):
        out.close()
    assert read(target) == b"first"
    assert bucket.uploads() == 0


@pytest.mark.parametrize("size", [10, LARGE])
def test_of_racing_writers_one_wins_and_the_others_are_told(bucket: Bucket, size: int) -> None:
    together = threading.Barrier(3)

    def race(name: str) -> str:
        out = S3Target(bucket.url("k"), **PARTS).open("wb")
        out.write(name.encode() * size)
        together.wait()
        try:
            out.close()
        except AlreadyWritten:
            return ""
        return name

    with ThreadPoolExecutor(3) as pool:
        winners = [name for name in pool.map(race, "abc") if name]
    assert len(winners) == 1
    assert read(S3Target(bucket.url("k"))) == winners[0].encode() * size
    assert S3Target(bucket.url("k"), checksum="require").exists()
    assert bucket.uploads() == 0


@pytest.mark.parametrize(("size", "method", "query"), [(10, "PUT", ""), (LARGE, "POST", "uploadId")])
def test_a_writer_whose_reply_was_lost_knows_that_it_has_won(
    bucket: Bucket, size: int, method: str, query: str
) -> None:
    bucket.s3.fault("lose_reply", method, query=query)
    write(S3Target(bucket.url("k"), **PARTS), b"x" * size)
    assert S3Target(bucket.url("k"), checksum="require").exists()
    assert sum(line.startswith(method) and query in line for line in bucket.s3.requests()) == 2


def test_a_large_one_goes_in_parts_with_checksums_of_the_whole(bucket: Bucket) -> None:
    data = bytes(range(256)) * (4096 * 12)  # 12 MiB
    write(S3Target(bucket.url("k"), **PARTS), data)
    asked = bucket.s3.requests()
    assert sum("partNumber=" in line for line in asked) == 3
    target = S3Target(bucket.url("k"), checksum="require")
    assert target.exists()
    assert read(target) == data
    found = bucket.s3.client().head_object(Bucket=bucket.name, Key="k")
    assert found["ETag"].endswith('-3"')
    assert found["Metadata"]["luigi-ha-md5"] == hashlib.md5(data).hexdigest()
    assert found["Metadata"]["luigi-ha-sha256"] == hashlib.sha256(data).hexdigest()


def test_parts_of_a_failed_upload_are_removed(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    bucket.s3.fault("500", "PUT", query="partNumber=2")
    with pytest.raises(ClientError, match="InternalError"):
        write(S3Target(bucket.url("k"), **PARTS), b"x" * LARGE)
    assert bucket.keys() == []
    assert bucket.uploads() == 0


def test_checksums_go_along_when_the_store_copies(bucket: Bucket) -> None:
    write(S3Target(bucket.url("k")), b"data")
    bucket.s3.client().copy_object(Bucket=bucket.name, Key="copy", CopySource={"Bucket": bucket.name, "Key": "k"})
    assert S3Target(bucket.url("copy"), checksum="require").exists()


def corrupt(bucket: Bucket, key: str, data: bytes) -> None:
    """Other bytes under the same metadata."""
    kept = bucket.s3.client().head_object(Bucket=bucket.name, Key=key)["Metadata"]
    bucket.put(key, data, Metadata=kept)


def test_corrupted_data_is_an_error_that_names_both_checksums(bucket: Bucket) -> None:
    target = S3Target(bucket.url("k"))
    write(target, b"data")
    assert target.exists()
    corrupt(bucket, "k", b"dat4")
    with pytest.raises(ChecksumMismatch, match="8d777f385d3dfec8815d20f7496026dc"):
        target.exists()
    with pytest.raises(ChecksumMismatch):
        target.exists()
    assert S3Target(bucket.url("k"), checksum="ignore").exists()


def test_removed_after_corruption_it_can_be_written_again(bucket: Bucket) -> None:
    target = S3Target(bucket.url("k"))
    write(target, b"data")
    corrupt(bucket, "k", b"dat4")
    target.remove()
    assert not target.exists()
    write(target, b"data")
    assert target.exists()


def test_one_version_is_read_once_also_by_other_processes(bucket: Bucket) -> None:
    write(S3Target(bucket.url("k")), b"data")
    bucket.s3.requests()
    assert S3Target(bucket.url("k")).exists()
    assert sum(line.startswith("GET") for line in bucket.s3.requests()) == 1
    assert S3Target(bucket.url("k")).exists()
    verified._here.clear()  # as in another process
    assert S3Target(bucket.url("k")).exists()
    assert [line for line in bucket.s3.requests() if line.startswith("GET")] == []


def test_a_directory_of_others_is_not_believed(bucket: Bucket, tmp_path: Path) -> None:
    write(S3Target(bucket.url("k")), b"data")
    (tmp_path / "verified").mkdir(mode=0o777)
    (tmp_path / "verified").chmod(0o777)
    assert S3Target(bucket.url("k")).exists()
    verified._here.clear()
    bucket.s3.requests()
    assert S3Target(bucket.url("k")).exists()
    assert sum(line.startswith("GET") for line in bucket.s3.requests()) == 1


def test_what_others_put_there_exists_unless_checksums_are_required(bucket: Bucket) -> None:
    bucket.put("k", b"theirs")
    assert S3Target(bucket.url("k")).exists()
    with pytest.raises(NoChecksum):
        S3Target(bucket.url("k"), checksum="require").exists()


def test_only_the_key_itself_counts_and_with_a_slash_what_is_below(bucket: Bucket) -> None:
    bucket.put("day/part-0", b"")
    assert not S3Target(bucket.url("day")).exists()
    assert S3Target(bucket.url("day/")).exists()
    assert not S3Target(bucket.url("night/")).exists()


def test_a_store_without_conditions_is_refused_and_says_what_to_do(bucket: Bucket) -> None:
    bucket.s3.fault("501", "PUT", times=1)
    with pytest.raises(NoConditionalWrites, match="conditional=False"):
        write(S3Target(bucket.url("k")), b"data")
    assert bucket.keys() == []


def test_without_conditions_what_exists_is_refused_all_the_same(bucket: Bucket) -> None:
    target = S3Target(bucket.url("k"), conditional=False)
    write(target, b"first")
    with pytest.raises(AlreadyWritten):
        target.open("w")
    late = S3Target(bucket.url("l"), conditional=False).open("wb")
    write(S3Target(bucket.url("l"), conditional=False), b"first")
    with pytest.raises(AlreadyWritten):
        late.close()


def test_it_is_asked_again_ten_times_and_the_rate_adapts(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    retries = boto_client(S3Client()).meta.config.retries  # type: ignore[attr-defined]
    assert retries == {"total_max_attempts": 11, "mode": "adaptive"}
    bucket.s3.fault("503", "PUT", times=2)
    write(S3Target(bucket.url("k")), b"data")
    assert S3Target(bucket.url("k")).exists()


def test_luigis_configuration_says_where_it_is(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in bucket.s3.environment:
        monkeypatch.delenv(name)
    parser = luigi.configuration.get_config()
    settings = {"endpoint_url": bucket.s3.url, "aws_access_key_id": "test", "aws_secret_access_key": "test"}
    for name, value in {**settings, "region_name": "us-east-1"}.items():
        parser.set("s3", name, value)
    try:
        write(S3Target(bucket.url("k")), b"data")
    finally:
        parser.remove_section("s3")
    assert bucket.keys() == ["k"]


def test_a_client_of_luigis_own_will_do(bucket: Bucket) -> None:
    client = luigi.contrib.s3.S3Client()
    write(S3Target(bucket.url("k"), client=client), b"data")
    assert client.get_as_bytes(bucket.url("k")) == b"data"


def test_luigis_own_target_reads_what_ours_wrote(bucket: Bucket) -> None:
    write(S3Target(bucket.url("k")), "grün".encode())
    theirs = luigi.contrib.s3.S3Target(bucket.url("k"), format=luigi.format.UTF8)
    assert theirs.exists()
    with theirs.open("r") as source:
        assert source.read() == "grün"


def test_options_go_to_the_store(bucket: Bucket) -> None:
    write(S3Target(bucket.url("k"), ContentType="text/csv", Metadata={"team": "sales"}), b"data")
    found = bucket.s3.client().head_object(Bucket=bucket.name, Key="k")
    assert found["ContentType"] == "text/csv"
    assert found["Metadata"]["team"] == "sales"
    assert S3Target(bucket.url("k"), checksum="require").exists()


@pytest.mark.parametrize("key", ["a b/ü?x=1#2%", "day=2024-01-01/part", "-"])
def test_any_key_works(bucket: Bucket, key: str) -> None:
    write(S3Target(bucket.url(key)), b"data")
    assert bucket.keys() == [key]
    assert read(S3Target(bucket.url(key))) == b"data"
    assert S3Target(bucket.url(key)).exists()


@pytest.mark.parametrize("path", ["/tmp/x", "s3://bucket", "s3://bucket/", "https://bucket/key", "s3:///key"])
def test_other_paths_are_refused(bucket: Bucket, path: str) -> None:
    with pytest.raises(ValueError, match="s3://bucket/key"):
        S3Target(path).open("r")


def test_reading_what_is_not_there_is_luigis_error_and_pythons(bucket: Bucket) -> None:
    with pytest.raises(FileNotFoundError):
        S3Target(bucket.url("k")).open("r")
    with pytest.raises(luigi.contrib.s3.FileNotFoundException):
        S3Target(bucket.url("k")).open("rb")


def test_luigis_gzip_format_works(bucket: Bucket) -> None:
    target = S3Target(bucket.url("k.gz"), format=luigi.format.Gzip)
    with target.open("w") as out:
        out.write(b"packed" * 1000)
    assert target.exists()
    with target.open("r") as source:
        assert source.read() == b"packed" * 1000
    assert len(read(S3Target(bucket.url("k.gz")))) < 1000


def test_a_path_for_programs_that_write_themselves(bucket: Bucket) -> None:
    target = S3Target(bucket.url("k"))
    with target.temporary_path() as path:
        bucket.put(path.partition(bucket.name + "/")[2], b"theirs")
        assert not target.exists()
    assert bucket.keys() == ["k"]
    assert S3Target(bucket.url("k"), checksum="require").exists()


def test_a_program_that_fails_leaves_nothing_at_its_path(bucket: Bucket) -> None:
    def fail() -> None:
        with S3Target(bucket.url("k")).temporary_path() as path:
            bucket.put(path.partition(bucket.name + "/")[2], b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert bucket.keys() == []


def test_a_writer_killed_in_the_middle_leaves_nothing(bucket: Bucket, tmp_path: Path) -> None:
    kill_a_writer("S3Target", bucket.url("k"), TMPDIR=str(tmp_path))
    assert bucket.keys() == []
    assert bucket.uploads() == 0
    assert [path.name for path in tmp_path.iterdir() if path.name != "verified"] == []
    write(S3Target(bucket.url("k")), b"whole")
    assert S3Target(bucket.url("k"), checksum="require").exists()
