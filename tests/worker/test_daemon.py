"""`luigi-ha worker` with real pipelines on a real node: what luigi can do, it can."""

import json
import signal
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from luigi_ha.appliance.lab.ports import free_port
from tests.support.patience import patient
from tests.worker import late, pipelines
from tests.worker.peers import Node, eventually, node
from tests.worker.workers import Worker, await_status, error_of, open_gate, submit, worker


@pytest.fixture
def scheduler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    """A node; the ledger is that of this test."""
    monkeypatch.setattr(pipelines, "LEDGER", tmp_path)
    with node(tmp_path) as one:
        yield one


def test_a_chain_each_link_once_with_its_run(scheduler: Node, tmp_path: Path) -> None:
    (last,) = submit(scheduler, pipelines.Link(n=4))
    with worker(tmp_path, scheduler) as one:
        await_status(scheduler, "DONE", last)
        assert one.drain() == 0
        assert one.ledger() == [f"Link {n}" for n in range(5)]
        started, finished = one.events("task_started"), one.events("task_finished")
        assert len({line["run_id"] for line in started}) == 5
        assert [line["run_id"] for line in started] == [line["run_id"] for line in finished]
        assert all((line["attempt"], line["status"], line["namespace"]) == (1, "DONE", "") for line in finished)
        assert "worker_id" in finished[0]
        assert scheduler.rest(f"/api/task/{last}")["run_id"] == started[-1]["run_id"]


def test_dynamic_dependencies_in_rounds_each_a_run_of_its_own(scheduler: Node, tmp_path: Path) -> None:
    (task,) = submit(scheduler, pipelines.Dynamic())
    with worker(tmp_path, scheduler, "--workers", "3") as one:
        await_status(scheduler, "DONE", task)
        assert one.drain() == 0
        ledger = one.ledger()
        assert (ledger.count("Dynamic 0"), ledger.count("Dynamic between")) == (3, 2)
        assert sorted(line for line in ledger if "Noted" in line) == [f"Noted {n}" for n in (100, 101, 102, 200)]
        runs = [line for line in one.events("task_finished") if line["task_id"] == task]
        assert [(line["attempt"], line["status"]) for line in runs] == [(1, "PENDING"), (2, "PENDING"), (3, "DONE")]


def test_dependencies_that_cannot_be_scheduled_fail_their_task_only(scheduler: Node, tmp_path: Path) -> None:
    bad, good = submit(scheduler, pipelines.BadParts(n=1), pipelines.Noted(n=2))
    with worker(tmp_path, scheduler) as one:
        await_status(scheduler, "FAILED", bad)
        await_status(scheduler, "DONE", good)
        assert "requires() can not return Target objects" in error_of(scheduler, bad)
        assert one.drain() == 0


@pytest.mark.parametrize("workers", [0, 2])
def test_what_a_run_finds_out_to_need_is_held_if_its_task_is(scheduler: Node, tmp_path: Path, workers: int) -> None:
    (task,) = submit(scheduler, pipelines.Dynamic())
    scheduler.call("add_worker", worker="submitter", info={"workers": workers})
    with worker(tmp_path, scheduler, "--max-tasks", "1") as one:
        assert one.ended() == 0
        parts = [name for name in scheduler.tasks("PENDING") if name.startswith("Noted")]
        assert len(parts) == 3
        held = {name: scheduler.rest(f"/api/task/{name}")["submitted"] for name in (task, *parts)}
        assert held == dict.fromkeys((task, *parts), workers == 0)


def test_batches(scheduler: Node, tmp_path: Path) -> None:
    days = submit(scheduler, *(pipelines.Dates(day=f"2024-01-0{day}") for day in range(1, 6)), name="days")
    # A batch is made of what the worker that asks can batch, and of what the submitter said.
    with worker(tmp_path, scheduler) as one:
        await_status(scheduler, "DONE", *days)
        assert one.drain() == 0
        assert one.ledger() == ["Dates " + ",".join(f"2024-01-0{day}" for day in range(1, 6))]
        assert one.events("result_refused") == []


def test_priorities_and_resources(scheduler: Node, tmp_path: Path) -> None:
    ranked = submit(scheduler, *(pipelines.Ranked(n=n) for n in (3, 9, 6)))
    scarce = submit(scheduler, *(pipelines.Scarce(n=n) for n in range(3)))
    with worker(tmp_path, scheduler, "--workers", "3") as one:
        await_status(scheduler, "DONE", *ranked, *scarce)
        assert one.drain() == 0
        ledger = one.ledger()
        held = [line.split()[2] for line in ledger if line.startswith("Scarce")]
        assert held == ["begins", "ends"] * 3
        first = [line["task_id"] for line in one.events("task_started")][:3]
        assert first == [ranked[1], ranked[2], ranked[0]]


def test_messages_progress_and_tracking(scheduler: Node, tmp_path: Path) -> None:
    (task,) = submit(scheduler, pipelines.Talking())
    with worker(tmp_path, scheduler) as one:
        eventually(lambda: "Talking" in one.ledger(), lambda: one.log)
        shown = scheduler.tasks("RUNNING")[task]
        assert (shown["status_message"], shown["progress_percentage"]) == ("half-way", 50)
        assert shown["tracking_url"] == "http://tracking.example/1"
        sent = scheduler.call(
            "send_scheduler_message", worker=one.events("task_started")[0]["worker_id"], task=task, content="hello"
        )
        await_status(scheduler, "DONE", task)
        assert "heard hello" in one.ledger()
        reply = scheduler.call("get_scheduler_message_response", task_id=task, message_id=sent["message_id"])
        assert reply == {"response": "understood"}
        assert one.drain() == 0


def test_events_in_both_processes(scheduler: Node, tmp_path: Path) -> None:
    good, bad, dead = submit(
        scheduler, pipelines.Eventful(n=1), pipelines.Eventful(n=2, fails=True), pipelines.Exiting(n=3)
    )
    with worker(tmp_path, scheduler) as one:
        await_status(scheduler, "DONE", good)
        await_status(scheduler, "FAILED", bad, dead)
        ledger = one.ledger()
        for line in ("event START", "event SUCCESS", "event FAILURE on purpose", "event PROCESS_FAILURE Exiting"):
            assert line in ledger
        assert one.drain() == 0


def test_failures_say_why(scheduler: Node, tmp_path: Path) -> None:
    raised, exited, silent, long = submit(
        scheduler, pipelines.Failing(n=0), pipelines.Exiting(n=7), pipelines.Exiting(n=0), pipelines.Failing(n=900_000)
    )
    with worker(tmp_path, scheduler, "--workers", "2") as one:
        await_status(scheduler, "FAILED", raised, exited, silent, long)
        assert "ValueError: no luck today" in error_of(scheduler, raised)
        assert "died unexpectedly with exit code 7" in error_of(scheduler, exited)
        assert "died unexpectedly with exit code 0" in error_of(scheduler, silent)
        assert "characters left out" in error_of(scheduler, long)
        assert len(error_of(scheduler, long)) < 300_000
        assert "about to fail" in one.output(raised)
        assert one.drain() == 0


def test_modules_that_come_late_and_tasks_that_no_other_process_could_be_told_of(
    scheduler: Node, tmp_path: Path
) -> None:
    first = submit(scheduler, pipelines.Noted(n=1), pipelines.Noted(n=2))
    with worker(tmp_path, scheduler) as one:
        await_status(scheduler, "DONE", *first)
        second = submit(scheduler, late.Late(n=3), late.Late(n=4), pipelines.Noted(n=5))
        await_status(scheduler, "DONE", *second)
        assert one.drain() == 0
        assert sorted(one.ledger()) == ["Late 3", "Late 4", "Noted 1", "Noted 2", "Noted 5"]
        for task_id in (*first, *second):
            assert f"running   {task_id.partition('_')[0]}(" in one.output(task_id)  # each in its own file


def test_a_task_submitted_by_rest_under_a_name_of_its_own(scheduler: Node, tmp_path: Path) -> None:
    description = {"family": "Noted", "module": "tests.worker.pipelines", "params": {"n": "77"}}
    scheduler.rest("/api/tasks", {"tasks": [{"task_id": "my/own name", **description}]})
    with worker(tmp_path, scheduler) as one:
        await_status(scheduler, "DONE", "my/own name")
        assert one.ledger() == ["Noted 77"]
        assert one.drain() == 0


def test_memory_limit_ends_the_task_with_all_it_started_and_not_the_worker(scheduler: Node, tmp_path: Path) -> None:
    (hungry,) = submit(scheduler, pipelines.Hungry())
    with worker(tmp_path, scheduler, "--memory-limit", "300M") as one:
        await_status(scheduler, "FAILED", hungry)
        assert "its limit is 300 MiB (--memory-limit)" in error_of(scheduler, hungry)
        (good,) = submit(scheduler, pipelines.Noted(n=6))
        await_status(scheduler, "DONE", good)
        assert one.events("task_killed")[0]["reason"] == "memory"
        assert one.drain() == 0


def test_a_timeout_ends_programs_that_do_not_want_to_end(scheduler: Node, tmp_path: Path) -> None:
    (stubborn,) = submit(scheduler, pipelines.Stubborn())
    with worker(tmp_path, scheduler, "--task-timeout", "1", "--kill-grace", "0.5") as one:
        await_status(scheduler, "FAILED", stubborn)
        assert "timed out after 1 seconds and was terminated" in error_of(scheduler, stubborn)
        pids = [int(pid) for pid in one.ledger()[0].split()[1:]]
        assert len(pids) == 2
        eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), lambda: f"{pids} are gone")
        assert one.drain() == 0


def test_output_is_kept_bounded_with_beginning_and_end(scheduler: Node, tmp_path: Path) -> None:
    (chatty,) = submit(scheduler, pipelines.Chatty())
    with worker(tmp_path, scheduler, "--output-limit", "20000", "--log-output") as one:
        await_status(scheduler, "DONE", chatty)
        assert one.drain() == 0
        text = one.output(chatty)
        assert len(text) < 21_000
        assert "first words\n" in text
        assert text.index("bytes left out") < text.index("last words\n")
        assert text.rstrip().endswith("Chatty(n=0)")  # luigi's own last line
        for words in ("from a program\n", "aside\n"):
            assert words in text
        lines = [line["line"] for line in one.events("task_output")]
        assert sum(line.startswith("line ") for line in lines) == 2000
        assert one.events("task_output")[0]["task_id"] == chatty
        assert not list((one.state / "log").glob("*.tail-*"))


def test_the_end_of_the_output_is_seen_from_elsewhere_while_a_task_runs_and_afterwards(
    scheduler: Node, tmp_path: Path
) -> None:
    def shown(task_id: str) -> str:
        try:
            return str(scheduler.rest(f"/api/task/{quote(task_id, safe='')}/log")["text"])
        except OSError:  # 404: not yet
            return ""

    slow, chatty = submit(scheduler, pipelines.Slow(n=7, seconds=300), pipelines.Chatty())
    with worker(tmp_path, scheduler, "--workers", "2") as one:
        eventually(lambda: shown(chatty).rstrip().endswith("Chatty(n=0)"), lambda: shown(chatty)[-200:])
        assert "last words" in shown(chatty)
        assert len(shown(chatty)) <= 65_536
        eventually(lambda: "running   Slow(" in shown(slow), lambda: shown(slow))
        open_gate(tmp_path, 7)
        await_status(scheduler, "DONE", slow)
        eventually(lambda: "done      Slow(" in shown(slow), lambda: shown(slow))
        assert one.drain() == 0


def test_max_tasks_drains(scheduler: Node, tmp_path: Path) -> None:
    tasks = submit(scheduler, *(pipelines.Noted(n=n) for n in range(5)))
    with worker(tmp_path, scheduler, "--max-tasks", "2") as one:
        assert one.ended() == 0
        assert len(one.ledger()) == 2
        assert len(set(tasks) & set(scheduler.tasks("PENDING"))) == 3


def test_families_namespaces_and_capabilities_are_asked_for(scheduler: Node, tmp_path: Path) -> None:
    noted, ranked = submit(scheduler, pipelines.Noted(n=1), pipelines.Ranked(n=2))
    described = {"family": "Noted", "module": "tests.worker.pipelines", "capabilities": ["gpu"]}
    scheduler.rest("/api/tasks", {"tasks": [{"task_id": "needs-gpu", "params": {"n": "3"}, **described}]})
    with worker(tmp_path, scheduler, "--families", "Noted,Link") as one:
        await_status(scheduler, "DONE", noted)
        time.sleep(0.5)
        assert {ranked, "needs-gpu"} <= set(scheduler.tasks("PENDING"))
        assert one.drain() == 0
    with worker(tmp_path, scheduler, "--capabilities", "gpu", name="two") as two:
        await_status(scheduler, "DONE", ranked, "needs-gpu")
        assert two.drain() == 0


def test_health_and_metrics(scheduler: Node, tmp_path: Path) -> None:
    (slow,) = submit(scheduler, pipelines.Slow())
    port = free_port()

    def ask(path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=patient(10)) as reply:
            return str(reply.read().decode())

    with worker(tmp_path, scheduler, "--metrics-port", str(port), "--metrics-host", "127.0.0.1") as one:
        one.await_event("task_started")
        health = json.loads(ask("/health"))
        assert (health["state"], health["fenced"], health["connected"]) == ("working", True, True)
        assert [task["task_id"] for task in health["running"]] == [slow]
        assert ask("/ready")
        open_gate(tmp_path)
        await_status(scheduler, "DONE", slow)
        eventually(lambda: 'runs_total{status="DONE"} 1\n' in ask("/metrics"), lambda: ask("/metrics"))
        assert "luigi_ha_worker_running 0\n" in ask("/metrics")
        assert one.drain() == 0


def test_drain_by_sigterm_finishes_what_runs(scheduler: Node, tmp_path: Path) -> None:
    slow, waiting = submit(scheduler, pipelines.Slow(n=1), pipelines.Slow(n=2))
    with worker(tmp_path, scheduler) as one:
        started = one.await_event("task_started")["task_id"]
        one.signal(signal.SIGTERM)
        one.await_event("draining")
        open_gate(tmp_path, 1 if started == slow else 2)
        assert one.ended() == 0
        await_status(scheduler, "DONE", started)
        await_status(scheduler, "PENDING", waiting if started == slow else slow)


def test_drain_by_the_api_finishes_what_runs(scheduler: Node, tmp_path: Path) -> None:
    (slow,) = submit(scheduler, pipelines.Slow(n=1))
    with worker(tmp_path, scheduler) as one:
        name = one.await_event("task_started")["worker_id"]
        (waiting,) = submit(scheduler, pipelines.Noted(n=2))
        answer = scheduler.rest("/api/worker/drain", {"worker_id": name})
        assert answer["running"] == [slow]
        one.await_event("draining")
        open_gate(tmp_path, 1)
        assert one.ended() == 0
        await_status(scheduler, "DONE", slow)
        await_status(scheduler, "PENDING", waiting)


def test_a_drained_worker_that_is_started_again_waits_until_it_is_undrained(scheduler: Node, tmp_path: Path) -> None:
    with worker(tmp_path, scheduler) as one:
        name = one.await_event("worker_started")["worker_id"]
        eventually(lambda: scheduler.rest("/api/worker"), lambda: one.log)
        assert scheduler.rest("/api/worker/drain", {"worker_id": name})["state"] == "draining"
        assert one.ended() == 0
        (task,) = submit(scheduler, pipelines.Noted(n=1))
        for _restart in range(2):  # as a supervisor does
            one.start()
            one.await_event("drained", _restart + 1)
            scheduler.kill()
            one.await_event("heartbeat_unanswered", _restart + 1)
            scheduler.start()
            one.await_event("heartbeat_answered_again", _restart + 1)
            assert scheduler.tasks("PENDING").keys() == {task}
            assert one.drain() == 0  # by a signal
        one.start()
        one.await_event("drained", 3)
        assert scheduler.rest("/api/worker/undrain", {"worker_id": name})["state"] == "active"
        await_status(scheduler, "DONE", task)
        assert len(one.events("undrained")) == 1
        assert one.drain() == 0


def test_what_an_earlier_worker_left_is_reported_by_one_that_is_drained(scheduler: Node, tmp_path: Path) -> None:
    (slow,) = submit(scheduler, pipelines.Slow(n=1))
    with worker(tmp_path, scheduler) as one:
        name = one.await_event("task_started")["worker_id"]
        one.kill()
        scheduler.rest("/api/worker/drain", {"worker_id": name})
        one.start()
        await_status(scheduler, "FAILED", slow)
        one.await_event("drained")
        scheduler.rest("/api/worker/undrain", {"worker_id": name})
        one.await_event("undrained")
        assert one.drain() == 0


def test_a_second_sigterm_stops_and_says_so(scheduler: Node, tmp_path: Path) -> None:
    (slow,) = submit(scheduler, pipelines.Slow(n=1))
    with worker(tmp_path, scheduler) as one:
        one.await_event("task_started")
        one.signal(signal.SIGTERM)
        one.await_event("draining")
        one.signal(signal.SIGTERM)
        assert one.ended() == 1
        await_status(scheduler, "FAILED", slow)
        assert "was ended because its worker was stopped" in error_of(scheduler, slow)
        assert one.events("worker_ended")[0]["unacknowledged"] == 0


def test_a_drain_that_takes_too_long_stops(scheduler: Node, tmp_path: Path) -> None:
    (slow,) = submit(scheduler, pipelines.Slow(n=1))
    with worker(tmp_path, scheduler, "--drain-timeout", "0.5") as one:
        one.await_event("task_started")
        assert one.drain() == 1
        await_status(scheduler, "FAILED", slow)


def test_a_task_that_is_cancelled_is_ended(scheduler: Node, tmp_path: Path) -> None:
    (slow,) = submit(scheduler, pipelines.Slow(n=1))
    with worker(tmp_path, scheduler) as one:
        one.await_event("task_started")
        scheduler.rest(f"/api/task/{slow}/cancel", {"reason": "no longer needed"})
        assert one.await_event("task_killed")["reason"] == "cancelled"
        await_status(scheduler, "DISABLED", slow)
        assert one.drain() == 0


def test_the_number_of_processes_can_be_changed(scheduler: Node, tmp_path: Path) -> None:
    submit(scheduler, pipelines.Slow(n=1), pipelines.Slow(n=2))
    with worker(tmp_path, scheduler) as one:
        name = one.await_event("task_started")["worker_id"]
        scheduler.call("set_worker_processes", worker=name, n=2)
        one.await_event("task_started", 2)
        for n in (1, 2):
            open_gate(tmp_path, n)
        assert one.drain() == 0


def test_one_state_directory_has_one_worker(scheduler: Node, tmp_path: Path) -> None:
    with worker(tmp_path, scheduler) as one:
        one.await_event("worker_started")
        second = Worker(tmp_path, scheduler.url)
        second.log_file = tmp_path / "second.log"
        assert second.start().ended() == 2
        assert "another worker uses" in second.log
        assert one.drain() == 0
