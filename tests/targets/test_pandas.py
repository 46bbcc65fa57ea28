"""pandas on opened targets: the calls that pipelines make."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import luigi.format
import pandas as pd
import pytest

from luigi_ha.worker.targets import LocalTarget, S3Target
from tests.targets.conftest import Bucket

FRAME = pd.DataFrame(
    {"id": range(1000), "name": [f"ä,{n}\n" for n in range(1000)], "value": [n / 7 for n in range(1000)]}
)
Make = Callable[..., Any]


@pytest.fixture(params=["s3", "local"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    if request.param == "local":
        yield lambda name, **more: LocalTarget(tmp_path / name, **more)
    else:
        bucket: Bucket = request.getfixturevalue("bucket")
        yield lambda name, **more: S3Target(bucket.url(name), **more)


@pytest.mark.parametrize(("writing", "reading"), [("w", "r"), ("wb", "rb"), ("w", "rb"), ("wb", "r")])
def test_csv(make: Make, writing: str, reading: str) -> None:
    with make("frame.csv").open(writing) as out:
        FRAME.to_csv(out, index=False)
    with make("frame.csv").open(reading) as source:
        pd.testing.assert_frame_equal(pd.read_csv(source), FRAME)
    assert make("frame.csv", checksum="require").exists()


def test_parquet(make: Make) -> None:
    with make("frame.parquet").open("wb") as out:
        FRAME.to_parquet(out)
    with make("frame.parquet").open("rb") as source:
        pd.testing.assert_frame_equal(pd.read_parquet(source), FRAME)
    with make("frame.parquet").open("rb") as source:
        pd.testing.assert_frame_equal(pd.read_parquet(source, columns=["value"]), FRAME[["value"]])
    assert make("frame.parquet", checksum="require").exists()


def test_parquet_that_fails_in_the_middle_leaves_nothing(make: Make) -> None:
    def fail() -> None:
        with make("frame.parquet").open("wb") as out:
            FRAME.to_parquet(out)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not make("frame.parquet").exists()


def test_json_lines_and_pickle(make: Make) -> None:
    with make("frame.jsonl").open("w") as out:
        FRAME.to_json(out, orient="records", lines=True)
    with make("frame.jsonl").open("r") as source:
        pd.testing.assert_frame_equal(pd.read_json(source, orient="records", lines=True), FRAME)
    with make("frame.pickle").open("wb") as out:
        FRAME.to_pickle(out)
    with make("frame.pickle").open("rb") as source:
        pd.testing.assert_frame_equal(pd.read_pickle(source), FRAME)


def test_a_format_that_was_given_works_with_pandas_too(make: Make) -> None:
    with make("frame.csv", format=luigi.format.UTF8).open("w") as out:
        FRAME.to_csv(out, index=False)
    with make("frame.csv", format=luigi.format.UTF8).open("r") as source:
        pd.testing.assert_frame_equal(pd.read_csv(source), FRAME)


def test_what_seeks_while_it_writes_has_the_right_checksum(make: Make) -> None:
    import zipfile

    with make("archive.zip").open("wb") as out, zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a", b"a" * 1000)
        archive.writestr("b", b"b" * 1000)
    assert make("archive.zip", checksum="require").exists()
    with make("archive.zip").open("rb") as source, zipfile.ZipFile(io.BytesIO(source.read())) as archive:
        assert archive.read("b") == b"b" * 1000
