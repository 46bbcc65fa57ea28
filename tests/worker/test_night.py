"""By command line alone: a task that fails on a real worker is found, explained, read, mended and run again."""

import json
from pathlib import Path

from tests.cli.running import luigi_ha
from tests.support.node_process import node_process
from tests.worker.peers import eventually
from tests.worker.workers import Worker

PIPELINE = """
import pathlib, sys
import luigi

class Load(luigi.Task):
    task_namespace = "night"
    date = luigi.Parameter()

    def complete(self):
        return pathlib.Path("loaded").exists()

    def run(self):
        print("reading the files of", self.date, flush=True)
        if not pathlib.Path("mended").exists():
            raise ValueError("no rows")
        pathlib.Path("loaded").touch()
"""


def test_a_night(tmp_path: Path) -> None:
    (tmp_path / "night_pipeline.py").write_text(PIPELINE)
    with node_process(tmp_path, scheduler_retry_delay="-1") as node:
        environment = {"LUIGI_HA_SCHEDULER_URL": node.url}

        def said(*arguments: str) -> str:
            done = luigi_ha(*arguments, environment=environment)
            assert done.returncode == 0, (arguments, done)
            return done.stdout

        params = {"date": "2026-05-01"}
        task = {"family": "night.Load", "module": "night_pipeline", "params": params}
        node.send("PUT", "/api/task/night.Load_2026_05_01_f00", task)
        one = Worker(tmp_path, node.url, options=("--module", "night_pipeline", "--worker-id", "etl-1"))
        one.start()
        try:
            eventually(lambda: "night.Load" in said("task", "list", "--status", "failed"), lambda: one.log)
            row = said("task", "list", "--status", "failed").splitlines()[1].split()
            assert row[:3] == ["FAILED", "night.Load", "night.Load_2026_05_01_f00"]
            assert row[4] == "etl-1"
            assert "no rows" in said("why", "Load")

            def log() -> str:
                return luigi_ha("task", "log", "Load", environment=environment).stdout

            eventually(lambda: "ValueError: no rows" in log(), lambda: f"{log()}\n{one.log}")
            assert "reading the files of 2026-05-01" in log()
            assert "etl-1" in said("worker", "list")
            (tmp_path / "mended").touch()
            assert "is PENDING again" in said("task", "retry", "Load")
            eventually(lambda: "DONE" in said("task", "show", "Load"), lambda: one.log)
            events = json.loads(said("history", "Load", "--json"))["history"]
            ended = [each["status"] for each in events if each["status"] in ("FAILED", "DONE")]
            assert (ended[0], ended[-1]) == ("FAILED", "DONE")
            assert "draining" in said("worker", "drain", "etl")
            assert one.ended() == 0
        finally:
            one.end()
