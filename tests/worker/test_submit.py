"""`luigi-ha submit` against a real node, with real workers."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from luigi_ha.appliance.lab.ports import free_port
from luigi_ha.worker.submitting.following import MOST_LOOKS, Following
from tests.support.patience import patient
from tests.worker import pipelines
from tests.worker.peers import ROOT, Misbehaving, Node, eventually, node, says
from tests.worker.workers import MODULE, await_status, no_configuration, open_gate, worker


@pytest.fixture
def scheduler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    monkeypatch.setattr(pipelines, "LEDGER", tmp_path)
    with node(tmp_path, scheduler_retry_delay="600") as one:
        yield one


def start(directory: Path, url: str, *arguments: str, **more: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "luigi_ha.appliance.cli", "submit", *arguments]
    command[4:4] = ["--scheduler-url", url] if url else []
    environment = {**os.environ, "PYTHONPATH": ROOT, "LEDGER": str(directory), **more}
    environment.setdefault("LUIGI_CONFIG_PATH", no_configuration(directory))
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=directory, env=environment, stdout=pipe, stderr=pipe, text=True)


def submit(directory: Path, url: str, *arguments: str, code: int = 0, **more: str) -> tuple[str, str]:
    """What it printed, and what it said beside."""
    with start(directory, url, *arguments, **more) as process:
        out, err = process.communicate(timeout=patient(120))
    assert process.returncode == code, (process.returncode, out, err)
    assert "Traceback" not in err
    return out, err


def of(directory: Path, scheduler: Node, *arguments: str, code: int = 0) -> dict[str, Any]:
    """Submitted with --json, from the usual module."""
    out, _ = submit(directory, scheduler.url, "--module", MODULE, "--json", *arguments, code=code)
    found: dict[str, Any] = json.loads(out)
    return found


# -- submitting -----------------------------------------------------------------------------------------------


def test_a_submission_has_all_that_luigi_finds_and_is_held(scheduler: Node, tmp_path: Path) -> None:
    (tmp_path / pipelines.Link(n=0).task_id).touch()  # complete before
    out, err = submit(tmp_path, scheduler.url, "--module", MODULE, "Needing", "--needs", "chain,batch", "--n", "-7")
    root = pipelines.Needing(needs="chain,batch", n=-7).task_id
    assert out == f"{root}: submitted, 6 tasks to be done, 1 were complete already\n"
    assert err == ""
    tasks = {name: task["status"] for name, task in scheduler.tasks().items()}
    assert set(tasks.values()) == {"PENDING", "DONE"}
    assert len(tasks) == 7
    shown = scheduler.rest(f"/api/task/{root}")
    assert (shown["submitted"], shown["module"], shown["params"]["n"]) == (True, MODULE, "-7")
    with worker(tmp_path, scheduler) as one:
        await_status(scheduler, "DONE", root)
        assert "Dates 2024-01-01,2024-01-02" in one.ledger()
        assert one.drain() == 0


def test_what_is_complete_already_is_said_to_be_done(scheduler: Node, tmp_path: Path) -> None:
    (tmp_path / pipelines.Noted(n=4).task_id).touch()
    assert "0 tasks to be done" in submit(tmp_path, scheduler.url, "--module", MODULE, "Noted", "--n", "4")[0]
    found = of(tmp_path, scheduler, "--wait", "Noted", "--n", "4")
    assert (found["outcome"], found["complete_before"], found["counts"]) == ("done", 1, {"DONE": 1})


def test_options_may_stand_anywhere_and_parameters_of_their_name_after_two_dashes(
    scheduler: Node, tmp_path: Path
) -> None:
    of(tmp_path, scheduler, "Noted", "--n", "1", "--timeout", "5")
    found = of(tmp_path, scheduler, "--", "Needing", "--wait", "5")
    assert scheduler.rest(f"/api/task/{found['task_id']}")["params"]["wait"] == "5"
    found = of(tmp_path, scheduler, "Needing", "--Needing-wait", "6")
    assert scheduler.rest(f"/api/task/{found['task_id']}")["params"]["wait"] == "6"


def test_the_scheduler_of_luigis_configuration_is_asked_when_none_is_named(scheduler: Node, tmp_path: Path) -> None:
    configuration = tmp_path / "luigi.cfg"
    configuration.write_text(f"[core]\ndefault-scheduler-port={scheduler.port}\ndefault-scheduler-host=127.0.0.1\n")
    submit(tmp_path, "", "--module", MODULE, "Noted", LUIGI_CONFIG_PATH=str(configuration))
    submit(tmp_path, "", "--module", MODULE, "Noted", "--n", "2", "--scheduler-port", str(scheduler.port))
    assert len(scheduler.tasks()) == 2


# -- waiting --------------------------------------------------------------------------------------------------


def test_waiting_shows_progress_and_ends_with_the_outcome(scheduler: Node, tmp_path: Path) -> None:
    with worker(tmp_path, scheduler) as one:
        arguments = ("--module", MODULE, "Needing", "--needs", "chain,slow,dynamic", "--wait", "--json")
        with start(tmp_path, scheduler.url, *arguments) as process:
            assert process.stderr is not None
            while "running" not in process.stderr.readline():
                assert process.poll() is None, one.log
            scheduler.kill()  # it is waited for
            scheduler.start()
            open_gate(tmp_path, 1)
            out, err = process.communicate(timeout=patient(120))
        assert process.returncode == 0, err
        found = json.loads(out)
        assert (found["outcome"], set(found["counts"]), found["failed"]) == ("done", {"DONE"}, [])
        assert "11 of 11 done" in err
        assert one.drain() == 0


def test_a_failure_is_the_outcome_once_nothing_else_can_be_done(scheduler: Node, tmp_path: Path) -> None:
    with worker(tmp_path, scheduler) as one:
        out, err = submit(
            tmp_path, scheduler.url, "--module", MODULE, "--wait", "Needing", "--needs", "failing,chain", code=1
        )
        failing = pipelines.Failing(n=1).task_id
        assert f"{failing} is FAILED: ValueError: no luck today!" in out
        assert f"{failing}: ValueError: no luck today!" in err
        assert scheduler.tasks("DONE").keys() == {pipelines.Link(n=n).task_id for n in range(4)}
        assert scheduler.rest(f"/api/task/{failing}")["submitted"]  # it stays
        found = of(tmp_path, scheduler, "--wait", "Needing", "--needs", "failing,chain", code=1)
        [told] = found["failed"]
        assert (told["task_id"], told["error"]) == (failing, "ValueError: no luck today!")
        assert told["worker"] == one.events("worker_started")[0]["worker_id"]
        assert one.drain() == 0


def test_a_retry_can_be_waited_for(scheduler: Node, tmp_path: Path) -> None:
    with worker(tmp_path, scheduler) as one:
        arguments = ("--module", MODULE, "--wait", "--through-retries", "Needing", "--needs", "failing")
        with start(tmp_path, scheduler.url, *arguments) as process:
            failing = pipelines.Failing(n=1).task_id
            await_status(scheduler, "FAILED", failing)
            (tmp_path / failing).touch()  # somebody has made its output
            scheduler.rest(f"/api/task/{failing}/done", {})
            out, err = process.communicate(timeout=patient(120))
        assert process.returncode == 0, (out, err)
        assert one.drain() == 0


def test_what_was_cancelled_or_is_missing_or_gone_is_an_outcome(scheduler: Node, tmp_path: Path) -> None:
    missing = of(tmp_path, scheduler, "--wait", "Needing", "--needs", "missing", code=1)
    assert [(task["task_id"], task["status"]) for task in missing["failed"]] == [("Missing__99914b932b", "PENDING")]
    arguments = ("--module", MODULE, "--wait", "Needing", "--needs", "noted")
    with start(tmp_path, scheduler.url, *arguments) as process:
        noted = pipelines.Noted(n=1).task_id
        await_status(scheduler, "PENDING", noted)
        scheduler.rest(f"/api/task/{noted}/cancel", {"reason": "wrong day"})
        out, _ = process.communicate(timeout=patient(120))
    assert process.returncode == 1
    assert "wrong day" in out


def test_waiting_can_be_bounded_or_interrupted_and_the_submission_stays(scheduler: Node, tmp_path: Path) -> None:
    found = of(tmp_path, scheduler, "--wait", "--timeout", "0.5", "Noted", "--n", "1", code=4)
    assert (found["outcome"], found["counts"]) == ("waiting", {"PENDING": 1})
    with start(tmp_path, scheduler.url, "--module", MODULE, "--wait", "Noted", "--n", "2") as process:
        eventually(lambda: len(scheduler.tasks()) == 2, lambda: "two tasks")
        assert process.stderr is not None
        assert "0 of 1 done" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=patient(60))
    assert process.returncode == 130, err
    assert "no longer waiting" in err
    assert all(scheduler.rest(f"/api/task/{name}")["submitted"] for name in scheduler.tasks())


# -- mistakes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--module", "no.such.module", "Load"), "module: no.such.module cannot be imported: ModuleNotFoundError"),
        (("--module", MODULE, "Notted"), "No task Notted. Did you mean: Noted"),
        (("--module", MODULE, "Noted", "--day", "1"), "unrecognized arguments: --day 1"),
        (("--module", MODULE, "Noted", "--n"), "expected one argument"),
        (("--module", MODULE, "Noted", "--n", "seven"), "invalid literal for int()"),
        (("--module", MODULE, "Dates"), "requires the 'day' parameter"),
        (("--module", MODULE, "Needing", "--needs", "target"), "requires() can not return Target objects"),
        (("--module", MODULE, "Needing", "--needs", "broken"), "RuntimeError: the warehouse does not answer"),
        (("--module", MODULE, "Needing", "--needs", "odd"), "KeyError: 'odd'"),
        (("--module", MODULE, "Noted", "--local-scheduler"), "leaves nobody to submit to"),
        (("--module", MODULE, "--token-file", "nowhere", "Noted"), "--token-file: nowhere cannot be read"),
        (("--module", MODULE), "Missing argument"),
        (("Noted",), "Missing option '--module'"),
        (("--module", MODULE, "--timeout", "-1", "Noted"), "--timeout"),
    ],
)
def test_mistakes_are_told_in_a_line_and_nothing_is_submitted(
    scheduler: Node, tmp_path: Path, arguments: tuple[str, ...], told: str
) -> None:
    out, err = submit(tmp_path, scheduler.url, *arguments, code=2)
    assert told in " ".join(err.split())
    assert out == ""
    assert scheduler.tasks() == {}


def test_an_interrupt_while_it_finds_out_what_there_is_to_do_is_told(scheduler: Node, tmp_path: Path) -> None:
    out, err = submit(tmp_path, scheduler.url, "--module", MODULE, "Impatient", code=130)
    assert (out, "nothing was submitted" in err) == ("", True)
    assert scheduler.tasks() == {}


def test_a_scheduler_that_does_not_answer_or_is_none_is_told(tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    _, err = submit(tmp_path, nobody, "--module", MODULE, "--give-up-after", "0.5", "Noted", code=3)
    assert "no scheduler answered" in err
    with Misbehaving(says("404 Not Found", b"{}")) as luigid:
        _, err = submit(tmp_path, luigid.url, "--module", MODULE, "Noted", code=3)
        assert "is no luigi-ha scheduler" in err
        assert all(request.startswith(b"GET ") for request in luigid.requests)
    _, err = submit(tmp_path, "ftp://x", "--module", MODULE, "Noted", code=2)
    assert "ftp://x" in err


def test_the_help_has_an_example_and_the_exit_codes() -> None:
    command = [sys.executable, "-m", "luigi_ha.appliance.cli", "submit", "--help"]
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=patient(60))
    shown = " ".join(found.stdout.split())
    assert "Example: luigi-ha submit --module etl Load --date 2026-05-01" in shown
    assert "Exit codes: 0 submitted (with --wait: done), 1 failed" in shown


# -- large ones -----------------------------------------------------------------------------------------------


class Everything:
    """A scheduler that has as many tasks as one likes."""

    def __init__(self, statuses: dict[str, str], deps: dict[str, list[str]]) -> None:
        self.statuses = statuses
        self.deps = deps
        self.asked: list[str] = []

    def look(self, path: str) -> dict[str, Any]:
        name = path.split("/")[3]
        self.asked.append(path)
        if path.endswith("/why"):
            return {"reason": "because", "facts": [{"error": "no luck"}]}
        told = {"status": self.statuses[name], "deps": self.deps.get(name, []), "retry_at": 1.0}
        return {**told, "worker": "w", "attempt": 1}


def test_a_look_asks_for_a_bounded_number_of_tasks_and_all_have_their_turn() -> None:
    names = [f"t{n}" for n in range(400)]
    tasks = [{"task_id": name, "status": "PENDING", "runnable": True, "deps": []} for name in names]
    tasks.append({"task_id": "root", "status": "PENDING", "runnable": True, "deps": names})
    statuses = {**dict.fromkeys(names, "DONE"), "root": "PENDING"}
    everything = Everything(statuses, {"root": names})
    following = Following(everything, "root", tasks, through_retries=False)
    for _look in range(12):
        everything.asked = []
        following.look()
        assert len(everything.asked) <= MOST_LOOKS
    assert following.counts["DONE"] == 400
    statuses["root"] = "DONE"
    following.look()
    assert following.done


def test_before_the_verdict_what_stands_in_the_way_is_looked_at_again() -> None:
    tasks = [{"task_id": name, "status": "PENDING", "runnable": True, "deps": []} for name in ("a", "b")]
    tasks.append({"task_id": "root", "status": "PENDING", "runnable": True, "deps": ["a", "b"]})
    statuses = {"a": "FAILED", "b": "DONE", "root": "PENDING"}
    everything = Everything(statuses, {"root": ["a", "b"]})
    following = Following(everything, "root", tasks, through_retries=False)
    following.look()
    assert following.stuck
    assert [task.error for task in following.culprits] == ["no luck"]
    statuses["a"] = "RUNNING"
    following.look()
    assert not following.stuck
    retrying = Following(everything, "root", tasks, through_retries=True)
    statuses["a"] = "FAILED"
    retrying.look()
    assert not retrying.stuck
    statuses["a"] = "DISABLED"
    retrying.look()
    assert retrying.stuck


# -- stock luigi ----------------------------------------------------------------------------------------------


def stock(directory: Path, node: Node, *arguments: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "luigi", "--module", MODULE, "--scheduler-url", node.url, "--no-lock", *arguments]
    environment = {**os.environ, "PYTHONPATH": ROOT, "LEDGER": str(directory)}
    environment["LUIGI_CONFIG_PATH"] = no_configuration(directory)
    with (directory / "stock.log").open("ab") as out:
        return subprocess.Popen(command, cwd=directory, env=environment, stdout=out, stderr=out)


def test_stock_luigi_without_workers_submits_and_with_workers_takes_its_tasks_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipelines, "LEDGER", tmp_path)
    quick = {"scheduler_worker_disconnect_delay": "2", "scheduler_remove_delay": "1", "scheduler_worker_grace": "2"}
    with node(tmp_path, prune_every="0.2", **quick) as one:
        with stock(tmp_path, one, "Link", "--n", "2", "--workers", "0") as submitter:
            assert submitter.wait(patient(60)) == 0
        submitted = {pipelines.Link(n=n).task_id for n in range(3)}
        with stock(tmp_path, one, "Needing", "--needs", "slow", "--workers", "1") as interactive:
            root = pipelines.Needing(needs="slow").task_id
            await_status(one, "RUNNING", pipelines.Slow(n=1).task_id)
            interactive.kill()
        eventually(lambda: set(one.tasks()) == submitted, lambda: str(one.tasks()))
        assert "no client that wanted it was heard of for 2 s" in one.rest(f"/api/task/{root}/why")["reason"]
        assert one.rest(f"/api/task/{root}/history")["history"][-1]["status"] == "REMOVED"
        assert f"task_removed task_id={root}" in one.log.read_text()
        eventually(lambda: one.rest("/api/worker") == [], lambda: "both are forgotten")
        assert all(one.rest(f"/api/task/{task_id}")["submitted"] for task_id in submitted)
        with worker(tmp_path, one) as daemon:
            eventually(lambda: daemon.ledger().count("Link 2") == 1, lambda: daemon.log)
            assert daemon.drain() == 0
