"""P3, P4: a worker's tasks and results through the death of schedulers, of the worker, and of the connection."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.support.proxy import Relay
from tests.worker import pipelines
from tests.worker.peers import Misbehaving, Node, eventually, node, says
from tests.worker.workers import Worker, await_status, error_of, open_gate, submit, worker


@pytest.fixture(autouse=True)
def _ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipelines, "LEDGER", tmp_path)


def attempts(one: Node, task_id: str) -> list[str]:
    """How each attempt of a task ended, from the scheduler's log."""
    history = one.rest(f"/api/task/{task_id}/history")["history"]
    return [f"{entry['attempt']} {entry['status']}" for entry in history if entry["status"] in ("DONE", "FAILED")]


def outage(one: Node, busy: Worker, runs: int) -> None:
    """The scheduler is killed after the next four runs, if so many are left of `runs`, and is back once the worker has
    met nobody."""
    soon = min(len(busy.ledger()) + 4, runs)
    eventually(lambda: len(busy.ledger()) >= soon, lambda: busy.log)
    before = unanswered(busy)
    one.kill()
    eventually(lambda: unanswered(busy) > before, lambda: busy.log)
    one.start()


def unanswered(busy: Worker) -> int:
    return len(busy.events("heartbeat_unanswered")) + len(busy.events("no_scheduler_answers"))


def test_p4_a_task_outlives_a_long_outage_of_all_schedulers_and_its_result_is_delivered(tmp_path: Path) -> None:
    with node(tmp_path) as one:
        first, second = submit(one, pipelines.Slow(n=1), pipelines.Slow(n=2))
        with worker(tmp_path, one, "--workers", "2") as busy:
            busy.await_event("task_started", 2)
            one.kill()
            busy.await_event("heartbeat_unanswered")
            open_gate(tmp_path, 1)  # ends in the middle of the outage
            eventually(lambda: "Slow 1 over" in busy.ledger(), lambda: busy.log)
            time.sleep(5)
            assert busy.popen is not None
            assert busy.popen.poll() is None
            one.start()
            await_status(one, "DONE", first)
            await_status(one, "RUNNING", second)
            open_gate(tmp_path, 2)
            await_status(one, "DONE", second)
            assert busy.drain() == 0
            assert sum("over" in line for line in busy.ledger()) == 2
            assert len([line for line in busy.ledger() if "over" not in line]) == 2  # each ran once
            assert [attempts(one, first), attempts(one, second)] == [["1 DONE"], ["1 DONE"]]


def test_limits_hold_during_an_outage(tmp_path: Path) -> None:
    with node(tmp_path) as one:
        quick, long = submit(one, pipelines.Slow(n=1), pipelines.Slow(n=2))
        with worker(tmp_path, one, "--workers", "2", "--task-timeout", "30") as busy:
            busy.await_event("task_started", 2)
            one.kill()
            open_gate(tmp_path, 1)
            killed = busy.await_event("task_killed")  # while the worker waits to deliver the other result
            assert killed["task_id"] == long
            one.start()
            await_status(one, "DONE", quick)
            await_status(one, "FAILED", long)
            assert busy.drain() == 0


def test_p4_a_result_is_delivered_once_by_the_next_worker_if_this_one_is_killed_before_it_is_acknowledged(
    tmp_path: Path,
) -> None:
    with node(tmp_path) as one:
        (task,) = submit(one, pipelines.Slow(n=1))
        with worker(tmp_path, one) as first:
            name = first.await_event("task_started")["worker_id"]
            one.kill()
            open_gate(tmp_path, 1)
            eventually(lambda: "Slow 1 over" in first.ledger(), lambda: first.log)
            first.await_event("no_scheduler_answers")  # it tries to deliver
            first.kill()
            one.start()
            first.start()
            await_status(one, "DONE", task)
            assert first.events("result_of_earlier_worker")[0]["status"] == "DONE"
            assert first.events("worker_started")[-1]["worker_id"] == name
            assert first.drain() == 0
            assert first.ledger().count("Slow 1 over") == 1
            assert attempts(one, task) == ["1 DONE"]
            started = first.start()  # and not again
            started.await_event("worker_started", 3)
            assert started.drain() == 0
            assert len(first.events("result_of_earlier_worker")) == 1


def test_a_result_whose_acknowledgement_was_lost_counts_once(tmp_path: Path) -> None:
    """The scheduler has taken it; the worker dies before it hears so."""
    with node(tmp_path) as one:
        (task,) = submit(one, pipelines.Slow(n=1))
        with worker(tmp_path, one) as first:
            first.await_event("task_started")
            open_gate(tmp_path, 1)
            await_status(one, "DONE", task)
            first.await_event("task_finished")
            first.kill()
            spool = max((first.state / "spool").glob("*.spool"))
            lines = [line for line in spool.read_bytes().splitlines() if line and b"acknowledged" not in line]
            spool.write_bytes(b"\n".join(lines) + b"\n")
            first.start()
            first.await_event("result_of_earlier_worker")
            assert first.drain() == 0
            assert first.events("result_refused") == []
            assert attempts(one, task) == ["1 DONE"]


def test_a_task_whose_worker_was_killed_is_reported_failed_by_the_next_one_and_leaves_nothing(tmp_path: Path) -> None:
    with node(tmp_path) as one:
        (task,) = submit(one, pipelines.Stubborn())
        with worker(tmp_path, one) as first:
            eventually(first.ledger, lambda: first.log)
            parent, child = (int(pid) for pid in first.ledger()[0].split()[1:])
            first.kill()
            eventually(lambda: not Path(f"/proc/{parent}").exists(), lambda: "the task's process dies with its worker")
            assert Path(f"/proc/{child}").exists()  # what it had started does not, by itself
            first.start()
            await_status(one, "FAILED", task)
            assert "The worker ended while this task ran" in error_of(one, task)
            eventually(lambda: not Path(f"/proc/{child}").exists(), lambda: first.log)
            assert attempts(one, task) == ["1 FAILED"]
            assert first.drain() == 0


def test_new_dependencies_found_by_a_worker_that_was_killed_are_scheduled_by_the_next(tmp_path: Path) -> None:
    with node(tmp_path) as one, Relay(one.port) as relay:
        (task,) = submit(one, pipelines.Held())
        first = Worker(tmp_path, f"http://127.0.0.1:{relay.port}")
        try:
            first.start()
            first.await_event("task_started")
            one.kill()
            open_gate(tmp_path)
            eventually(lambda: first.ledger() == ["Dynamic 0"], lambda: first.log)
            first.await_event("no_scheduler_answers")
            first.kill()
            one.start()
            first.start()
            await_status(one, "DONE", task)
            assert first.events("result_of_earlier_worker")[0]["status"] == "PENDING"
            assert first.drain() == 0
        finally:
            first.end()


@pytest.mark.parametrize("policy", ["finish", "stop"])
def test_p3_a_worker_frozen_past_its_delay_loses_its_attempt_and_its_late_result_is_refused(
    tmp_path: Path, policy: str
) -> None:
    with node(tmp_path, scheduler_worker_disconnect_delay="4", scheduler_retry_delay="1", prune_every="1") as one:
        (task,) = submit(one, pipelines.Slow(n=1, seconds=300))
        with worker(tmp_path, one, "--lost-attempt", policy) as first:
            first.await_event("task_started")
            first.signal(signal.SIGSTOP)
            with worker(tmp_path, one, name="two") as second:
                assert second.await_event("task_started")["attempt"] == 2
                first.signal(signal.SIGCONT)
                lost = first.await_event("attempt_lost")
                assert (lost["attempt"], lost["policy"], lost["task_id"]) == (1, policy, task)
                if policy == "stop":
                    assert first.await_event("task_killed")["reason"] == "lost"
                    first.await_event("result_refused")
                open_gate(tmp_path, 1)
                refused = first.await_event("result_refused")
                assert (refused["attempt"], refused["status"]) == (1, "FAILED" if policy == "stop" else "DONE")
                assert "attempt 2" in refused["reason"]
                assert [told for told in first.events("task_finished") if told["attempt"] == 1] == []
                await_status(one, "DONE", task)
                assert [first.drain(), second.drain()] == [0, 0]
                over = first.ledger().count("Slow 1 over")
                assert over == (1 if policy == "stop" else 2)  # effects: what ran on is seen in the ledger
                assert attempts(one, task)[-1] == "2 DONE"
                assert "1 DONE" not in attempts(one, task)


def test_kills_of_the_scheduler_all_the_time_lose_and_repeat_nothing(tmp_path: Path) -> None:
    with node(tmp_path) as one:
        (last,) = submit(one, pipelines.Link(n=25))
        many = submit(one, *(pipelines.Noted(n=n) for n in range(25)))
        with worker(tmp_path, one, "--workers", "3") as busy:
            for _ in range(4):
                outage(one, busy, 51)
            await_status(one, "DONE", last, *many)
            assert busy.drain() == 0
            ledger = busy.ledger()
            assert len(ledger) == len(set(ledger)) == 51


def test_an_idle_worker_can_be_drained_while_no_scheduler_answers(tmp_path: Path) -> None:
    with node(tmp_path) as one, worker(tmp_path, one) as idle:
        eventually(lambda: one.rest("/api/worker"), lambda: idle.log)
        one.kill()
        idle.await_event("no_scheduler_answers")
        assert idle.drain() == 0


def test_a_result_that_cannot_be_delivered_before_the_drain_ends_waits_for_the_next_worker(tmp_path: Path) -> None:
    with node(tmp_path) as one:
        (task,) = submit(one, pipelines.Slow(n=1))
        with worker(tmp_path, one, "--drain-timeout", "1") as first:
            first.await_event("task_started")
            one.kill()
            open_gate(tmp_path, 1)
            first.await_event("no_scheduler_answers")
            assert first.drain() == 1
            assert first.events("worker_ended")[0]["unacknowledged"] == 1
            one.start()
            first.start()
            await_status(one, "DONE", task)
            assert first.drain() == 0
            assert attempts(one, task) == ["1 DONE"]


def test_a_scheduler_without_a_fence_is_refused_unless_told_otherwise(tmp_path: Path) -> None:
    with Misbehaving(says("404 Not Found", b"<html>")) as luigid:
        refused = Worker(tmp_path, luigid.url).start()
        assert refused.ended() == 2
        assert "has no fence" in refused.log
        assert "--unfenced" in refused.log
        assert "Traceback" not in refused.log


def test_no_secret_in_log_or_process_list(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("lha_1_verysecret")
    with node(tmp_path) as one:
        url = one.url.replace("//", "//any:hunter2@")
        first = Worker(tmp_path, url, options=("--token-file", str(tmp_path / "token"), "--log-level", "debug"))
        try:
            first.start(LUIGI_HA_TOKEN="lha_2_othersecret")
            submit(one, pipelines.Noted(n=1))
            first.await_event("task_finished")
            one.kill()
            first.await_event("heartbeat_unanswered")
            assert first.popen is not None
            os.kill(first.popen.pid, signal.SIGTERM)
            assert first.ended() == 0
            for secret in ("verysecret", "hunter2", "othersecret"):
                assert secret not in first.log
            assert json.loads(first.log.splitlines()[0])["event"] == "worker_started"
        finally:
            first.end()
