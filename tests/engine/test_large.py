"""Large calls in portions leave what the call alone would have left, whatever happens between two portions."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from luigi_ha.appliance.engine import BadArgument, Conflict, Scheduler, Settings, indexes, large, lifecycle, submissions
from luigi_ha.appliance.engine.links import dependents_of
from tests.engine.invariants import check

Make = Callable[..., Scheduler]


@pytest.fixture(autouse=True)
def _small_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "LARGE", 10)
    monkeypatch.setattr(large, "PORTION", 3)


def in_portions(s: Scheduler, method: str, between: Callable[[int], None] = lambda _n: None, **arguments: Any) -> Any:
    """The call as the API makes it."""
    portions = s.portions(method, arguments)
    assert portions is not None, "not large"
    number = 0
    while True:
        try:
            next(portions)
        except StopIteration as ended:
            return getattr(s, method)(**ended.value)
        between(number)
        number += 1


def told(s: Scheduler) -> dict[str, Any]:
    """What people and workers can see of each task."""
    return {
        task.id: (
            task.status, task.priority, sorted(task.deps), task.unmet, task.blocked, task.stakes.key, task.team.key,
            task.family, task.params, task.demand.text, task.runnable, task.remove_at,
        )
        for task in s.tasks.values()
    }  # fmt: skip


def a_world(make: Make, chance: random.Random) -> Scheduler:
    """A scheduler in which some of the tasks are known: waiting, done, failed, disabled."""
    s = make()
    for n in range(chance.randint(0, 30)):
        deps = [f"T_{m}" for m in chance.sample(range(40), chance.randint(0, 3)) if m < n]
        s.add_task(task_id=f"T_{n}", worker=chance.choice("vw"), deps=deps, priority=chance.randint(0, 3))
        status = chance.choice(["PENDING", "PENDING", "DONE", "FAILED", "DISABLED"])
        s.add_task(task_id=f"T_{n}", worker="w", status=status)
    return s


@pytest.mark.parametrize("seed", range(60))
def test_add_task_in_portions_is_add_task(make: Make, seed: int) -> None:
    chance = random.Random(seed)
    at_once, by_and_by = a_world(make, random.Random(seed)), a_world(make, random.Random(seed))
    arguments = {
        "task_id": chance.choice(["Root_1", "T_3"]),
        "worker": "w",
        "family": "Root",
        "deps": [f"T_{n}" for n in chance.sample(range(4, 60), 40)],
        "priority": chance.randint(0, 5),
        "assistant": chance.random() < 0.2,
        "status": chance.choice(["PENDING", "PENDING", "FAILED", "RUNNING"]),
    }
    if chance.random() < 0.3:
        arguments["new_deps"] = [f"N_{n}" for n in range(15)]
    at_once.add_task(**arguments)
    in_portions(by_and_by, "add_task", **arguments)
    check(by_and_by)
    assert told(by_and_by) == told(at_once)
    # Again: it finds everything done.
    in_portions(by_and_by, "add_task", **arguments)
    at_once.add_task(**arguments)
    assert told(by_and_by) == told(at_once)


@pytest.mark.parametrize("seed", range(20))
def test_what_portions_changed_rebuilds_the_engine(make: Make, seed: int) -> None:
    chance = random.Random(seed)
    s = a_world(make, chance)
    log = list(s.take_changes().records)

    def between(_number: int) -> None:
        log.extend(s.take_changes().records)
        check(s)

    deps = [f"T_{n}" for n in chance.sample(range(60), 40)]
    in_portions(s, "add_task", between, task_id="Root_1", worker="w", deps=deps, priority=2)
    log.extend(s.take_changes().records)
    copy = make()
    copy.restore(log)
    check(copy)
    assert told(copy) == told(s)


def test_nothing_runs_too_early_between_two_portions(make: Make) -> None:
    s = make()
    s.add_task(task_id="Root_1", worker="v")  # ready, until it is told what it waits for
    s.add_task(task_id="T_0", worker="w")

    def between(number: int) -> None:
        work = s.get_work(worker="w")["task_id"]
        assert work in (None, "T_0"), (number, work)
        s.ping(worker="w")
        s.prune()

    deps = [f"T_{n}" for n in range(50)]
    in_portions(s, "add_task", between, task_id="New_1", worker="w", deps=deps)
    assert s.tasks["New_1"].unmet == 50


def test_a_dependency_that_ends_between_two_portions_is_counted(make: Make) -> None:
    s = make()
    for n in range(30):
        s.add_task(task_id=f"T_{n}", worker="w")

    def between(number: int) -> None:
        if number < 30:
            s.add_task(task_id=f"T_{number}", worker="w", status="DONE")

    in_portions(s, "add_task", between, task_id="Root_1", worker="w", deps=[f"T_{n}" for n in range(30)])
    check(s)
    assert s.tasks["Root_1"].unmet == sum(s.tasks[f"T_{n}"].status != "DONE" for n in range(30))


def test_a_wrong_argument_is_found_before_anything_changes(make: Make) -> None:
    deps = [f"T_{n}" for n in range(20)]
    wrong: list[dict[str, Any]] = [
        {"deps": [*deps, 5]}, {"status": "MAYBE"}, {"resources": [1]}, {"worker": "@x"}, {"family": 3},
        {"owners": "me"}, {"deps": [*deps, "x" * 501]}, {"new_deps": [*deps, None]},
    ]  # fmt: skip
    for more in wrong:
        s = make()
        with pytest.raises(BadArgument):
            in_portions(s, "add_task", **{"task_id": "Root_1", "worker": "w", "deps": deps, **more})
        assert not s.tasks, more


@pytest.mark.parametrize("seed", range(20))
def test_many_tasks_put_in_portions_are_put(make: Make, seed: int) -> None:
    chance = random.Random(seed)
    at_once, by_and_by = a_world(make, random.Random(seed)), a_world(make, random.Random(seed))
    tasks = [
        {
            "task_id": f"T_{n}",
            "family": "T",
            "deps": [f"T_{m}" for m in chance.sample(range(n + 1, 90), chance.choice([0, 2, 15]))],
            "priority": chance.randint(0, 3),
        }
        for n in chance.sample(range(60), 40)
    ]
    first = at_once.rest_put_tasks(tasks=tasks)
    assert in_portions(by_and_by, "rest_put_tasks", tasks=tasks) == first
    check(by_and_by)
    assert told(by_and_by) == told(at_once)
    with pytest.raises(BadArgument, match="tasks\\[40\\]"):
        in_portions(by_and_by, "rest_put_tasks", tasks=[*tasks, {"task_id": "new", "family": 1}])
    assert "new" not in by_and_by.tasks


def test_a_task_with_many_dependents_reaches_them_all(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes, "AT_ONCE", 10)
    monkeypatch.setattr(lifecycle, "AT_ONCE", 10)
    s = make()
    s.add_task(task_id="Base_1", worker="w")
    for n in range(100):
        s.add_task(task_id=f"T_{n}", worker="w", deps=["Base_1"])
        s.add_task(task_id=f"U_{n}", worker="w", deps=[f"T_{n}"])

    def settle() -> None:
        assert s.unsettled
        while s.unsettled:
            s.settle(7)
        check(s)

    s.add_task(task_id="Base_1", worker="w", status="DISABLED")
    check(s)  # what holds dependents back reaches them at once: none of them may run too early
    assert all(s.tasks[f"U_{n}"].blocked for n in range(100))
    s.add_task(task_id="Base_1", worker="w", status="DONE")
    s.add_task(task_id="T_5", worker="w", deps=[])  # leaves before it was told
    s.add_task(task_id="T_200", worker="w", deps=["Base_1"])  # comes after the news
    settle()
    assert all(s.tasks[f"T_{n}"].unmet == 0 for n in range(100))
    assert not any(s.tasks[f"U_{n}"].blocked for n in range(100))
    s.add_task(task_id="Top_1", worker="w", deps=[f"U_{n}" for n in range(9)], priority=9)
    s.add_task(task_id="Wide_1", worker="w", deps=[f"U_{n}" for n in range(100)], priority=10)
    settle()
    assert {s.tasks[f"T_{n}"].priority for n in range(100)} == {10}


def test_dependents_of_a_task_that_is_no_longer_done_do_not_run(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes, "AT_ONCE", 10)
    s = make(stable_done_cooldown_secs=0)
    s.add_task(task_id="Base_1", worker="w")
    for n in range(100):
        s.add_task(task_id=f"T_{n}", worker="w", deps=["Base_1"])
    s.add_task(task_id="Base_1", worker="w", status="DONE")
    s.settle(30)
    s.add_task(task_id="Base_1", worker="w", status="PENDING")
    assert s.get_work(worker="w")["task_id"] == "Base_1"
    while s.unsettled:
        s.settle(7)
    check(s)
    assert s.get_work(worker="w", current_tasks=["Base_1"])["task_id"] is None
    assert "becomes ready" not in s.why("T_99")["reason"]


def test_a_refused_stale_report_leaves_its_task_alone(make: Make) -> None:
    s = make()
    s.add_task(task_id="A_1", worker="w")
    first = s.get_work(worker="w", runs=True)
    s.add_task(task_id="A_1", worker="w", status="FAILED", run_id=first["run_id"], attempt=first["attempt"], expl="x")
    s.forgive_failures("A_1")
    stale = {"run_id": first["run_id"], "attempt": first["attempt"], "new_deps": [f"N_{n}" for n in range(50)]}
    in_portions(s, "add_task", task_id="A_1", worker="w", status="PENDING", **stale)  # that run has ended: no news
    assert s.tasks["A_1"].deps == ()
    assert s.get_work(worker="w", runs=True)["attempt"] == 2
    with pytest.raises(Conflict):
        in_portions(s, "add_task", task_id="A_1", worker="w", status="PENDING", **stale)
    assert s.tasks["A_1"].deps == ()


def test_a_task_put_with_many_dependencies_is_new_once(make: Make) -> None:
    s = make()
    deps = [f"N_{n}" for n in range(50)]
    assert in_portions(s, "rest_put_task", task_id="A_1", family="A", deps=deps)["created"]
    assert not in_portions(s, "rest_put_task", task_id="A_1", family="A", deps=deps)["created"]


def test_why_can_be_asked_while_a_large_change_settles(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes, "AT_ONCE", 10)
    s = make()
    s.add_task(task_id="Base_1", worker="w")
    for n in range(100):
        s.add_task(task_id=f"T_{n}", worker="w", deps=["Base_1"])
    s.add_task(task_id="Base_1", worker="w", status="DONE")
    told = {n: s.why(f"T_{n}")["reason"] for n in range(100)}
    assert any("becomes ready in a moment" in reason for reason in told.values())


def test_a_prune_does_not_look_at_all_above_each_task_again(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a submitted task awaits one that nobody else wants: found out once for all that have the same above."""
    monkeypatch.setattr(submissions, "MOST_ABOVE", 100)
    looks = [0]

    def counted(task: Any) -> Any:
        for dependent in dependents_of(task):
            looks[0] += 1
            yield dependent

    monkeypatch.setattr(submissions, "dependents_of", counted)
    now = [1e9]
    s = Scheduler(Settings(remove_delay=10, worker_disconnect_delay=10, prune_limit=1_000), clock=lambda: now[0])
    s.rest_put_task(task_id="Held_1", family="H")
    s.add_task(task_id="Gate_1", worker="w", deps=[f"D_{n}" for n in range(200)])
    for n in range(300):
        s.add_task(task_id=f"U_{n}", worker="w", deps=["Gate_1"])
    for _ in range(4):
        now[0] += 30.0
        s.prune()
    assert looks[0] < 3_000, f"{looks[0]} tasks were looked at to prune 501"
