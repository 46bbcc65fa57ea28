"""Workers on the REST API, and our own daemon on the RPCs: what they get, and whose reports count."""

from collections.abc import Callable
from typing import Any

import pytest

from luigi_ha.appliance.engine import BadArgument, Conflict, NoSuch, Scheduler
from luigi_ha.appliance.engine.changes import WorkerPut
from tests.engine.conftest import Clock

Make = Callable[..., Scheduler]
RUN = {"task_id": "a", "attempt": 1, "run_id": "r"}


def put(s: Scheduler, task_id: str = "ns.F_1", **fields: Any) -> None:
    s.rest_put_task(task_id=task_id, **{"family": task_id.rpartition("_")[0], **fields})


def take(s: Scheduler, worker: str = "w", **offer: Any) -> dict[str, Any]:
    task = s.rest_take(worker=worker, **offer)
    assert task is not None
    return {name: task[name] for name in ("task_id", "attempt", "run_id")}


def tell(s: Scheduler, run: dict[str, Any], status: str, worker: str = "w", **said: Any) -> dict[str, Any]:
    return s.rest_heartbeat(worker=worker, tasks=[{**run, "status": status, **said}])


# -- taking ---------------------------------------------------------------------------------------------------


def test_a_worker_gets_the_first_task_in_luigis_order_with_its_run(make: Make, clock: Clock) -> None:
    s = make()
    put(s, "ns.F_1", params={"day": "1"}, module="m")
    put(s, "ns.F_2", priority=5, resources={"db": 1})
    first = s.rest_take(worker="w", slots=3)
    assert first is not None
    assert (first["task_id"], first["attempt"], first["priority"], first["resources"]) == ("ns.F_2", 1, 5, {"db": 1})
    assert first["deadline"] == clock.now + 60
    second = s.rest_take(worker="w", slots=3)
    assert second is not None
    assert (second["family"], second["module"], second["params"]) == ("ns.F", "m", {"day": "1"})
    assert second["run_id"] != first["run_id"]
    assert s.rest_take(worker="w", slots=3) is None
    assert s.worker_list()[0]["workers"] == 3


@pytest.mark.parametrize(
    ("offer", "gets"),
    [
        ({}, "a.b.F_1"),
        ({"namespaces": ["a"]}, "a.b.F_1"),
        ({"namespaces": ["a.b"]}, "a.b.F_1"),
        ({"namespaces": ["ab"]}, "ab.F_2"),  # a namespace ends at a dot
        ({"namespaces": [""]}, "G_3"),
        ({"families": ["G", "ab.F"]}, "ab.F_2"),
        ({"families": ["ab.F"], "namespaces": ["a"]}, None),
        ({"families": ["G", "none"], "capabilities": ["gpu"]}, "G_3"),
        ({"namespaces": ["h"]}, None),
        ({"namespaces": ["h"], "capabilities": ["gpu"]}, None),
        ({"namespaces": ["h"], "capabilities": ["big", "gpu", "more"]}, "h.F_4"),
        ({"namespaces": [], "families": []}, "a.b.F_1"),
    ],
)
def test_a_worker_gets_what_it_offers_to_take(make: Make, offer: dict[str, Any], gets: str | None) -> None:
    for ask in (
        lambda s: s.rest_take(worker="w", **offer),
        lambda s: s.get_work(worker="w", assistant=True, runs=True, **offer),
    ):
        s = make()
        put(s, "a.b.F_1")
        put(s, "ab.F_2")
        put(s, "G_3")
        put(s, "h.F_4", capabilities=["gpu", "big"])
        found = ask(s)
        assert (found and found["task_id"]) == gets


def test_a_worker_that_can_run_a_task_but_does_not_offer_what_it_needs_does_not_get_it(make: Make) -> None:
    s = make()
    put(s, capabilities=["gpu"])
    s.add_task(task_id="ns.F_1", worker="stock", family="ns.F")
    assert s.get_work(worker="stock")["task_id"] is None
    assert "offers gpu" in s.why("ns.F_1")["reason"]
    assert s.get_work(worker="stock", capabilities=["gpu"])["task_id"] == "ns.F_1"


def test_tasks_of_others_that_come_first_take_no_slot_of_who_does_not_take_them(make: Make) -> None:
    s = make(resources={"db": 1})
    put(s, "other.F_1", priority=9, resources={"db": 1})
    put(s, "mine.F_2", resources={"db": 1})
    assert take(s, namespaces=["mine"])["task_id"] == "mine.F_2"
    assert s.rest_take(worker="w2") is None  # the resource is in use


def test_a_run_whose_reply_was_lost_is_offered_again(make: Make) -> None:
    s = make()
    put(s)
    run = take(s, holding=[])
    put(s, "ns.F_2")
    assert take(s, holding=[]) == run
    assert take(s, holding=None)["task_id"] == "ns.F_2"
    s.pause()
    assert s.rest_take(worker="w", holding=[run])["task_id"] == "ns.F_2"  # type: ignore[index]
    stale = {**run, "run_id": "of an earlier attempt"}
    assert take(s, holding=[stale]) == run


def test_no_work_is_handed_out_while_paused(make: Make) -> None:
    s = make()
    put(s)
    s.rest_put_scheduler(paused=True)
    assert s.rest_take(worker="w") is None
    assert not s.anything_ready
    assert s.rest_put_scheduler(paused=False) == {"paused": False, "pause_enabled": True}
    assert s.anything_ready
    take(s)


# -- reporting --------------------------------------------------------------------------------------------------


def test_a_report_of_the_current_run_counts_and_may_be_repeated(make: Make, clock: Clock) -> None:
    s = make(retry_count=5)
    put(s)
    run = take(s)
    told = tell(s, run, "RUNNING", progress=40, message="halfway", tracking_url="http://x")
    assert (told["accepted"], told["lost"], told["commands"], told["state"]) == (["ns.F_1"], [], [], "active")
    assert {"progress": 40, "message": "halfway", "tracking_url": "http://x"}.items() <= s.rest_task("ns.F_1").items()
    for _ in range(2):
        assert tell(s, run, "FAILED", error="boom")["accepted"] == ["ns.F_1"]
    task = s.rest_task("ns.F_1")
    assert (task["status"], task["failed_in_row"], task["error"]) == ("FAILED", 1, "boom")
    clock.now += 61
    s.ping(worker="w")
    s.prune()
    assert tell(s, run, "FAILED")["accepted"] == ["ns.F_1"]
    assert s.rest_task("ns.F_1")["status"] == "PENDING"
    again = take(s)
    assert again["attempt"] == 2
    assert "attempt 2 has replaced it" in tell(s, run, "FAILED")["lost"][0]["reason"]
    assert tell(s, again, "DONE")["accepted"] == tell(s, again, "DONE")["accepted"] == ["ns.F_1"]
    assert s.rest_task("ns.F_1")["status"] == "DONE"


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"task_id": "nothing"}, "does not know the task"),
        ({"attempt": 2}, "there is no attempt 2: the last one is 1"),
        ({"run_id": "x"}, "attempt 1 has another run_id"),
    ],
)
def test_a_report_of_another_run_changes_nothing(make: Make, wrong: dict[str, Any], reason: str) -> None:
    s = make()
    put(s)
    run = take(s)
    s.take_changes()
    told = tell(s, {**run, **wrong}, "DONE")
    assert (told["accepted"], reason in told["lost"][0]["reason"]) == ([], True)
    assert s.take_changes().records == []
    assert s.rest_task("ns.F_1")["status"] == "RUNNING"


def test_a_report_by_another_worker_changes_nothing(make: Make) -> None:
    s = make()
    put(s)
    run = take(s)
    assert tell(s, run, "DONE", worker="w2")["lost"][0]["reason"] == "the run is that of w"
    with pytest.raises(Conflict, match="the run is that of w"):
        s.add_task(task_id="ns.F_1", worker="w2", status="DONE", attempt=1, run_id=run["run_id"])
    assert s.rest_task("ns.F_1")["status"] == "RUNNING"


def test_one_heartbeat_speaks_of_many_runs_and_what_is_lost_does_not_spoil_the_rest(make: Make) -> None:
    s = make()
    for i in range(3):
        put(s, f"ns.F_{i}")
    runs = [take(s, slots=3) for _ in range(3)]
    reports = [{**run, "status": "DONE"} for run in runs]
    told = s.rest_heartbeat(worker="w", tasks=[reports[0], {**reports[1], "run_id": "x"}, reports[2]])
    assert told["accepted"] == ["ns.F_0", "ns.F_2"]
    assert [lost["task_id"] for lost in told["lost"]] == ["ns.F_1"]


def test_who_was_silent_too_long_has_lost_its_run(make: Make, clock: Clock) -> None:
    s = make(retry_delay=0)
    put(s)
    run = take(s)
    clock.now = s.rest_heartbeat(worker="w")["deadline"]
    s.prune()
    assert s.rest_task("ns.F_1")["status"] == "RUNNING"
    clock.now += 1
    s.prune()
    assert "silent" in tell(s, run, "DONE")["lost"][0]["reason"]
    clock.now += 1
    s.prune()
    other = take(s, "w2")
    assert other["attempt"] == 2
    assert "attempt 2 has replaced it" in tell(s, run, "RUNNING")["lost"][0]["reason"]
    assert tell(s, other, "DONE", "w2")["accepted"] == ["ns.F_1"]


def test_new_dependencies_end_a_run_and_the_next_one_is_a_new_attempt(make: Make) -> None:
    s = make()
    put(s, deps=[])
    run = take(s)
    deps = ["ns.G_1", {"task_id": "ns.G_2", "family": "ns.G", "priority": 1}]
    for _ in range(2):
        assert tell(s, run, "PENDING", deps=deps)["accepted"] == ["ns.F_1"]
    put(s, "ns.G_1")
    assert s.rest_task("ns.F_1")["deps"] == ["ns.G_1", "ns.G_2"]
    for expected in ("ns.G_2", "ns.G_1"):
        found = take(s)
        assert found["task_id"] == expected
        tell(s, found, "DONE")
    again = take(s)
    assert (again["task_id"], again["attempt"]) == ("ns.F_1", 2)


def test_a_failed_run_of_a_rest_worker_is_mailed_as_any_other(make: Make) -> None:
    s = make(batch_emails=True, email_receivers=("ops@x",), retry_count=1)
    put(s)
    tell(s, take(s), "FAILED", error="boom")
    s.mailbox.send_email()  # type: ignore[union-attr]
    [mail] = s.take_changes().mails
    assert "boom" in mail.body
    assert "1 failure, 1 disable" in mail.subject


@pytest.mark.parametrize(
    ("call", "where"),
    [
        (lambda s: s.rest_take(worker="@submissions"), "worker"),
        (lambda s: s.rest_take(worker="w", slots=0), "slots"),
        (lambda s: s.rest_take(worker="w", slots=True), "slots"),
        (lambda s: s.rest_take(worker="w", namespaces="ns"), "namespaces"),
        (lambda s: s.rest_take(worker="w", holding=[{"task_id": "x"}]), "holding[0].attempt"),
        (lambda s: s.rest_take(worker="w", holding=[{**RUN, "at": 1}]), "holding[0].at"),
        (lambda s: s.rest_heartbeat(worker="w", tasks={}), "tasks"),
        (lambda s: s.rest_heartbeat(worker="w", tasks=[[]]), "tasks[0]"),
        (lambda s: s.rest_heartbeat(worker="w", slots="2"), "slots"),
        (lambda s: tell(s, RUN, "OVER"), "tasks[0].status"),
        (lambda s: tell(s, {**RUN, "attempt": 0}, "DONE"), "tasks[0].attempt"),
        (lambda s: tell(s, RUN, "DONE", deps=[]), "tasks[0].deps"),
        (lambda s: tell(s, RUN, "PENDING", deps=["a"]), "tasks[0].deps[0]"),
        (
            lambda s: tell(s, RUN, "PENDING", deps=[{"task_id": "b", "family": 1}]),
            "tasks[0].deps[0].family",
        ),
        (lambda s: s.ping(worker="@x"), "worker"),
        (lambda s: s.add_task(task_id="t", worker="@submissions"), "worker"),
        (lambda s: s.add_task(task_id="t", worker="w", attempt=1), "run_id"),
        (lambda s: s.add_task(task_id="t", worker="w", run_id="r"), "attempt"),
    ],
)  # fmt: skip
def test_a_bad_argument_is_named_with_its_place_and_changes_nothing(
    make: Make, call: Callable[[Scheduler], Any], where: str
) -> None:
    s = make()
    with pytest.raises(BadArgument) as caught:
        call(s)
    assert caught.value.argument == where
    assert s.take_changes().records == []
    assert not s.workers


# -- draining and commands ----------------------------------------------------------------------------------------


def test_a_draining_worker_gets_no_new_work_and_finishes_what_it_runs(make: Make) -> None:
    s = make()
    put(s)
    put(s, "ns.F_2")
    run = take(s)
    assert s.rest_drain(worker_id="w") == {"worker_id": "w", "state": "draining", "running": ["ns.F_1"]}
    assert s.rest_take(worker="w", holding=[run]) is None
    assert take(s, holding=[]) == run  # it is its own already
    assert "draining: w" in s.why("ns.F_2")["reason"]
    told = tell(s, run, "DONE")
    assert (told["accepted"], told["state"], told["commands"]) == (["ns.F_1"], "draining", [{"name": "drain"}])
    assert s.rest_drain(worker_id="w", draining=False)["state"] == "active"
    assert take(s)["task_id"] == "ns.F_2"
    with pytest.raises(NoSuch):
        s.rest_drain(worker_id="nobody")


def test_a_draining_worker_of_stock_luigi_phases_out(make: Make) -> None:
    s = make()
    s.add_task(task_id="t", worker="stock")
    s.add_task(task_id="u", worker="stock")
    assert s.get_work(worker="stock")["task_id"] == "t"
    s.rest_drain(worker_id="stock")
    reply = s.get_work(worker="stock", current_tasks=["t"])
    assert (reply["task_id"], reply["worker_state"], reply["n_pending_tasks"]) == (None, "disabled", 0)
    again = s.get_work(worker="stock", current_tasks=[])
    assert (again["task_id"], again["worker_state"]) == ("t", "disabled")  # the reply that gave it was lost
    assert s.count_pending(worker="stock")["worker_state"] == "disabled"
    assert s.ping(worker="stock") == {"rpc_messages": []}  # it would not understand
    s.add_task(task_id="t", worker="stock", status="DONE")
    s.prune()
    assert s.tasks["u"].remove_at is None  # its stakes stay as long as it lives
    s.rest_undrain(worker_id="stock")
    assert s.get_work(worker="stock")["task_id"] == "u"


def test_a_drained_id_stays_drained_through_restarts_until_it_is_undrained(make: Make, clock: Clock) -> None:
    s = make()
    records = []
    put(s)
    s.rest_take(worker="w", families=["none"])
    assert s.rest_drain(worker_id="w")["state"] == "draining"
    s.add_worker("w", {})  # started again
    assert s.rest_take(worker="w") is None
    assert s.rest_heartbeat(worker="w")["state"] == "draining"
    clock.now += 1000
    s.prune()  # it was away for long
    assert s.rest_workers() == []
    assert s.rest_drained() == [{"worker_id": "w", "since": 1_000_000.0, "known": False}]
    records += s.take_changes().records
    again = make()
    again.restore(records)
    again.started()
    assert again.rest_take(worker="w") is None
    assert again.rest_worker("w")["state"] == "draining"
    assert again.rest_undrain(worker_id="w") == {"worker_id": "w", "state": "active", "running": []}
    assert again.rest_drained() == []
    assert take(again)["task_id"] == "ns.F_1"


def test_who_is_away_can_be_undrained(make: Make, clock: Clock) -> None:
    s = make()
    put(s)
    s.rest_heartbeat(worker="w")
    s.rest_drain(worker_id="w")
    clock.now += 1000
    s.prune()
    for ask in (s.rest_undrain, lambda worker_id: s.rest_drain(worker_id=worker_id, draining=False)):
        assert ask(worker_id="w")["state"] == "absent"
        with pytest.raises(NoSuch):
            ask(worker_id="w")
        s.drained["w"] = 1.0
    del s.drained["w"]
    assert take(s)["task_id"] == "ns.F_1"


def test_our_worker_that_was_disabled_by_the_visualiser_stays_so_too(make: Make, clock: Clock) -> None:
    s = make()
    put(s)
    for name, info in (("ours", {"commands": True}), ("stock", {})):
        s.add_worker(name, info)
        s.disable_worker(name)
        clock.now += 1000
        s.prune()
        s.add_worker(name, info)
    assert s.get_work(worker="ours", assistant=True)["worker_state"] == "disabled"
    assert s.get_work(worker="stock", assistant=True)["task_id"] == "ns.F_1"  # as in Luigi
    assert s.rest_undrain(worker_id="ours")["state"] == "active"


def test_a_disabled_worker_is_enabled_by_undraining_it(make: Make) -> None:
    s = make()
    put(s)
    s.add_worker("w", {})
    s.disable_worker("w")
    assert s.rest_undrain(worker_id="w")["state"] == "active"
    assert s.get_work(worker="w", assistant=True)["task_id"] == "ns.F_1"


def test_drained_ids_are_bounded_in_number(make: Make) -> None:
    s = make()
    for n in range(10_001):
        s._set_drained(f"w{n}", True)
    assert len(s.drained) == 10_000
    assert "w0" not in s.drained


def test_a_worker_that_an_earlier_version_drained_stays_drained(make: Make, clock: Clock) -> None:
    s = make()
    s.restore([WorkerPut(1, "w", 1.0, False, "{}", "[]", True)])  # type: ignore[arg-type]
    s.started()
    clock.now += 1000
    s.prune()
    assert s.rest_heartbeat(worker="w")["state"] == "draining"


def test_draining_outlives_the_scheduler(make: Make) -> None:
    s = make()
    s.rest_take(worker="w")
    s.rest_drain(worker_id="w")
    again = make()
    again.restore(s.take_changes().records)
    assert again.rest_worker("w")["state"] == "draining"


def test_a_worker_that_says_so_hears_commands_with_its_pings_until_they_are_done(make: Make) -> None:
    s = make()
    s.add_worker(worker="ours", info={"commands": True})
    put(s)
    reply = s.get_work(worker="ours", assistant=True, runs=True)
    s.rest_cancel("ns.F_1")
    cancel = {"name": "cancel_task", "kwargs": {"task_id": "ns.F_1", "attempt": 1}}
    s.set_worker_processes(worker="ours", n=2)
    assert s.ping(worker="ours")["rpc_messages"] == [{"name": "set_worker_processes", "kwargs": {"n": 2}}, cancel]
    assert s.ping(worker="ours")["rpc_messages"] == [cancel]
    s.rest_drain(worker_id="ours")
    assert s.ping(worker="ours")["rpc_messages"] == [cancel, {"name": "drain", "kwargs": {}}]
    run = {"run_id": reply["run_id"], "attempt": reply["attempt"]}
    s.add_task(task_id="ns.F_1", worker="ours", status="FAILED", assistant=True, runnable=False, **run)
    assert s.ping(worker="ours")["rpc_messages"] == [{"name": "drain", "kwargs": {}}]


def test_messages_are_delivered_once_by_a_heartbeat(make: Make) -> None:
    s = make()
    put(s)
    take(s)
    s.set_worker_processes(worker="w", n=7)
    s.take_changes()
    assert s.rest_heartbeat(worker="w")["commands"] == [{"name": "set_worker_processes", "n": 7}]
    [delivered] = s.take_changes().records
    assert isinstance(delivered, WorkerPut)
    assert s.rest_heartbeat(worker="w")["commands"] == []
    assert s.take_changes().records == []  # a sign of life alone is not written


# -- the same fence for luigi's calls ------------------------------------------------------------------------------


def test_a_stock_worker_sees_nothing_of_runs(make: Make) -> None:
    s = make()
    s.add_task(task_id="t", worker="w")
    assert {"attempt", "run_id"}.isdisjoint(s.get_work(worker="w"))


@pytest.mark.parametrize("status", ["DONE", "FAILED", "RUNNING", "PENDING"])
def test_our_clients_report_of_a_run_that_is_over_is_refused(make: Make, clock: Clock, status: str) -> None:
    s = make(retry_delay=0)
    put(s)
    reply = s.get_work(worker="ours", assistant=True, runs=True)
    late = {
        "task_id": "ns.F_1", "worker": "ours", "status": status, "assistant": True, "runnable": None,
        "new_deps": ["ns.G_1"] if status == "PENDING" else None, "attempt": reply["attempt"], "run_id": reply["run_id"],
    }  # fmt: skip
    clock.now += 61
    s.prune()
    clock.now += 1
    s.prune()
    take(s, "other")
    s.take_changes()
    with pytest.raises(Conflict, match="attempt 2 has replaced it"):
        s.add_task(**late)
    assert s.take_changes().records == []
    assert s.rest_task("ns.F_1")["worker"] == "other"


@pytest.mark.parametrize(("status", "after"), [("DONE", "DONE"), ("FAILED", "FAILED"), ("PENDING", "PENDING")])
def test_our_clients_report_sent_again_is_no_second_one(make: Make, status: str, after: str) -> None:
    s = make()
    put(s)
    reply = s.get_work(worker="ours", assistant=True, runs=True)
    report = {
        "task_id": "ns.F_1", "worker": "ours", "status": status, "assistant": True, "runnable": None,
        "new_deps": ["ns.G_1"] if status == "PENDING" else None, "attempt": reply["attempt"], "run_id": reply["run_id"],
    }  # fmt: skip
    s.add_task(**report)
    assert s.tasks["ns.F_1"].status == after
    s.take_changes()
    s.add_task(**report)
    assert s.take_changes().records == []
    assert len(s.tasks["ns.F_1"].failures) == (status == "FAILED")


def batch(s: Scheduler, worker: str = "ours") -> dict[str, Any]:
    s.add_task_batcher(worker=worker, task_family="B", batched_args=["n"])
    for i in range(2):
        s.add_task(task_id=f"B_{i}", worker=worker, family="B", params={"n": str(i)}, batchable=True)
    return s.get_work(worker=worker, runs=True)


def test_the_head_of_a_batch_takes_over_the_run_that_its_reply_named(make: Make) -> None:
    s = make()
    reply = batch(s)
    assert reply["batch_task_ids"] == ["B_0", "B_1"]
    run = {"attempt": reply["attempt"], "run_id": reply["run_id"]}
    head = {"task_id": "head", "worker": "ours", "family": "B", "batch_id": reply["batch_id"]}
    for _ in range(2):
        s.add_task(**head, status="RUNNING", **run)
    assert {**run, "status": "RUNNING"}.items() <= s.rest_task("head").items()
    with pytest.raises(Conflict):
        s.add_task(**head, status="DONE", attempt=1, run_id="another")
    s.add_task(**head, status="DONE", **run)
    assert [s.tasks[f"B_{i}"].status for i in range(2)] == ["DONE", "DONE"]
    s.add_task(**head, status="DONE", **run)


def test_a_head_that_was_known_from_an_earlier_batch_has_the_run_of_its_new_one(make: Make) -> None:
    s = make(stable_done_cooldown_secs=0)
    runs = []
    for _ in range(2):
        reply = batch(s)
        run = {"attempt": reply["attempt"], "run_id": reply["run_id"]}
        head = {"task_id": "head", "worker": "ours", "family": "B", "batch_id": reply["batch_id"]}
        s.add_task(**head, status="RUNNING", **run)
        s.add_task(**head, status="DONE", **run)
        runs.append(run)
    assert runs[0] != runs[1]
    assert runs[1].items() <= s.rest_task("head").items()


def test_a_head_cannot_claim_a_batch_that_was_given_back(make: Make) -> None:
    s = make()
    reply = batch(s)
    s.get_work(worker="ours", current_tasks=[])  # it does not name it: the batch is orphaned, and handed out anew
    with pytest.raises(Conflict, match="not this worker's any more"):
        s.add_task(
            task_id="head", worker="ours", family="B", batch_id=reply["batch_id"], status="RUNNING",
            attempt=reply["attempt"], run_id=reply["run_id"],
        )  # fmt: skip
    assert "head" not in s.tasks
