"""What `luigi-ha worker` takes, what it gives back because it cannot load it, and what it does not even import."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.patience import patient
from tests.worker import pipelines
from tests.worker.careless import Careless
from tests.worker.peers import ROOT, Node, node
from tests.worker.workers import MODULE, Worker, await_status, no_configuration, open_gate, submit, worker

SCRIPT = """
import luigi, sys, time
from pathlib import Path

class Mine(luigi.Task):
    n = luigi.IntParameter()
    def output(self):
        return luigi.LocalTarget(f"mine-{self.n}")
    def run(self):
        time.sleep(0.3)
        Path(self.output().path).touch()

class All(luigi.WrapperTask):
    def requires(self):
        return [Mine(n=n) for n in range(8)]

if __name__ == "__main__":
    ran = luigi.build([All()], scheduler_url=sys.argv[1], workers=2, detailed_summary=True)
    print(ran.status.name, flush=True)
"""


@pytest.fixture
def scheduler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    monkeypatch.setattr(pipelines, "LEDGER", tmp_path)
    with node(tmp_path) as one:
        yield one


def put(node: Node, *task_ids: str, module: str | None = MODULE, **more: Any) -> None:
    """Submit tasks by REST; the family is what precedes the underscore."""
    tasks = [{"task_id": name, "family": name.partition("_")[0], "module": module, **more} for name in task_ids]
    node.rest("/api/tasks", {"tasks": tasks})


def test_what_a_colleague_runs_from_a_script_is_left_to_it(scheduler: Node, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "LUIGI_CONFIG_PATH": no_configuration(tmp_path), "PYTHONPATH": ROOT}
    with worker(tmp_path, scheduler, "--workers", "4") as one:
        (own,) = submit(scheduler, pipelines.Noted(n=1))
        await_status(scheduler, "DONE", own)
        ran = subprocess.run(
            [sys.executable, str(script), scheduler.url],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            check=True,
            timeout=patient(90),
        )
        assert ran.stdout.decode().strip().endswith("SUCCESS"), ran.stderr
        assert {name: task["status"] for name, task in scheduler.tasks().items() if task["status"] != "DONE"} == {}
        assert [line["task_id"] for line in one.events("task_started")] == [own]
        assert one.events("task_not_loaded") == []
        assert one.drain() == 0


def test_tasks_that_cannot_be_loaded_are_given_back_and_not_asked_for_again(scheduler: Node, tmp_path: Path) -> None:
    put(scheduler, "Nowhere_1", "Nowhere_2", module="tests.worker.no_such_module")
    put(scheduler, "Nothing_1", "Nothing_2")
    put(scheduler, "Odd_1", module="../../etc/passwd")
    put(scheduler, "Script_1", module="__main__")
    for n, how in enumerate(
        ("raise SystemExit(3)", "raise KeyboardInterrupt", "class Quit(BaseException): pass\nraise Quit")
    ):
        (tmp_path / f"ending_{n}.py").write_text(how)
        put(scheduler, f"Ending_{n}", module=f"ending_{n}")
    put(scheduler, "Untold_1", module=None)
    put(scheduler, "Noted_bad", params={"n": "seven"})
    put(scheduler, "Noted_good", params={"n": "7"}, priority=-1)
    with worker(tmp_path, scheduler) as one:
        await_status(scheduler, "DONE", "Noted_good")
        told = {line["task_id"]: line for line in one.events("task_not_loaded")}
        one.await_event("task_not_loaded", len(told))
        left = scheduler.tasks("PENDING")
        assert set(left) == {
            "Nowhere_1", "Nowhere_2", "Nothing_1", "Nothing_2", "Odd_1", "Script_1", "Untold_1", "Noted_bad",
            "Ending_0", "Ending_1", "Ending_2",
        }  # fmt: skip
        assert scheduler.tasks("FAILED") == {}
        assert len(one.events("task_not_loaded")) == 9  # of a module or a family only the first
        assert all(line["given_back"] for line in told.values())
        assert told["Nowhere_1"]["not_asked_again"] == "modules"
        assert told["Nothing_1"]["not_asked_again"] == "families"
        assert told["Noted_bad"]["not_asked_again"] == "tasks"
        why = scheduler.rest("/api/task/Nowhere_2/why")["reason"]
        assert "module tests.worker.no_such_module" in why
        assert "No module named 'tests.worker.no_such_module'" in why
        assert "script" in scheduler.rest("/api/task/Script_1/why")["reason"]
        assert "seven" in scheduler.rest("/api/task/Noted_bad/why")["reason"]
        assert scheduler.rest("/api/task/Nothing_1")["failed_in_row"] == 0
        attempts = {name: scheduler.rest(f"/api/task/{name}")["attempt"] for name in left}
        assert set(attempts.values()) == {0, 1}
        put(scheduler, "Noted_next", params={"n": "8"})
        await_status(scheduler, "DONE", "Noted_next")
        assert attempts == {name: scheduler.rest(f"/api/task/{name}")["attempt"] for name in left}
        assert one.drain() == 0


def test_what_one_worker_gives_back_another_one_runs(scheduler: Node, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "their_module.py").write_text(
        "from tests.worker.pipelines import Noted\n\nclass Theirs(Noted):\n    pass\n"
    )
    put(scheduler, "Theirs_1", module="their_module", params={"n": "1"})
    with worker(tmp_path, scheduler) as one:
        one.await_event("task_not_loaded")
        two = Worker(tmp_path, scheduler.url, name="two", options=("--module", "their_module"))
        try:
            two.start(PYTHONPATH=f"{ROOT}{os.pathsep}{tmp_path / 'elsewhere'}")
            await_status(scheduler, "DONE", "Theirs_1")
            assert scheduler.rest("/api/task/Theirs_1")["failures"] == 0
            assert two.drain() == 0
        finally:
            two.end()
        assert one.drain() == 0


def test_a_batch_that_cannot_be_loaded_is_given_back_whole(tmp_path: Path) -> None:
    with Careless(tmp_path) as careless:
        days = submit(careless.node, *(pipelines.Dates(day=f"2024-01-0{day}") for day in (1, 2)), name="days")
        one = Worker(tmp_path, careless.url, options=("--families", "Other"))
        try:
            one.start()
            one.await_event("task_not_loaded", 4)  # handed out twice
            assert {line["task_id"] for line in one.events("task_not_loaded")} == set(days)
            assert one.drain() == 0
            assert set(careless.node.tasks("PENDING")) == set(days)
            assert one.ledger() == []
        finally:
            one.end()


def test_only_modules_keeps_a_worker_from_importing_what_a_submitter_names(scheduler: Node, tmp_path: Path) -> None:
    put(scheduler, "Strange_1", module="tests.worker.strange", params={"n": "1"})
    put(scheduler, "Lent_1", module="tests.worker.borrowing", params={"n": "2"}, priority=-1)
    one = Worker(tmp_path, scheduler.url, options=("--only-modules", "tests.worker.pipelines,tests.worker.borrowing"))
    try:
        one.start()
        await_status(scheduler, "DONE", "Lent_1")
        assert "strange imported" not in one.ledger()
        assert "loads only" in scheduler.rest("/api/task/Strange_1/why")["reason"]
        assert one.drain() == 0
    finally:
        one.end()


@pytest.mark.parametrize(
    ("options", "task_id", "module", "why"),
    [
        (("--only-modules", MODULE), "Strange_1", "tests.worker.strange", "--only-modules leaves out"),
        (("--only-modules", "tests.worker.borrowing"), "Noted_1", "tests.worker.borrowing", "where Noted is defined"),
        (("--only-modules", "tests.worker.borrowing"), "Noted_1", None, "where Noted is defined"),
        (("--only-modules",), "Strange_1", "tests.worker.strange", "--only-modules leaves out"),  # those of --module
        (("--families", "Lent"), "Strange_1", "tests.worker.strange", "--families or --namespaces leave out Strange"),
        (("--namespaces", "etl"), "Strange_1", "tests.worker.strange", "--families or --namespaces leave out Strange"),
    ],
)
def test_a_worker_enforces_its_options_itself_whatever_a_scheduler_hands_out(
    tmp_path: Path, options: tuple[str, ...], task_id: str, module: str | None, why: str
) -> None:
    with Careless(tmp_path) as careless:
        put(careless.node, task_id, module=module, params={"n": "1"})
        one = Worker(tmp_path, careless.url, options=options)
        try:
            one.start()
            told = one.await_event("task_not_loaded")
            assert (told["given_back"], why in told["error"]) == (True, True), told
            assert one.ledger() == []
            assert one.events("task_started") == []
            assert one.drain() == 0
            shown = careless.node.rest(f"/api/task/{task_id}")
            assert (shown["status"], shown["failures"]) == ("PENDING", 0)
        finally:
            one.end()


def test_a_module_of_only_modules_that_does_not_exist_is_an_error_of_the_command(
    scheduler: Node, tmp_path: Path
) -> None:
    one = Worker(tmp_path, scheduler.url, options=("--only-modules", "tests.worker.no_such_module"))
    assert one.start().ended() == 2
    assert "module: tests.worker.no_such_module cannot be imported" in one.log
    assert "Traceback" not in one.log


EMPTY = ["--only-modules", "--only-modules=", "--families=", "--families=,", "--namespaces= "]


@pytest.mark.parametrize("option", EMPTY)
def test_a_restriction_that_names_nothing_is_a_mistake_and_does_not_admit_everything(
    tmp_path: Path, option: str
) -> None:
    command = [sys.executable, "-m", "luigi_ha.appliance.cli", "worker", option, "--workers", "2"]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=patient(60), cwd=tmp_path)
    assert found.returncode == 2
    assert found.stderr.startswith(f"luigi-ha: {option.lstrip('-').partition('=')[0]}: nothing is named")
    assert found.stderr.count("\n") == 1


def test_an_answer_to_a_task_given_back_may_bring_orders(scheduler: Node, tmp_path: Path) -> None:
    with worker(tmp_path, scheduler, "--workers", "2") as one:
        (slow,) = submit(scheduler, pipelines.Slow())
        await_status(scheduler, "RUNNING", slow)
        put(scheduler, *(f"Nowhere_{n}" for n in range(30)), module="tests.worker.nowhere")
        scheduler.call("set_worker_processes", worker=one.events("worker_started")[0]["worker_id"], n=3)
        one.await_event("slots_changed")
        open_gate(tmp_path)
        await_status(scheduler, "DONE", slow)
        assert one.drain() == 0
