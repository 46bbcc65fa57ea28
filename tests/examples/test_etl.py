"""The three stages, from S3 to the database."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.examples.conftest import Run
from tests.support.node_process import NodeProcess
from tests.support.s3_server import S3, s3_server


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with s3_server() as server:
        yield server


def test_a_day_is_loaded_once_however_often_it_is_asked_for(
    node: NodeProcess, run_luigi: Run, s3: S3, tmp_path: Path
) -> None:
    s3.client().create_bucket(Bucket="warehouse")
    environment = {**s3.environment, "LUIGI_HA_VERIFIED": str(tmp_path / "verified")}
    for _ in range(2):
        run_luigi("etl", "etl", "Load", "--date", "2026-05-01", **environment)
    with sqlite3.connect(tmp_path / "warehouse.db") as database:
        rows = database.execute("SELECT day, count(*), sum(vat > 0) FROM orders GROUP BY day").fetchall()
    database.close()
    assert rows == [("2026-05-01", 500, 500)]
    keys = [found["Key"] for found in s3.client().list_objects_v2(Bucket="warehouse")["Contents"]]
    assert keys == ["clean/orders-2026-05-01.parquet", "raw/orders-2026-05-01.csv"]
    assert {task["status"] for task in node.get("/api/task")["tasks"]} == {"DONE"}


def test_it_can_be_tried_without_s3(node: NodeProcess, run_luigi: Run, tmp_path: Path) -> None:
    run_luigi("etl", "etl", "Load", "--date", "2026-05-02", "--etl-files", str(tmp_path / "etl-data"))
    assert (tmp_path / "etl-data" / "clean" / "orders-2026-05-02.parquet").stat().st_size > 0
    with contextlib.closing(sqlite3.connect(tmp_path / "warehouse.db")) as database:
        assert database.execute("SELECT count(*) FROM orders").fetchall() == [(500,)]
