"""What autoscalers go by, when failed tasks return, and why a task is not running: in words, with the last error."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from luigi_ha.appliance.engine import Scheduler
from tests.engine.conftest import Clock

Make = Callable[..., Scheduler]


def put(s: Scheduler, *task_ids: str, **fields: Any) -> None:
    for task_id in task_ids:
        s.rest_put_task(task_id=task_id, **{"family": "ns.F", **fields})


def ready(s: Scheduler) -> tuple[int, int]:
    found, (_startable, waiting) = s.rest_queue(), s.startable()
    return found["ready"], waiting


# -- what could be begun now ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("total", "needs", "expected"),
    [
        (2, {"db": 1}, (2, 8)),
        (1, {"db": 2}, (0, 10)),
        (0, {"db": 1}, (0, 10)),
        (5, {"db": 2}, (2, 8)),
        (1, {"db": 0.1}, (10, 0)),
        (0.3, {"db": 0.1}, (3, 7)),
        (0, {"db": 0}, (10, 0)),
        (3, {"other": 1}, (1, 9)),  # a resource nobody has named has one
        (3, {"db": 1, "other": 1}, (1, 9)),
        (3, {}, (10, 0)),
    ],
)
def test_ready_is_what_the_resources_allow(
    make: Make, total: float, needs: dict[str, float], expected: tuple[int, int]
) -> None:
    s = make(resources={"db": total})
    put(s, *(f"t{n}" for n in range(10)), resources=needs)
    assert ready(s) == expected
    assert s.rest_queue()["pending"] == 10


def test_what_runs_holds_its_resources(make: Make) -> None:
    s = make(resources={"db": 3})
    put(s, *(f"t{n}" for n in range(10)), resources={"db": 1})
    for expected in ((3, 7), (2, 7), (1, 7), (0, 7)):
        assert ready(s) == expected
        s.rest_take(worker="w")
    s.rest_done(task_id="t0")
    assert ready(s) == (1, 6)
    s.update_resources(db=0)
    assert ready(s) == (0, 7)


def test_groups_share_what_there_is_in_the_order_of_work(make: Make) -> None:
    s = make(resources={"db": 4})
    put(s, *(f"a{n}" for n in range(5)), resources={"db": 1})
    put(s, "large", resources={"db": 3}, priority=9)
    put(s, "free")
    assert ready(s) == (3, 4)


def test_the_limit_of_a_namespace_counts(make: Make) -> None:
    s = make(namespace_limits={"ns": 2})
    put(s, *(f"t{n}" for n in range(5)))
    put(s, "other", family="other.F")
    assert ready(s) == (3, 3)


def test_a_paused_scheduler_has_nothing_ready(make: Make) -> None:
    s = make()
    put(s, "t")
    s.pause()
    assert ready(s)[0] == 0
    s.unpause()
    assert ready(s)[0] == 1


def test_what_clients_run_themselves_is_not_counted_unless_a_worker_may_help(make: Make) -> None:
    s = make()
    for n in range(5):
        s.add_task(worker="laptop", task_id=f"t{n}", family="F", module="etl" if n else "__main__")
    s.add_worker("laptop", {"workers": 2})
    assert ready(s) == (0, 0)
    s.get_work(worker="ours", assistant=True, runs=True, modules=["other"])
    assert ready(s) == (0, 0)
    s.get_work(worker="helper", assistant=True, runs=True, modules=["etl"], families=["none"])
    assert ready(s) == (4, 0)
    s.get_work(worker="stock", assistant=True)
    assert ready(s) == (4, 0)  # it took one, and may take any


def test_what_nobody_can_run_is_not_counted(make: Make) -> None:
    s = make()
    s.add_task(worker="client", task_id="external", family="F", runnable=False)
    s.add_worker("client", {"workers": 0})
    assert ready(s) == (0, 0)


# -- retries ----------------------------------------------------------------------------------------------------


def test_retries_are_due_at_the_announced_time_and_bounded(make: Make, clock: Clock) -> None:
    s = make(retry_delay=30.0, prune_limit=3)
    put(s, *(f"t{n}" for n in range(5)))
    for _ in range(5):
        run = s.rest_take(worker="w")
        assert run is not None
        told = {name: run[name] for name in ("task_id", "attempt", "run_id")}
        s.rest_heartbeat(worker="w", tasks=[{**told, "status": "FAILED", "error": "no"}])
    assert not s.retry_due
    clock.now += 29.9
    assert not s.retry_due
    clock.now += 0.2
    assert s.retry_due
    s.retry_failed()
    assert (s.counts()["FAILED"], s.retry_due) == (2, True)
    s.retry_failed()
    assert (s.counts()["FAILED"], s.retry_due) == (0, False)


def test_a_retry_that_was_overtaken_is_not_due_for_ever(make: Make, clock: Clock) -> None:
    s = make(retry_delay=30.0)
    s.add_task(worker="w", task_id="t")
    s.get_work(worker="w")
    s.add_task(worker="w", task_id="t", status="FAILED", expl='"no"')
    s.forgive_failures("t")
    clock.now += 31
    s.retry_failed()
    assert not s.retry_due


def test_a_task_that_has_just_failed_rests_unless_somebody_prunes(make: Make, clock: Clock) -> None:
    s = make(retry_delay=0.0)
    s.add_task(worker="w", task_id="t", status="FAILED")
    clock.now += 1.5
    assert not s.retry_due
    clock.now += 1
    assert s.retry_due
    s.retry_failed()
    assert s.counts()["FAILED"] == 0
    s.add_task(worker="w", task_id="t", status="FAILED")
    clock.now += 0.1
    s.prune()
    assert s.counts()["FAILED"] == 0


def test_a_mirror_retries_nothing(make: Make, clock: Clock) -> None:
    s = make(retry_delay=1.0)
    s.add_task(worker="w", task_id="t", status="FAILED")
    again = make(retry_delay=1.0)
    again.follow(s.take_changes().records)
    clock.now += 2
    again.retry_failed()
    assert again.counts()["FAILED"] == 1


# -- why --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "total", "needs", "expected"),
    [
        ("nothing", 0, 1, "It waits for nothing (resource 'nothing': needs 1, total 0, in use 0): it can never run"),
        ("db", 2, 3, "It waits for db (resource 'db': needs 3, total 2, in use 0): it can never run while that is so."),
        ("db", 2, 1, "It waits for db (resource 'db': needs 1, total 2, in use 2)."),
    ],
)
def test_why_names_the_resource_as_one_and_the_amounts(
    make: Make, name: str, total: float, needs: float, expected: str
) -> None:
    s = make(resources={name: total})
    if needs <= total:
        put(s, "holder", resources={name: total})
        s.rest_take(worker="w")
    put(s, "t", resources={name: needs})
    s.rest_take(worker="w")
    answer = s.why("t")
    assert answer["reason"].startswith(expected)
    assert answer["facts"][0] == {
        "resource": name, "kind": "resource", "needs": needs, "in_use": total if needs <= total else 0, "total": total,
    }  # fmt: skip


def test_why_of_a_namespace_that_may_run_nothing(make: Make) -> None:
    s = make(namespace_limits={"ns": 0})
    put(s, "t")
    s.rest_take(worker="w")
    reason = s.why("t")["reason"]
    assert "the limit of namespace 'ns' (tasks that run at once: needs 1, total 0" in reason
    assert "never" in reason


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (json.dumps("Runtime error:\nTraceback:\n  File x\nValueError: no luck\n\n"), "ValueError: no luck"),
        ("plain\nlast  ", "last"),
        ('"only begins like JSON', '"only begins like JSON'),
        ({"code": 7}, '{"code": 7}'),
        ("x" * 1000, "x" * 297 + "..."),
    ],
)
def test_why_of_a_failed_task_has_worker_duration_and_the_errors_last_line(
    make: Make, clock: Clock, error: Any, line: str
) -> None:
    s = make(retry_count=2)
    s.add_task(worker="w", task_id="t")
    for reason in ("It failed and is retried in", "It failed too often and is disabled"):
        s.get_work(worker="w")
        clock.now += 12
        s.add_task(worker="w", task_id="t", status="FAILED", expl=error)
        answer = s.why("t")
        assert answer["reason"].startswith(reason)
        assert answer["reason"].endswith(f" The last run ended on w after 12.0 s: {line}")
        last = answer["facts"][-1]
        assert (last["worker"], last["seconds"], last["error"]) == ("w", 12.0, line)
        s.forgive_failures("t")
        if s.tasks["t"].status == "PENDING":
            assert s.why("t")["facts"][-1]["error"] == line  # it waits again, and has failed before


def test_why_of_a_run_whose_worker_was_silent(make: Make, clock: Clock) -> None:
    s = make()
    put(s, "t")
    s.rest_take(worker="w")
    clock.now += 61
    s.prune()
    assert s.why("t")["reason"].endswith("Its worker was silent for too long, and the run was given up.")
    assert s.why("t")["facts"][-1]["worker"] is None
