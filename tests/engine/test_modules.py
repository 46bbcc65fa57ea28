"""Who gets which tasks, as far as modules go: what a client runs itself, what a worker cannot load and gives back."""

from collections.abc import Callable
from typing import Any

import pytest

from luigi_ha.appliance.engine import BadArgument, Scheduler
from tests.engine.conftest import Clock
from tests.engine.invariants import check

Make = Callable[..., Scheduler]
CANNOT = {"modules": {"theirs": "ModuleNotFoundError: No module named 'theirs'"}}


def describe(s: Scheduler, client: str, task_id: str, module: str | None = "theirs", **fields: Any) -> None:
    s.add_task(worker=client, task_id=task_id, family=task_id.partition("_")[0], module=module, params={}, **fields)


def ask(s: Scheduler, worker: str = "w", modules: Any = ("etl",), **offer: Any) -> dict[str, Any]:
    return s.get_work(worker=worker, assistant=True, runs=True, modules=list(modules), **offer)


def given(s: Scheduler, **asked: Any) -> str | None:
    task_id: str | None = ask(s, **asked)["task_id"]
    return task_id


def give_back(s: Scheduler, reply: dict[str, Any], worker: str = "w", why: str = "cannot load it") -> dict[str, Any]:
    task_id = reply["task_id"] or reply["batch_task_ids"][0]
    run = {"task_id": task_id, "attempt": reply["attempt"], "run_id": reply["run_id"]}
    return s.rest_heartbeat(worker=worker, tasks=[{**run, "status": "PENDING", "error": why}])


# -- what clients run themselves ------------------------------------------------------------------------------


def test_a_worker_leaves_to_a_client_what_it_runs_itself_unless_it_is_of_its_modules(make: Make) -> None:
    s = make()
    describe(s, "colleague", "A_1", "__main__", priority=9)
    describe(s, "colleague", "B_2", "theirs", priority=8)
    describe(s, "colleague", "C_3", "etl.load")
    s.add_worker("colleague", [["workers", 1]])
    assert given(s) == "C_3"
    assert given(s) is None
    assert "next worker of colleague" in s.why("A_1")["reason"]
    assert s.get_work(worker="colleague")["task_id"] == "A_1"
    check(s)


@pytest.mark.parametrize("info", [[["workers", 0]], [["assistant", True], ["workers", 3]]])
def test_a_worker_takes_what_a_client_does_not_run_itself(make: Make, info: list[Any]) -> None:
    s = make()
    describe(s, "client", "A_1")
    s.add_worker("client", info)
    assert given(s) == "A_1"


def test_a_client_that_has_not_said_yet_is_waited_for(make: Make, clock: Clock) -> None:
    s = make()
    describe(s, "client", "A_1")
    assert given(s) is None
    clock.now += 9
    describe(s, "client", "A_2")  # it still describes
    clock.now += 9
    assert given(s) is None
    clock.now += 2
    assert given(s) == "A_1"


def test_who_asks_for_work_runs_its_tasks_itself(make: Make, clock: Clock) -> None:
    s = make()
    describe(s, "client", "A_1")
    describe(s, "client", "A_2")
    assert s.get_work(worker="client")["task_id"] == "A_1"
    clock.now += 50
    assert given(s) is None


def test_what_a_client_left_behind_is_for_workers(make: Make, clock: Clock) -> None:
    s = make()
    describe(s, "client", "A_1")
    s.add_worker("client", [["workers", 4]])
    clock.now += 30
    assert given(s) is None
    clock.now += 31
    s.prune()
    assert given(s) == "A_1"


def test_tasks_submitted_by_rest_and_those_of_a_worker_itself_are_for_workers(make: Make) -> None:
    s = make()
    s.rest_put_task(task_id="A_1", family="A", module="any")
    s.rest_put_task(task_id="B_1", family="B")
    describe(s, "w", "C_1", "found.while.running", assistant=True)
    assert {given(s), given(s), given(s)} == {"A_1", "B_1", "C_1"}


def test_an_assistant_of_luigis_gets_what_it_always_got(make: Make) -> None:
    s = make()
    describe(s, "client", "A_1", "__main__")
    s.add_worker("client", [["workers", 1]])
    assert s.get_work(worker="assistant", assistant=True)["task_id"] == "A_1"


def test_reserved_tasks_take_the_resources_of_nobody_else(make: Make) -> None:
    s = make(resources={"db": 2})
    describe(s, "client", "A_1", priority=9, resources={"db": 1})
    s.add_worker("client", [["workers", 1]])
    s.rest_put_task(task_id="B_1", family="B", resources={"db": 1})
    assert given(s) == "B_1"


def test_a_batch_holds_nothing_that_is_kept_for_others(make: Make) -> None:
    s = make()
    for client, task_id in (("own", "F_1"), ("theirs", "F_2"), ("own", "F_3")):
        s.add_task(worker=client, task_id=task_id, family="F", module="any", params={"b": task_id}, batchable=True)
    s.add_worker("own", [["workers", 0]])
    s.add_worker("theirs", [["workers", 1]])
    s.add_task_batcher("w", "F", ["b"])
    assert ask(s)["batch_task_ids"] == ["F_1", "F_3"]


# -- what cannot be loaded ------------------------------------------------------------------------------------


def test_a_task_that_is_given_back_has_not_failed_and_is_for_somebody_else(make: Make) -> None:
    s = make(retry_count=1)
    s.rest_put_task(task_id="A_1", family="A", module="theirs", resources={"db": 1})
    s.rest_put_task(task_id="B_1", family="B", module="etl")
    reply = ask(s)
    assert reply["task_id"] == "A_1"
    answer = give_back(s, reply)
    assert (answer["accepted"], answer["lost"]) == (["A_1"], [])
    assert give_back(s, reply)["lost"] == []  # said again, because the answer was lost
    assert given(s, cannot_load=CANNOT) == "B_1"
    shown = s.rest_task("A_1")
    assert (shown["status"], shown["failures"], shown["failed_in_row"]) == ("PENDING", 0, 0)
    assert given(s, worker="other", modules=["theirs"]) == "A_1"
    assert s.rest_task("A_1")["attempt"] == 2
    check(s)


@pytest.mark.parametrize(
    ("cannot", "gets"),
    [
        ({"modules": {"a": "why"}}, {"F_4", "G_3"}),
        ({"modules": {"b": "why"}}, {"F_1", "F_2", "F_4"}),
        ({"families": {"a:F": "why"}}, {"F_4", "G_3"}),
        ({"families": {"c:F": "why", ":F": "why", "a:G": "why"}}, {"F_1", "F_2", "G_3"}),
        ({"tasks": {"F_1": "why"}}, {"F_2", "F_4", "G_3"}),
        ({"tasks": {"F_1": "why", "F_2": "why"}, "modules": {"b": "why"}}, {"F_4"}),
        ({}, {"F_1", "F_2", "G_3", "F_4"}),
    ],
)
@pytest.mark.parametrize("needs", [None, {"db": 1}])
def test_a_worker_is_not_given_what_it_cannot_load(
    make: Make, cannot: dict[str, Any], gets: set[str], needs: dict[str, float] | None
) -> None:
    s = make(resources={"db": 9})
    for task_id, module in (("F_1", "a"), ("F_2", "a"), ("G_3", "b"), ("F_4", "c")):
        s.rest_put_task(task_id=task_id, family=task_id[0], module=module, resources=needs)
    found = {task_id for _ in range(5) if (task_id := _next(s, cannot))}
    assert found == gets
    check(s)


def _next(s: Scheduler, cannot: dict[str, Any]) -> str | None:
    reply = s.get_work(worker="w", assistant=True, runs=True, modules=["x"], cannot_load=cannot)
    task_id: str | None = reply["task_id"]
    return task_id


def test_a_worker_that_loads_only_some_modules_is_given_no_others(make: Make) -> None:
    s = make()
    for n, module in enumerate(("theirs", "etlx", "etl.load.more")):
        s.rest_put_task(task_id=f"F_{n}", family="F", module=module)
    assert given(s, only_modules=["etl"]) == "F_2"
    assert given(s, only_modules=["etl"]) is None
    assert "loads only etl" in s.why("F_0")["reason"]


def test_a_batch_that_is_given_back_goes_back_whole(make: Make) -> None:
    s = make()
    for n in (1, 2):
        s.add_task(worker="own", task_id=f"F_{n}", family="F", module="m", params={"b": n}, batchable=True)
    s.add_worker("own", [["workers", 0]])
    s.add_task_batcher("w", "F", ["b"])
    reply = ask(s)
    assert reply["batch_task_ids"] == ["F_1", "F_2"]
    assert give_back(s, reply)["lost"] == []
    assert [s.rest_task(task_id)["status"] for task_id in ("F_1", "F_2")] == ["PENDING", "PENDING"]
    assert ask(s, cannot_load={"modules": {"m": "no"}}).get("batch_task_ids") is None
    check(s)


def test_a_cancelled_task_that_is_given_back_stays_cancelled(make: Make) -> None:
    s = make()
    s.rest_put_task(task_id="A_1", family="A", module="theirs")
    reply = ask(s)
    s.rest_cancel(task_id="A_1")
    give_back(s, reply)
    assert s.rest_task("A_1")["status"] == "DISABLED"


def test_why_names_the_module_that_no_worker_has_and_what_each_said(make: Make) -> None:
    s = make()
    s.rest_put_task(task_id="A_1", family="A", module="theirs")
    assert "module theirs" in s.why("A_1")["reason"]  # no worker at all
    give_back(s, ask(s))
    ask(s, cannot_load=CANNOT)
    answer = s.why("A_1")
    assert answer["reason"] == (
        "No live worker can load it (module theirs): w: ModuleNotFoundError: No module named 'theirs'."
    )
    assert {"worker": "w", "cannot_load": CANNOT["modules"]["theirs"]} in answer["facts"]
    ask(s, worker="other", modules=["theirs"])
    assert "running on other" in s.why("A_1")["reason"]


def test_a_worker_that_starts_anew_is_asked_anew(make: Make) -> None:
    s = make()
    s.rest_put_task(task_id="A_1", family="A", module="theirs")
    assert given(s, cannot_load=CANNOT) is None
    assert s.worker_list()[0]["cannot_load"] == CANNOT
    assert given(s) == "A_1"
    assert "cannot_load" not in s.worker_list()[0]


@pytest.mark.parametrize(
    ("offer", "where"),
    [
        ({"modules": "etl"}, "modules"),
        ({"modules": [1]}, "modules"),
        ({"only_modules": {"etl": 1}}, "only_modules"),
        ({"cannot_load": ["etl"]}, "cannot_load"),
        ({"cannot_load": {"module": {}}}, "cannot_load.module"),
        ({"cannot_load": {"modules": ["etl"]}}, "cannot_load.modules"),
        ({"cannot_load": {"tasks": {"t": 1}}}, "cannot_load.tasks.t"),
        ({"cannot_load": {"tasks": {f"t{n}": "" for n in range(1001)}}}, "cannot_load.tasks"),
    ],
)
def test_an_offer_that_makes_no_sense_is_refused(make: Make, offer: dict[str, Any], where: str) -> None:
    s = make()
    with pytest.raises(BadArgument) as refused:
        s.get_work(worker="w", **offer)
    assert refused.value.argument == where
    assert s.worker_list() == []


@pytest.mark.parametrize("info", [{"modules": 3}, {"cannot_load": "x"}, {"workers": "many"}, {"workers": True}])
def test_a_stock_worker_may_say_of_itself_what_it_likes(make: Make, info: dict[str, Any]) -> None:
    s = make()
    s.add_worker("w", info)
    describe(s, "w", "A_1")
    assert s.get_work(worker="w")["task_id"] == "A_1"
    describe(s, "w", "A_2")
    assert given(s, worker="other") is None
    assert s.why("A_2")["reason"]
