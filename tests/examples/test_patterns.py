"""Partitions, ranges and namespaces."""

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.examples.conftest import EXAMPLES, Run
from tests.support.node_process import NodeProcess
from tests.support.patience import patient


def test_partitions_are_asked_for_while_the_task_runs(node: NodeProcess, run_luigi: Run, tmp_path: Path) -> None:
    run_luigi("patterns", "partitions", "Measurements", "--day", "2026-05-01", "--workers", "2")
    lines = (tmp_path / "partitions-data" / "2026-05-01.csv").read_text().splitlines()
    assert len(lines) == 4 * 24
    tasks = node.get("/api/task?family=Partition")["tasks"]
    assert [task["status"] for task in tasks] == ["DONE"] * 4


def test_days_are_worked_on_in_batches(node: NodeProcess, run_luigi: Run, tmp_path: Path) -> None:
    run_luigi("patterns", "ranges", "Summaries", "--start", "2026-01-01", "--days", "40", "--workers", "1")
    data = tmp_path / "ranges-data"
    assert len(list(data.glob("2026-*.json"))) == 40
    queries = [int(line) for line in (data / "queries.log").read_text().split()]
    assert sum(queries) == 40
    assert len(queries) <= 3
    assert len(node.get("/api/task?family=Summary&status=DONE")["tasks"]) >= 40


def test_a_year_is_four_windows(node: NodeProcess, run_luigi: Run, tmp_path: Path) -> None:
    run_luigi("patterns", "ranges", "Archive", "--start", "2025-01-01", "--days", "365")
    queries = (tmp_path / "ranges-data" / "queries.log").read_text().split()
    assert sorted(queries) == ["100", "100", "100", "65"]
    assert len(node.get("/api/task?family=Window")["tasks"]) == 4


def test_namespaces_keep_pipelines_apart_and_may_need_each_other(
    node: NodeProcess, run_luigi: Run, tmp_path: Path
) -> None:
    run_luigi("patterns", "namespaces", "board.Report", "--week", "18")
    assert (tmp_path / "namespaces-data" / "report-18.txt").read_text() == "one invoice in 100 clicks\n"
    for name in ("marketing", "finance", "board"):
        [task] = node.get(f"/api/task?namespace={name}")["tasks"]
        assert (task["namespace"], task["status"]) == (name, "DONE")


def test_a_worker_of_one_namespace_leaves_the_others_alone(node: NodeProcess, tmp_path: Path) -> None:
    for task_id, family in (("m", "marketing.Clicks"), ("f", "finance.Invoices")):
        body = {"family": family, "module": "namespaces", "params": {"week": "7"}}
        node.send("PUT", f"/api/task/{task_id}-7", body)
    command = [
        str(Path(sys.executable).with_name("luigi-ha")), "worker", "--module", "namespaces", "--namespaces",
        "marketing", "--scheduler-url", node.url, "--state-dir", str(tmp_path / "state"),
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES / "patterns"), "NAMESPACES_DATA": str(tmp_path)}
    with (tmp_path / "worker.log").open("wb") as log:
        worker = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + patient(60)
        while node.get("/api/task/m-7")["status"] != "DONE":
            assert time.monotonic() < deadline, (tmp_path / "worker.log").read_text()
            time.sleep(0.1)
        assert node.get("/api/task/f-7")["status"] == "PENDING"
    finally:
        worker.terminate()
        worker.wait(patient(60))
    assert (tmp_path / "marketing" / "clicks-7.txt").read_text() == "7000"
    node.send("POST", "/api/task/f-7/cancel", {"reason": "the test is over"})
