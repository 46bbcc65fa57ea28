"""The operator at night: find what has failed, explain it, read its log, run it again; by command line alone."""

import json
import shlex
import sqlite3
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from luigi_ha.appliance.api.rest import building
from luigi_ha.appliance.cli import reference
from luigi_ha.appliance.cli.naming import STATUSES
from tests.cli.running import Done, luigi_ha
from tests.support.node_process import NodeProcess, node_process

TRACE = 'Traceback (most recent call last):\n  File "etl.py", line 7, in run\nValueError: no rows for 2026-05-01'


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    with node_process(tmp_path_factory.mktemp("night"), scheduler_retry_delay="3600") as running:
        yield running


def ask(node: NodeProcess, *arguments: str) -> Done:
    return luigi_ha(*arguments, environment={"LUIGI_HA_SCHEDULER_URL": node.url})


def good(node: NodeProcess, command: str) -> str:
    done = ask(node, *shlex.split(command))
    assert (done.returncode, done.stderr) == (0, "") or done.stderr.startswith(("-- ", "the first ")), done
    return done.stdout


def add(node: NodeProcess, task_id: str, family: str, **more: Any) -> None:
    node.send("PUT", f"/api/task/{task_id}", {"family": family, **more})


def run(node: NodeProcess, family: str, worker: str = "etl-1") -> dict[str, Any]:
    """Take the task of a family that is next."""
    taken: dict[str, Any] = node.send("POST", "/api/task", {"worker": worker, "families": [family]})
    return taken


def report(node: NodeProcess, taken: dict[str, Any], status: str, worker: str = "etl-1", **more: Any) -> None:
    named = {name: taken[name] for name in ("task_id", "attempt", "run_id")}
    node.send("POST", "/api/heartbeat", {"worker": worker, "tasks": [{**named, "status": status, **more}]})


def fail(node: NodeProcess, family: str, error: str = TRACE, log: str | None = None) -> dict[str, Any]:
    taken = run(node, family)
    if log is not None:
        sent = {"attempt": taken["attempt"], "run_id": taken["run_id"], "text": log}
        node.send("PUT", f"/api/task/{taken['task_id']}/log", sent)
    report(node, taken, "FAILED", error=error)
    return taken


def test_find_explain_read_and_run_again(node: NodeProcess) -> None:
    add(node, "night.Extract_2026_05_01_aa11", "night.Extract")
    add(node, "night.Load_2026_05_01_bb22", "night.Load", params={"date": "2026-05-01"})
    add(node, "night.Report_cc33", "night.Report", deps=["night.Load_2026_05_01_bb22"])
    fail(node, "night.Load", log="reading 7 files\x1b[2J\nthe 8th is missing\n")
    listed = good(node, "task list --status failed --namespace night").splitlines()
    assert listed[0].split() == ["STATUS", "FAMILY", "TASK", "AGE", "WORKER"]
    assert listed[1].split()[:3] == ["FAILED", "night.Load", "night.Load_2026_05_01_bb22"]
    assert listed[1].split()[-1] == "etl-1"
    assert len(listed) == 2
    why = good(node, "why Load")
    assert why.startswith("night.Load_2026_05_01_bb22 is FAILED")
    assert "no rows for 2026-05-01" in why
    log = ask(node, "task", "log", "Load")
    assert log.stdout == "reading 7 files\\x1b[2J\nthe 8th is missing\n", "it steers no terminal"
    assert "attempt 1, by etl-1" in log.stderr
    shown = good(node, "task show Load")
    assert "ValueError: no rows for 2026-05-01" in shown
    assert "date:" in shown
    retried = good(node, "task retry Load")
    assert retried == "night.Load_2026_05_01_bb22 is PENDING again\n"
    assert good(node, "task list --status failed --namespace night") == "no tasks that fit\n"
    report(node, run(node, "night.Load"), "DONE")
    assert "DONE" in good(node, "history Load").splitlines()[-1]
    assert "there is nothing to retry" in good(node, "task retry Load")
    assert "night.Load_2026_05_01_bb22 (DONE)" in good(node, "task show Report")


def test_filters_and_pages_of_the_list(node: NodeProcess) -> None:
    for number in range(5):
        add(node, f"pages.T_{number}", "pages.T")
    add(node, "pages.Other_1", "pages.Other")
    fail(node, "pages.Other")
    document = json.loads(good(node, "task list --namespace pages --json"))
    assert [each["task_id"] for each in document["tasks"]] == [*(f"pages.T_{n}" for n in range(5)), "pages.Other_1"]
    assert document["more"] is False
    few = ask(node, "task", "list", "--family", "pages.T", "--limit", "3")
    assert few.stdout.count("PENDING") == 3
    assert "the first 3; there are more (--limit)" in few.stderr
    both = good(node, "task list --namespace pages --status failed --status pending --json")
    assert {each["status"] for each in json.loads(both)["tasks"]} == {"FAILED", "PENDING"}
    assert good(node, "task list --namespace pages --status FAILED,pending --json") == both
    of_worker = json.loads(good(node, "task list --worker etl-1 --family pages.Other --json"))["tasks"]
    assert [each["worker"] for each in of_worker] == ["etl-1"]
    assert good(node, "task list --search pages.T_3").count("pages.T_3") == 1
    assert set(STATUSES) == set(building.STATUSES)
    for wrong in ("--status lost", "--status failed,lost", "--status ,", "--limit 0", "--limit x", "--famly x"):
        refused = ask(node, "task", "list", *wrong.split())
        assert (refused.returncode, refused.stdout) == (2, ""), wrong
        assert "--status" in refused.stderr or "--status" not in wrong


def test_which_task_is_meant(node: NodeProcess) -> None:
    for number in range(13):
        add(node, f"many.Daily_{number:02}_x", "many.Daily")
    add(node, "many.DailyReport_1", "many.DailyReport")
    add(node, "job-17", "many.Single")
    add(node, "job-170", "many.Job")
    fail(node, "many.Daily", error="bad")
    for word in ("many.DailyReport_1", "many.DailyReport", "DailyReport", "DailyR", "many.DailyRep", "DailyReport…"):
        assert json.loads(good(node, f"task show {word} --json"))["task_id"] == "many.DailyReport_1", word
    for word in ("job-17", "Single", "many.Single"):
        assert json.loads(good(node, f"task show {word} --json"))["task_id"] == "job-17", word
    for command in ("task show", "task log", "task retry", "task cancel", "task done", "why", "history"):
        several = ask(node, *command.split(), "Daily")
        assert (several.returncode, several.stdout) == (2, ""), command
        assert "may be any of 13 tasks; expected one of: many.Daily_00_x (FAILED), many.Daily_01_x" in several.stderr
        assert several.stderr.endswith("and 3 more\n")
        assert several.stderr.count("_x (") == 10
        assert several.stderr.count("\n") == 1
        none = ask(node, *command.split(), "Nothing")
        assert (none.returncode, none.stdout) == (1, ""), command
        said = "no task 'Nothing'; expected an id, a family or the beginning of one (luigi-ha task list)"
        assert none.stderr.endswith(f"{said}\n")
        assert none.stderr.count("\n") == 1
    either = ask(node, "task", "show", "job")
    assert either.returncode == 2
    assert "job-17 (PENDING), job-170 (PENDING)" in either.stderr


def test_nothing_is_changed_unless_each_name_means_one(node: NodeProcess) -> None:
    add(node, "whole.A_1", "whole.A")
    add(node, "whole.B_1", "whole.B")
    for name in ("A", "B"):
        fail(node, f"whole.{name}", error="bad")
    assert ask(node, "task", "retry", "whole.A", "whole.C").returncode == 1
    assert node.get("/api/task/whole.A_1")["status"] == "FAILED"
    answers = json.loads(good(node, "task retry whole.A whole.B whole.A_1 --json"))["tasks"]
    assert [(each["task_id"], each["status"], each["changed"]) for each in answers] == [
        ("whole.A_1", "PENDING", True), ("whole.B_1", "PENDING", True)
    ]  # fmt: skip


def test_of_one_that_is_no_more_it_is_told_what_became_of_it(tmp_path: Path) -> None:
    with node_process(tmp_path, scheduler_remove_delay="0") as other:
        add(other, "Gone_1", "Gone")
        report(other, run(other, "Gone"), "DONE")
        while ask(other, "task", "show", "Gone_1").returncode == 0:
            good(other, "prune")
        assert ask(other, "why", "Gone").returncode == 1, "only by its whole id"
        assert good(other, "why Gone_1").startswith("Gone_1 is REMOVED")
        assert "DONE" in good(other, "history Gone_1")
        assert ask(other, "task", "retry", "Gone_1").returncode == 1


def test_cancel_and_done(node: NodeProcess) -> None:
    add(node, "end.A_1", "end.A")
    add(node, "end.B_1", "end.B", deps=["end.A_1"])
    assert good(node, "task cancel end.A --reason 'wrong date'") == "end.A_1 is cancelled (DISABLED)\n"
    assert "wrong date" in good(node, "task show end.A")
    assert "wrong date" in good(node, "why end.A")
    assert "nothing to cancel" in good(node, "task cancel end.A")
    assert good(node, "task done end.A") == "end.A_1 counts as done\n"
    assert json.loads(good(node, "task done end.A --json"))["tasks"][0]["changed"] is False
    assert run(node, "end.B")["task_id"] == "end.B_1"


def test_of_what_no_log_is_kept_the_error_is_told(node: NodeProcess) -> None:
    add(node, "silent.A_1", "silent.A")
    fail(node, "silent.A")
    none = ask(node, "task", "log", "silent.A")
    assert (none.returncode, none.stdout) == (1, "")
    assert "state directory of etl-1" in none.stderr
    assert "luigi-ha task show silent.A_1" in none.stderr


def test_long_ids_are_cut_where_they_still_mean_one_task(node: NodeProcess) -> None:
    common = "long.Task_" + "x" * 60
    for end in ("alpha_0123456789", "beta_0123456789"):
        add(node, f"{common}_{end}", "long.Task")
    rows = [row.split() for row in good(node, "task list --namespace long").splitlines()[1:]]
    assert [row[2] for row in rows] == [f"{common}_a…", f"{common}_b…"]
    assert json.loads(good(node, f"task show {rows[0][2]} --json"))["task_id"].endswith("alpha_0123456789")


def test_resources_and_the_scheduler(node: NodeProcess) -> None:
    assert good(node, "resource set warehouse 4") == "warehouse: the total is 4 (it was not known before), 0 in use\n"
    assert "it was 4" in good(node, "resource set warehouse 2.5")
    assert ["warehouse", "2.5", "0"] in [row.split() for row in good(node, "resource list").splitlines()]
    assert json.loads(good(node, "resource set warehouse 3 --json"))["before"] == 2.5
    for wrong in ("many", "-1", "inf", "nan"):
        refused = ask(node, "resource", "set", "--", "warehouse", wrong)
        assert refused.returncode in (1, 2), wrong
        assert refused.stderr.strip()
    assert node.get("/api/resource/warehouse")["total"] == 3
    assert good(node, "scheduler pause").startswith("paused: no work is handed out")
    assert node.get("/api/scheduler")["paused"] is True
    assert good(node, "scheduler pause").startswith("already paused")
    assert "paused" in good(node, "status")
    resumed = json.loads(good(node, "scheduler resume --json"))
    assert resumed == {"paused": False, "pause_enabled": True, "changed": True}
    assert good(node, "scheduler resume") == "it was not paused; nothing to do\n"


def test_workers(node: NodeProcess) -> None:
    add(node, "w.A_1", "w.A")
    taken = run(node, "w.A", "fleet-a-1")
    run(node, "w.None", "fleet-b-1")
    assert good(node, "worker drain fleet-a") == "fleet-a-1 is draining: it gets no new work, and still runs w.A_1\n"
    rows = {row.split()[1]: row.split() for row in good(node, "worker list").splitlines()[1:]}
    assert rows["fleet-a-1"][0] == "draining"
    assert rows["fleet-a-1"][2] == "1"
    assert rows["fleet-b-1"][0] == "active"
    both = ask(node, "worker", "drain", "fleet")
    assert (both.returncode, "fleet-a-1, fleet-b-1" in both.stderr) == (2, True)
    assert ask(node, "worker", "drain", "nobody").returncode == 1
    report(node, taken, "DONE", "fleet-a-1")
    assert good(node, "worker undrain fleet-a fleet-b").splitlines() == [
        "fleet-a-1 gets work again", "fleet-b-1 gets work again"
    ]  # fmt: skip
    found = json.loads(good(node, "worker list --json"))
    assert {"fleet-a-1", "fleet-b-1"} <= {each["worker_id"] for each in found["workers"]}
    assert found["drained"] == []


def test_a_worker_of_stock_luigi_is_meant_by_its_host(node: NodeProcess) -> None:
    named = "Worker(salt=1234, workers=1, host=laptop, username=ann, pid=77)"
    body = urlencode({"data": json.dumps({"worker": named, "info": [["host", "laptop"]]})}).encode()
    urllib.request.urlopen(f"{node.url}/api/add_worker", body, timeout=30).close()
    add(node, "stock.A_1", "stock.A")
    run(node, "stock.A", named)
    assert good(node, "task list --family stock.A").splitlines()[1].endswith("  laptop (pid 77)")
    for word in ("laptop", "Worker(salt=12", named):
        assert good(node, f"worker drain '{word}'").startswith(f"{named} is draining")
    assert "gets work again" in good(node, "worker undrain laptop")


def test_prune_answers_as_json_too(node: NodeProcess) -> None:
    assert json.loads(good(node, "prune --json")) == {"pruned": True}


def runnable() -> list[str]:
    """The examples that only ask a scheduler."""
    asking = [c for c in reference.documented() if "config" in {o.name for o in c.options}]
    asking = [c for c in asking if "scheduler_url" in {o.name for o in c.options}]
    return [example for command in asking for example in command.examples if "--watch" not in example]


@pytest.mark.parametrize("example", runnable())
def test_each_example_of_a_command_that_asks_does_what_it_says(
    tmp_path_factory: pytest.TempPathFactory, prepared: NodeProcess, example: str
) -> None:
    words = shlex.split(example)[1:]
    real = [prepared.url if word.startswith("http://") else word for word in words]
    done = ask(prepared, *real)
    assert done.returncode == 0, done
    assert done.stdout.strip()
    assert json.loads(ask(prepared, *real, "--json").stdout), example


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """Where there is what the examples name."""
    with node_process(tmp_path_factory.mktemp("examples"), scheduler_retry_delay="3600") as running:
        add(running, "Extract_1", "Extract")
        add(running, "Load_1", "Load")
        fail(running, "Load", log="loading\n")
        with closing(sqlite3.connect(running.directory / "luigi.db", timeout=30)) as connection, connection:
            connection.execute("UPDATE luigi_failover SET cause = 'no word from n0: its lease ended'")
        yield running


def test_the_examples_are_many() -> None:
    assert len(runnable()) > 15
    assert Path(__file__).parent.name == "cli"


def test_a_task_that_has_the_name_of_a_word_has_a_history(node: NodeProcess) -> None:
    assert "first start" in good(node, "history failovers")  # as it was called once
    assert "first start" in good(node, "failovers")
    add(node, "failovers", "etl.Odd")
    assert "PENDING" in good(node, "history failovers")
    assert json.loads(good(node, "history failovers --json"))["history"][0]["status"] == "PENDING"
    assert json.loads(good(node, "failovers --limit 1 --json"))["failovers"][0]["cause"] == "first start"


def test_an_error_of_luigis_own_worker_is_shown_as_lines(node: NodeProcess) -> None:
    add(node, "etl.Quoted-1", "etl.Quoted")
    fail(node, "etl.Quoted", error=json.dumps(TRACE))  # luigi's workers send JSON in JSON
    assert '\n    File "etl.py", line 7, in run\n' in good(node, "task show etl.Quoted-1")


@pytest.mark.parametrize("total", ["inf", "1e400", "nan"])
def test_a_total_that_is_no_amount_is_refused_before_anybody_is_asked(node: NodeProcess, total: str) -> None:
    done = ask(node, "resource", "set", "gpu", total)
    assert (done.returncode, "is no JSON value" in done.stderr) == (2, False), done.stderr
