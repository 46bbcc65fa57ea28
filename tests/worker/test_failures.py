"""What is shown of a failure is never empty; what a worker cannot get is said."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.worker import pipelines
from tests.worker.peers import Node, node
from tests.worker.workers import await_status, error_of, no_configuration, submit, worker


@pytest.fixture
def scheduler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    monkeypatch.setattr(pipelines, "LEDGER", tmp_path)
    with node(tmp_path) as one:
        yield one


WORDLESS = {
    "interrupted": ["KeyboardInterrupt"],
    "system exit": ["SystemExit"],
    "assertion": ["AssertionError"],
    "on_failure raises": ["no bread", "mail is down"],
    "says nothing": ["no bread", "on_failure returned None"],
    "says blank": ["no bread", "on_failure returned '  '"],
    "says empty": ["no bread", "on_failure returned {}"],
}


def test_a_failure_is_explained_whatever_its_task_does(scheduler: Node, tmp_path: Path) -> None:
    tasks = dict(zip(WORDLESS, submit(scheduler, *(pipelines.Wordless(how=how) for how in WORDLESS)), strict=True))
    with worker(tmp_path, scheduler, "--workers", "3") as one:
        await_status(scheduler, "FAILED", *tasks.values())
        for how, words in WORDLESS.items():
            error = error_of(scheduler, tasks[how])
            assert all(word in error for word in words), (how, error)
            last = scheduler.rest(f"/api/task/{tasks[how]}/history")["history"][-1]
            assert last["error"], how
        assert one.drain() == 0


@pytest.mark.parametrize("told", ['""', "null", '"  "', "{}", None])
def test_a_client_that_gives_no_error_is_said_to_have_given_none(scheduler: Node, told: str | None) -> None:
    given = {} if told is None else {"expl": told}
    scheduler.call("add_task", worker="w", task_id="T_1", family="T")
    scheduler.call("get_work", worker="w")
    scheduler.call("add_task", worker="w", task_id="T_1", status="FAILED", **given)
    sentence = "The worker reported a failure without an error"
    assert error_of(scheduler, "T_1").startswith(sentence)
    assert sentence in scheduler.rest("/api/task/T_1")["error"]
    assert sentence in scheduler.rest("/api/task/T_1/why")["reason"]
    assert scheduler.rest("/api/task/T_1/history")["history"][-1]["error"].startswith(sentence)


def test_a_worker_says_which_private_parameter_it_cannot_get(scheduler: Node, tmp_path: Path) -> None:
    (task,) = submit(scheduler, pipelines.Secret(n=1, password="hunter2"))
    with worker(tmp_path, scheduler) as one:
        why = one.await_event("task_not_loaded")["error"]
        assert "private parameters, and here is none for password" in why
        assert "[Secret] password" in why
        assert one.drain() == 0
    Path(no_configuration(tmp_path)).write_text("[Secret]\npassword=of-the-worker\n")
    with worker(tmp_path, scheduler) as one:
        await_status(scheduler, "DONE", task)
        assert one.ledger() == ["Secret 1 of-the-worker"]
        assert one.events("private_parameters")[0]["parameters"] == "password"
        assert one.drain() == 0
    assert "hunter2" not in (tmp_path / "luigi.db").read_bytes().decode("latin-1")
