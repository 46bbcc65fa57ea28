"""Submitted tasks: how they are put, how long they are kept, and what people do to them."""

from collections.abc import Callable
from typing import Any

import pytest

from luigi_ha.appliance.engine import BadArgument, NoSuch, Scheduler
from luigi_ha.appliance.engine.changes import TaskPut
from tests.engine.conftest import Clock
from tests.engine.invariants import check
from tests.engine.test_rest_work import put, take, tell

Make = Callable[..., Scheduler]


# -- putting -------------------------------------------------------------------------------------------------


def test_putting_again_changes_nothing_and_says_so(make: Make) -> None:
    s = make()
    task = {
        "task_id": "ns.F_1", "family": "ns.F", "module": "m", "params": {"day": "1"}, "deps": ["a", "b"], "priority": 2,
        "resources": {"db": 1}, "capabilities": ["gpu"], "retry_policy": {"retry_count": 2}, "submitter": "ci",
    }  # fmt: skip
    assert s.rest_put_task(**task) == {"task_id": "ns.F_1", "status": "PENDING", "created": True}
    s.take_changes()
    assert s.rest_put_task(**task) == {"task_id": "ns.F_1", "status": "PENDING", "created": False}
    assert s.take_changes().records == []
    shown = s.rest_task("ns.F_1")
    assert (shown["namespace"], shown["submitted"]) == ("ns", True)
    for name in ("module", "params", "deps", "priority", "resources", "capabilities"):
        assert shown[name] == task[name]
    assert s.tasks["ns.F_1"].retry_policy.retry_count == 2


def test_putting_restarts_nothing(make: Make) -> None:
    s = make(retry_count=2)
    for i in range(3):
        put(s, f"ns.F_{i}")
    tell(s, take(s), "DONE")
    tell(s, take(s), "FAILED")
    s.rest_cancel("ns.F_2")
    s.take_changes()
    statuses = [s.rest_put_task(task_id=f"ns.F_{i}", family="ns.F", params={"n": "1"})["status"] for i in range(3)]
    assert statuses == ["DONE", "FAILED", "DISABLED"]
    assert [s.is_held(s.tasks[f"ns.F_{i}"]) for i in range(3)] == [False, True, False]


def test_what_was_only_named_as_a_dependency_is_completed(make: Make) -> None:
    s = make()
    s.add_task(task_id="ns.G_1", worker="w", family="ns.G", deps=["ns.F_1"], priority=4)
    assert s.tasks["ns.F_1"].status == "UNKNOWN"
    told = s.rest_put_task(task_id="ns.F_1", family="ns.F", params={"n": "1"})
    assert told == {"task_id": "ns.F_1", "status": "PENDING", "created": False}
    assert take(s)["task_id"] == "ns.F_1"
    assert s.rest_task("ns.F_1")["params"] == {"n": "1"}


def test_priority_passes_down_to_dependencies_whichever_is_put_first(make: Make) -> None:
    s = make()
    put(s, "ns.A_1")
    put(s, "ns.B_1", deps=["ns.A_1", "ns.C_1"], priority=7)
    put(s, "ns.C_1", deps=["ns.D_1"])
    put(s, "ns.D_1")
    assert {s.tasks[f"ns.{name}_1"].priority for name in "ABCD"} == {7}
    put(s, "ns.D_1", priority=3)
    assert s.tasks["ns.D_1"].priority == 7
    assert s.rest_priority("ns.B_1", 1) == {"task_id": "ns.B_1", "status": "PENDING", "changed": True, "priority": 1}
    assert s.tasks["ns.A_1"].priority == 7
    s.rest_priority("ns.B_1", 9)
    assert s.tasks["ns.D_1"].priority == 9
    check(s)


def test_dependencies_may_be_left_as_they_are_or_replaced(make: Make) -> None:
    s = make()
    put(s, deps=["a"])
    put(s, priority=3)
    assert s.rest_task("ns.F_1")["deps"] == ["a"]
    put(s, deps=["b"])
    assert s.rest_task("ns.F_1")["deps"] == ["b"]
    put(s, deps=[])
    assert take(s)["task_id"] == "ns.F_1"


def test_many_are_put_at_once_or_none(make: Make) -> None:
    s = make()
    good = [{"task_id": f"ns.F_{i}", "family": "ns.F", "deps": [f"ns.F_{i - 1}"] if i else []} for i in range(20)]
    for bad, where in (
        ({"deps": ["ns.F_17"]}, "deps"),
        ({"deps": [1]}, "deps"),
        ({"deps": ["ns.F_1", ""]}, "deps"),
        ({"capabilities": [""]}, "capabilities"),
        ({"priority": "high"}, "priority"),
        ({"resources": {"db": -1}}, "resources.db"),
        ({"params": []}, "params"),
        ({"capabilities": "gpu"}, "capabilities"),
        ({"retry_policy": {"retries": 1}}, "retry_policy"),
        ({"family": ""}, "family"),
        ({"task_id": "x" * 501}, "task_id"),
        ({"prams": {}}, "prams"),
    ):
        with pytest.raises(BadArgument) as caught:
            s.rest_put_tasks(tasks=[*good[:17], {**good[17], **bad}, *good[18:]])
        assert caught.value.argument == f"tasks[17].{where}"
        assert s.take_changes().records == []
        assert not s.tasks
    with pytest.raises(BadArgument, match=r"tasks\[0\].family: is missing"):
        s.rest_put_tasks(tasks=[{"task_id": "x"}])
    with pytest.raises(BadArgument, match=r"tasks\[0\].prams: is no field; expected params, perhaps"):
        s.rest_put_tasks(tasks=[{"task_id": "x", "family": "F", "prams": {}}])
    assert s.rest_put_tasks(tasks=[*good, good[3]]) == {"added": 20, "known": 1}
    assert s.rest_put_tasks(tasks=good) == {"added": 0, "known": 20}
    assert len([r for r in s.take_changes().records if isinstance(r, TaskPut)]) == 20
    check(s)
    for i in range(20):
        run = take(s)
        assert run["task_id"] == f"ns.F_{i}"
        tell(s, run, "DONE")


# -- keeping -------------------------------------------------------------------------------------------------


def test_a_submitted_task_waits_for_its_worker_however_long(make: Make, clock: Clock) -> None:
    s = make()
    put(s)
    s.add_task(task_id="stock", worker="w")
    for _ in range(3):
        clock.now += 100_000
        s.prune()
    assert list(s.tasks) == ["ns.F_1"]
    assert s.worker_list() == []
    assert s.rest_workers() == []
    again = make()
    again.restore(s.take_changes().records)
    again.started()
    clock.now += 100_000
    again.prune()
    clock.now += 700
    again.prune()
    assert take(again)["task_id"] == "ns.F_1"


@pytest.mark.parametrize("finish", ["DONE", "done", "cancel"])
def test_a_finished_task_ages_out_like_any_other(make: Make, clock: Clock, finish: str) -> None:
    s = make()
    put(s)
    if finish == "DONE":
        tell(s, take(s), "DONE")
    elif finish == "done":
        s.rest_done("ns.F_1")
    else:
        s.rest_cancel("ns.F_1")
    s.prune()
    clock.now += 599
    s.prune()
    assert "ns.F_1" in s.tasks
    clock.now += 2
    s.prune()
    assert not s.tasks


def test_what_a_submitted_task_still_needs_does_not_age_out(make: Make, clock: Clock) -> None:
    s = make()
    put(s, "ns.A_1")
    put(s, "ns.B_1", deps=["ns.A_1", "ns.C_1"])
    tell(s, take(s), "DONE")
    for _ in range(5):
        clock.now += 601
        s.prune()
    assert s.tasks["ns.A_1"].status == "DONE"
    put(s, "ns.C_1")
    tell(s, take(s), "DONE")
    tell(s, take(s), "DONE")
    for _ in range(3):
        clock.now += 1300
        s.prune()
    assert not s.tasks


# -- what people do ------------------------------------------------------------------------------------------


def test_a_cancelled_task_is_run_by_nobody_until_it_is_retried(make: Make, clock: Clock) -> None:
    s = make()
    put(s)
    assert s.rest_cancel("ns.F_1", reason="wrong date") == {"task_id": "ns.F_1", "status": "DISABLED", "changed": True}
    assert not s.rest_cancel("ns.F_1")["changed"]
    assert s.rest_take(worker="w") is None
    assert "cancelled (wrong date)" in s.why("ns.F_1")["reason"]
    clock.now += 590
    s.prune()
    assert s.rest_retry("ns.F_1") == {"task_id": "ns.F_1", "status": "PENDING", "changed": True}
    clock.now += 100_000
    s.prune()
    assert take(s)["task_id"] == "ns.F_1"
    assert s.rest_task("ns.F_1")["cancelled"] is None


@pytest.mark.parametrize(
    ("report", "after"), [("FAILED", "DISABLED"), ("PENDING", "DISABLED"), ("silence", "DISABLED"), ("DONE", "DONE")]
)
def test_a_running_task_that_is_cancelled_is_stopped_and_not_run_again(
    make: Make, clock: Clock, report: str, after: str
) -> None:
    s = make(retry_delay=0)
    put(s)
    run = take(s)
    assert s.rest_cancel("ns.F_1", "wrong date")["status"] == "RUNNING"
    assert "running on w" in s.why("ns.F_1")["reason"]
    assert "is cancelled (wrong date)" in s.why("ns.F_1")["reason"]
    cancel = {"name": "cancel", "task_id": "ns.F_1", "attempt": 1}
    for _ in range(2):
        assert tell(s, run, "RUNNING")["commands"] == [cancel]
    again = make(retry_delay=0)
    again.restore(s.take_changes().records)
    assert again.rest_heartbeat(worker="w")["commands"] == [cancel]
    if report == "silence":
        clock.now += 61
        s.prune()
    else:
        tell(s, run, report)
    assert s.rest_task("ns.F_1")["status"] == after
    assert s.rest_task("ns.F_1")["failures"] == 0
    clock.now += 500
    s.prune()
    assert s.rest_take(worker="w2") is None
    assert tell(s, run, "RUNNING")["commands"] == []


def test_a_retry_forgives_failures(make: Make) -> None:
    s = make(retry_count=2)
    put(s)
    for _ in range(2):
        tell(s, take(s), "FAILED")
        s.forgive_failures("ns.F_1")
    assert s.rest_task("ns.F_1")["status"] == "DISABLED"
    assert s.rest_retry("ns.F_1")["status"] == "PENDING"
    assert not s.rest_retry("ns.F_1")["changed"]
    tell(s, take(s), "FAILED")
    task = s.rest_task("ns.F_1")
    assert (task["status"], task["failures"], task["failed_in_row"]) == ("FAILED", 1, 1)
    assert s.rest_retry("ns.F_1")["changed"]


def test_who_reports_a_task_that_people_counted_as_done_is_not_refused(make: Make) -> None:
    s = make()
    put(s)
    run = take(s)
    assert s.rest_done("ns.F_1") == {"task_id": "ns.F_1", "status": "DONE", "changed": True}
    assert not s.rest_done("ns.F_1")["changed"]
    assert tell(s, run, "DONE")["accepted"] == ["ns.F_1"]
    assert tell(s, run, "RUNNING")["lost"][0]["reason"] == "the end of the run was reported, and the task is DONE"


@pytest.mark.parametrize("call", ["rest_task", "rest_retry", "rest_cancel", "rest_done"])
def test_an_unknown_task_is_said_to_be_unknown(make: Make, call: str) -> None:
    with pytest.raises(NoSuch, match="no task 'nothing'"):
        getattr(make(), call)(task_id="nothing")


def test_totals_of_resources_are_set_and_shown(make: Make) -> None:
    s = make(resources={"db": 2})
    put(s, resources={"db": 1, "other": 1})
    take(s)
    assert s.rest_resources() == [{"name": "db", "total": 2, "used": 1}, {"name": "other", "total": 1, "used": 1}]
    assert s.rest_put_resource(name="db", total=5) == {"name": "db", "total": 5, "used": 1}
    with pytest.raises(BadArgument, match="total"):
        s.rest_put_resource(name="db", total=-1)


# -- lists ---------------------------------------------------------------------------------------------------


def pages(s: Scheduler, **query: Any) -> list[str]:
    found: list[str] = []
    after = None
    for _ in range(1000):
        page = s.rest_tasks(after=after, **query)
        found += [task["task_id"] for task in page["tasks"]]
        after = page["next"]
        if after is None:
            return found
    raise AssertionError("it has no end")


@pytest.mark.parametrize("looked_at", [7, 10_000])
def test_every_task_is_on_one_page_of_the_list(make: Make, monkeypatch: pytest.MonkeyPatch, looked_at: int) -> None:
    monkeypatch.setattr("luigi_ha.appliance.engine.rest_views.LOOKED_AT", looked_at)
    s = make()
    for i in range(50):
        put(s, f"ns{i % 2}.F{i % 3}_{i}")
    for _ in range(10):
        tell(s, take(s), "DONE")
    every = [f"ns{i % 2}.F{i % 3}_{i}" for i in range(50)]
    for limit in (1, 3, 10, 50, 100):
        assert pages(s, limit=limit) == every
        assert pages(s, limit=limit, status="DONE") == every[:10]
        assert pages(s, limit=limit, status="PENDING", namespace="ns1") == every[11::2]
        assert pages(s, limit=limit, family="ns0.F0") == every[::6]
        assert pages(s, limit=limit, worker="w") == every[:10]
        assert pages(s, limit=limit, search="_4") == ["ns0.F1_4", *every[40:]]
        assert pages(s, limit=limit, prefix="ns1.F2_") == pages(s, family="ns1.F2") == every[5::6]
        assert pages(s, limit=limit, prefix="F0") == [task for task in every if ".F0_" in task]
        assert pages(s, limit=limit, prefix="ns") == every
        assert pages(s, limit=limit, prefix="s1.F") == []
    take(s, "w2")
    assert pages(s, status="RUNNING", worker="w2") == every[10:11]
    with pytest.raises(BadArgument, match="after"):
        s.rest_tasks(after="x")
    with pytest.raises(BadArgument, match="status"):
        s.rest_tasks(status="MAYBE")


def test_a_prefix_is_of_the_id_or_of_the_family_with_its_namespace_or_without(make: Make) -> None:
    s = make()
    s.rest_put_tasks(tasks=[{"task_id": "job-1", "family": "etl.Load"}, {"task_id": "Load", "family": "Plain"}])
    wanted = {"Lo": ["job-1", "Load"], "etl.L": ["job-1"], "job": ["job-1"], "Pl": ["Load"], "o": []}
    for prefix, found in wanted.items():
        assert pages(s, prefix=prefix) == found, prefix
    with pytest.raises(BadArgument, match="prefix"):
        s.rest_tasks(prefix=7)  # type: ignore[arg-type]


def test_the_list_keeps_its_order_when_most_tasks_have_gone(make: Make, clock: Clock) -> None:
    s = make(remove_delay=0)
    s.rest_put_tasks(tasks=[{"task_id": f"F_{i}", "family": "F"} for i in range(3000)])
    for i in range(3000):
        if i % 100:
            s.rest_done(f"F_{i}")
    s.prune()
    clock.now += 1
    s.prune()
    check(s)
    assert pages(s) == [f"F_{i}" for i in range(0, 3000, 100)]


def test_namespaces_and_the_queue_are_counted(make: Make) -> None:
    s = make(namespace_limits={"b": 1, "c": 2})
    for task_id in ("a.F_1", "a.F_2", "b.F_1", "b.F_2", "G_1"):
        put(s, task_id)
    put(s, "a.F_3", deps=["a.F_1"])
    assert s.rest_queue() == {"ready": 4, "pending": 6, "running": 0}  # of b only one may run at once
    tell(s, take(s), "DONE")
    take(s)
    take(s)
    assert s.rest_namespaces() == [
        {"name": "", "counts": {"PENDING": 1}, "limit": None},
        {"name": "a", "counts": {"DONE": 1, "PENDING": 1, "RUNNING": 1}, "limit": None},
        {"name": "b", "counts": {"PENDING": 1, "RUNNING": 1}, "limit": 1},
        {"name": "c", "counts": {}, "limit": 2},
    ]
    assert s.rest_queue() == {"ready": 2, "pending": 3, "running": 2}


def test_a_worker_is_shown_with_what_it_runs_and_offers(make: Make, clock: Clock) -> None:
    s = make()
    put(s)
    take(s, slots=2, capabilities=["gpu"], namespaces=["ns"])
    [shown] = s.rest_workers()
    assert shown == {
        "worker_id": "w", "state": "active", "started_at": clock.now, "last_active": clock.now, "slots": 2,
        "running": 1, "assistant": True,
        "info": {"assistant": True, "workers": 2, "capabilities": ["gpu"], "namespaces": ["ns"]},
    }  # fmt: skip
    assert [task["task_id"] for task in s.rest_worker("w")["tasks"]] == ["ns.F_1"]
    with pytest.raises(NoSuch):
        s.rest_worker("nobody")


@pytest.mark.parametrize(
    ("prepare", "expected"),
    [
        (lambda s: None, "No live worker can run it"),
        (lambda s: s.rest_take(worker="w", families=["ns.G"]), "No live worker takes tasks of ns.F"),
        (lambda s: s.rest_take(worker="w"), "No live worker that takes it offers big, gpu"),
        (lambda s: s.rest_take(worker="w", capabilities=["gpu", "big"], families=["ns.F", "ns.G"]), "running on w"),
    ],
)  # fmt: skip
def test_why_says_what_workers_do_not_offer(make: Make, prepare: Callable[[Scheduler], Any], expected: str) -> None:
    s = make()
    put(s, capabilities=["gpu", "big"])
    prepare(s)
    answer = s.why("ns.F_1")
    assert expected in answer["reason"]
    if "No live" in expected:
        assert answer["facts"][0]["wanted_by"] == ["a submission"]
