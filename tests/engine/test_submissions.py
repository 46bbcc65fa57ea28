"""What is submitted stays until it is finished or cancelled; what is removed says why."""

from collections.abc import Callable
from typing import Any

import pytest

from luigi_ha.appliance.engine import Scheduler
from luigi_ha.appliance.engine.changes import TaskRemoved
from tests.engine.conftest import Clock
from tests.engine.invariants import check

Make = Callable[..., Scheduler]
LONG = 100_000.0


def submitted(s: Scheduler, *task_ids: str, client: str = "client", workers: Any = 0, **fields: Any) -> None:
    """As `luigi --workers 0` does: describes tasks, says that it runs none, counts what is pending, and leaves."""
    for task_id in task_ids:
        s.add_task(worker=client, task_id=task_id, family="F", module="m", **fields)
    s.add_worker(client, [["salt", "1"], ["workers", workers], ["host", "h"]])
    s.count_pending(worker=client)


def later(s: Scheduler, clock: Clock, seconds: float = LONG) -> None:
    """Time goes by, and nobody is heard of."""
    for _ in range(3):
        clock.now += seconds
        s.prune()
        while s.prune_pending:
            s.prune()
    check(s)


def test_a_submission_by_a_client_that_runs_nothing_stays_until_it_is_done(make: Make, clock: Clock) -> None:
    s = make()
    submitted(s, "a")
    submitted(s, "b", deps=["a"])
    assert s.rest_task("b")["submitted"]
    later(s, clock)
    assert (set(s.tasks), list(s.workers)) == ({"a", "b"}, [])
    for task_id in ("a", "b"):
        assert s.get_work(worker="w", assistant=True)["task_id"] == task_id
        s.add_task(worker="w", task_id=task_id, status="DONE", assistant=True)
    later(s, clock)
    assert not s.tasks


def test_a_client_that_runs_its_tasks_itself_loses_them_as_in_luigi(make: Make, clock: Clock) -> None:
    s = make()
    submitted(s, "a", workers=1)
    submitted(s, "b", client="other", workers=1)
    s.add_task(worker="silent", task_id="c", family="F")  # it has not even said
    later(s, clock)
    assert not s.tasks


@pytest.mark.parametrize("workers", ["0", None, False, [], 0.5, -1])
def test_only_who_says_that_it_runs_none_submits(make: Make, clock: Clock, workers: Any) -> None:
    s = make()
    submitted(s, "a", workers=workers)
    later(s, clock)
    assert not s.tasks


def test_an_assistant_without_slots_submits_nothing(make: Make, clock: Clock) -> None:
    s = make()
    s.add_task(worker="w", task_id="a", family="F")
    s.add_worker("w", {"workers": 0, "assistant": True})
    later(s, clock)
    assert not s.tasks


def test_a_cancelled_task_of_a_submission_goes(make: Make, clock: Clock) -> None:
    s = make()
    submitted(s, "a", "b")
    s.rest_cancel(task_id="a")
    later(s, clock)
    assert set(s.tasks) == {"b"}
    s.rest_cancel(task_id="b")
    later(s, clock)
    assert not s.tasks


def test_what_was_done_before_its_submitter_went_ages_out(make: Make, clock: Clock) -> None:
    s = make()
    submitted(s, "a", "b")
    s.add_task(worker="w", task_id="a", status="DONE", assistant=True)
    later(s, clock)
    assert set(s.tasks) == {"b"}


def test_failures_and_retries_let_nothing_go(make: Make, clock: Clock) -> None:
    s = make(retry_count=2, disable_persist=50)
    submitted(s, "a")
    for _ in range(4):
        if s.get_work(worker="w", assistant=True)["task_id"]:
            s.add_task(worker="w", task_id="a", status="FAILED", assistant=True, expl='"no"')
        later(s, clock)
    assert set(s.tasks) == {"a"}


def test_a_submission_outlives_the_scheduler_wherever_it_dies(make: Make, clock: Clock) -> None:
    s = make(prune_limit=7)
    submitted(s, *(f"t{n}" for n in range(50)))
    records = list(s.take_changes().records)
    clock.now += 61
    for pieces in range(12):
        again = make(prune_limit=7)
        again.restore(records)
        again.started()
        later(again, clock)
        assert len(again.tasks) == 50, pieces
        clock.now -= 3 * LONG
        s.prune()  # a piece more is passed on
        records += s.take_changes().records
    assert not s.prune_pending
    assert list(s.workers) == []


def test_passing_on_is_bounded_and_a_client_that_is_back_keeps_what_it_wants(make: Make, clock: Clock) -> None:
    s = make(prune_limit=10)
    submitted(s, *(f"t{n}" for n in range(25)))
    clock.now += 61
    s.prune()
    assert s.prune_pending
    held = [task for task in s.tasks.values() if s._is_ours(task)]
    assert len(held) == 10
    s.ping(worker="client")
    s.prune()
    assert not s.prune_pending
    assert list(s.workers) == ["client"]
    later(s, clock)
    assert len(s.tasks) == 25


def test_what_a_submitted_task_waits_for_stays_at_any_distance(make: Make, clock: Clock) -> None:
    s = make()
    s.add_task(worker="gone", task_id="c", family="F")
    s.add_task(worker="gone", task_id="b", family="F", deps=["c"])
    s.add_task(worker="gone", task_id="x", family="F", deps=["c"])
    s.rest_put_task(task_id="a", family="F", deps=["b"])
    later(s, clock)
    assert set(s.tasks) == {"a", "b", "c"}
    s.rest_cancel(task_id="a")
    later(s, clock)
    assert not s.tasks


def test_what_a_run_of_a_submitted_task_finds_out_to_need_is_held_too(make: Make, clock: Clock) -> None:
    s = make()
    for task_id, info in (("ours", [["workers", 0]]), ("theirs", [["workers", 1]])):
        s.add_task(worker=f"client-{task_id}", task_id=task_id, family="F")
        s.add_worker(f"client-{task_id}", info)
        s.add_task(worker="w", task_id=f"part-of-{task_id}", family="F", assistant=True, required_by=task_id)
        s.add_task(worker="w", task_id=f"below-{task_id}", family="F", assistant=True, required_by=task_id)
    later(s, clock)
    assert set(s.tasks) == {"ours", "part-of-ours", "below-ours"}


def test_what_is_removed_says_why(make: Make, clock: Clock) -> None:
    s = make()
    submitted(s, "left", client="other", workers=1)
    submitted(s, "done", client="other", workers=1, status="DONE")
    submitted(s, "cancelled")
    s.rest_cancel(task_id="cancelled", reason="wrong date")
    s.add_task(worker="client", task_id="off", family="F", status="DISABLED")
    s.take_changes()
    later(s, clock)
    records = [record for record in s.take_changes().records if isinstance(record, TaskRemoved)]
    removed = {record.task_id: record.reason for record in records}
    assert "no client that wanted it was heard of for 60 s (worker_disconnect_delay)" in removed["left"]
    assert "600 s (remove_delay)" in removed["left"]
    assert removed["done"] == "it was done, and nobody has wanted it for 600 s (remove_delay)"
    assert removed["cancelled"].startswith("it was cancelled (wrong date)")
    assert removed["off"].startswith("it was DISABLED")
    assert {record.status for record in records} == {"PENDING", "DONE", "DISABLED"}


def test_the_head_of_a_batch_that_failed_goes_for_that_reason(make: Make, clock: Clock) -> None:
    s = make()
    s.add_task_batcher("w", "F", ["b"])
    for n in (1, 2):
        s.add_task(worker="w", task_id=f"t{n}", family="F", params={"b": n}, batchable=True)
    batch = s.get_work(worker="w")["batch_id"]
    s.add_task(worker="w", task_id="head", family="F", status="RUNNING", batch_id=batch)
    s.add_task(worker="w", task_id="head", family="F", status="FAILED", expl='"no"')
    s.take_changes()
    clock.now += 1
    s.prune()
    [removed] = [record for record in s.take_changes().records if isinstance(record, TaskRemoved)]
    assert (removed.task_id, removed.reason) == ("head", "it stood for a batch, and failed")
