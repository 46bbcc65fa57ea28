"""Random histories of REST calls and RPCs: no task runs twice at once, no stale report changes anything, no submitted
task vanishes, and the records alone rebuild the engine."""

from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule, run_state_machine_as_test

from luigi_ha.appliance.engine import Conflict, Scheduler
from tests.engine.histories import Recorded, picture

WORKERS = ["w1", "w2", "w3"]
STOCK = ["stock1", "stock2"]
TASKS = [f"ns{i % 2}.Family{i % 3}_{i}" for i in range(8)]
OPTIONS = {"retry_count": 3, "namespace_limits": {"ns1": 2}, "answers_most": 3, "stable_done_cooldown_secs": 0}
ids = st.lists(st.sampled_from(TASKS), max_size=3)
Run = tuple[str, str, int, str]  # worker, task id, attempt, run id


class RestHistories(Recorded):
    options = OPTIONS

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[Run] = []  # every run that was handed out
        self.over: set[str] = set()  # ids of runs that nobody may continue
        self.submitted: set[str] = set()
        self.keys = 0

    # -- the model -------------------------------------------------------------------------------------------

    def live(self) -> dict[str, str]:
        """Runs that go on, by task."""
        return {task_id: run_id for _worker, task_id, _attempt, run_id in self.runs if run_id not in self.over}

    def handed_out(self, worker: str, task_id: str, attempt: int, run_id: str) -> None:
        run = (worker, task_id, attempt, run_id)
        if run in self.runs:
            assert run_id not in self.over, "a run that is over was offered again"
            return
        assert task_id not in self.live(), f"{task_id} runs already"
        assert run_id not in {known[3] for known in self.runs}
        assert attempt == 1 + max([known[2] for known in self.runs if known[1] == task_id], default=0)
        self.runs.append(run)

    def given_up(self) -> None:
        """After time passed, or people decided: what the scheduler has given up is over."""
        for task_id, run_id in self.live().items():
            task = self.s.tasks.get(task_id)
            if task is None or task.run_id != run_id or task.status != "RUNNING":
                self.over.add(run_id)

    def settle(self) -> None:
        """Submitted tasks that are finished are not kept any longer."""
        for task_id in list(self.submitted):
            task = self.s.tasks[task_id]
            if task.status == "DONE" or task.cancelled is not None:
                self.submitted.discard(task_id)

    # -- submitting --------------------------------------------------------------------------------------------

    @rule(
        task_id=st.sampled_from(TASKS), deps=st.none() | ids, priority=st.sampled_from([0, 0, 3]),
        resources=st.sampled_from([None, {"db": 1}, {"db": 2}]),
        capabilities=st.sampled_from([None, [], ["gpu"], ["gpu", "big"]]),
    )  # fmt: skip
    def put(self, task_id: str, deps: list[str] | None, **kwargs: Any) -> None:
        deps = None if deps is None else [dep for dep in deps if dep != task_id]
        before = self.s.tasks.get(task_id)
        status = None if before is None else before.status
        told = self.s.rest_put_task(task_id=task_id, family=task_id.rpartition("_")[0], deps=deps, **kwargs)
        assert told["created"] == (before is None)
        assert told["status"] == ("PENDING" if status in (None, "UNKNOWN") else status)
        task = self.s.tasks[task_id]
        if task.status != "DONE" and task.cancelled is None and (task.status != "DISABLED" or task.disabled_at):
            self.submitted.add(task_id)

    @rule(task_ids=ids)
    def put_many(self, task_ids: list[str]) -> None:
        known = set(self.s.tasks)
        tasks = [{"task_id": task_id, "family": task_id.rpartition("_")[0]} for task_id in task_ids]
        told = self.s.rest_put_tasks(tasks=tasks)
        assert told == {"added": len(set(task_ids) - known), "known": len(task_ids) - len(set(task_ids) - known)}
        self.submitted |= set(task_ids) - known

    @rule(
        task_id=st.sampled_from(TASKS), worker=st.sampled_from(STOCK), status=st.sampled_from(["PENDING", "UNKNOWN"]),
        deps=st.none() | ids,
    )  # fmt: skip
    def schedule_by_stock_luigi(self, task_id: str, **kwargs: Any) -> None:
        self.s.add_task(task_id=task_id, family=task_id.rpartition("_")[0], **kwargs)

    # -- working ----------------------------------------------------------------------------------------------

    @rule(
        worker=st.sampled_from(WORKERS), slots=st.integers(1, 3), namespaces=st.sampled_from([None, None, ["ns1"]]),
        families=st.sampled_from([None, None, ["ns0.Family0", "ns1.Family1"]]),
        capabilities=st.sampled_from([None, ["gpu"], ["big", "gpu"]]), lost=st.booleans(),
    )  # fmt: skip
    def take(self, worker: str, lost: bool, **offer: Any) -> None:
        holding = [
            {"task_id": task_id, "attempt": attempt, "run_id": run_id}
            for by, task_id, attempt, run_id in self.runs
            if by == worker and run_id not in self.over
        ]
        if lost and holding:
            holding.pop()
        known = {run["run_id"] for run in holding}
        draining = self.s.workers.get(worker) is not None and self.s.workers[worker].draining
        told = self.s.rest_take(worker=worker, holding=holding, **offer)
        if told is None:
            return
        assert told["run_id"] not in known
        assert told["deadline"] == self.clock.now + 60
        if told["run_id"] not in {run[3] for run in self.runs}:
            assert not draining
            assert offer["families"] is None or told["family"] in offer["families"]
            assert offer["namespaces"] is None or told["family"].startswith("ns1.")
            needed = set(self.s.tasks[told["task_id"]].demand.capabilities)
            assert needed <= set(offer["capabilities"] or [])
        self.handed_out(worker, told["task_id"], told["attempt"], told["run_id"])

    @rule(worker=st.sampled_from(STOCK), assistant=st.booleans())
    def work_by_stock_luigi(self, worker: str, assistant: bool) -> None:
        told = self.s.get_work(worker=worker, assistant=assistant, host="h", runs=True)
        if told["task_id"] is not None:
            self.handed_out(worker, told["task_id"], told["attempt"], told["run_id"])

    def report(self, data: Any) -> Run | None:
        return data.draw(st.sampled_from(self.runs)) if self.runs else None

    @rule(
        data=st.data(), status=st.sampled_from(["RUNNING", "DONE", "DONE", "FAILED", "PENDING"]),
        by=st.none() | st.sampled_from(WORKERS),
    )  # fmt: skip
    def heartbeat(self, data: Any, status: str, by: str | None) -> None:
        run = self.report(data)
        if run is None:
            return
        worker, task_id, attempt, run_id = run
        worker = by or worker
        fields: dict[str, Any] = {"error": "boom"} if status == "FAILED" else {}
        if status == "PENDING":
            fields["deps"] = [dep for dep in data.draw(ids) if dep != task_id]
        current = run_id not in self.over and worker == run[0]
        before = picture(self.s)["tasks"]
        told = self.s.rest_heartbeat(
            worker=worker,
            tasks=[{"task_id": task_id, "attempt": attempt, "run_id": run_id, "status": status, **fields}],
        )
        assert len(told["accepted"]) + len(told["lost"]) == 1
        if current:
            assert told["accepted"] == [task_id]
            if status != "RUNNING":
                self.over.add(run_id)
                assert self.s.tasks[task_id].status != "RUNNING"
        else:
            assert picture(self.s)["tasks"] == before, "a stale report changed something"

    @rule(data=st.data(), status=st.sampled_from(["RUNNING", "DONE", "FAILED"]), repeated=st.booleans())
    def report_by_our_client(self, data: Any, status: str, repeated: bool) -> None:
        run = self.report(data)
        if run is None:
            return
        worker, task_id, attempt, run_id = run
        call: dict[str, Any] = {
            "task_id": task_id, "worker": worker, "status": status, "attempt": attempt, "run_id": run_id,
            "assistant": True, "runnable": None, "family": task_id.rpartition("_")[0],
        }  # fmt: skip
        before = picture(self.s)
        try:
            self.s.add_task(**call)
        except Conflict:
            assert run_id in self.over
            assert picture(self.s) == before
            return
        if run_id in self.over:
            assert picture(self.s)["tasks"] == before["tasks"]
        elif status != "RUNNING":
            self.over.add(run_id)
            if repeated:
                before = picture(self.s)
                self.s.add_task(**call)
                assert picture(self.s) == before

    # -- people and time ----------------------------------------------------------------------------------------

    @rule(worker=st.sampled_from(WORKERS + STOCK), draining=st.booleans())
    def drain(self, worker: str, draining: bool) -> None:
        if worker in self.s.workers:
            assert self.s.rest_drain(worker_id=worker, draining=draining)["state"] == (
                "draining" if draining else "active"
            )

    @rule(task_id=st.sampled_from(TASKS), what=st.sampled_from(["retry", "cancel", "cancel", "done", "priority"]))
    def by_hand(self, task_id: str, what: str) -> None:
        if task_id not in self.s.tasks:
            return
        if what == "priority":
            self.s.rest_priority(task_id=task_id, priority=-1)
        elif what == "cancel":
            self.s.rest_cancel(task_id=task_id, reason="wrong date")
        elif what == "retry":
            if self.s.rest_retry(task_id=task_id)["changed"] and self.s.is_held(self.s.tasks[task_id]):
                self.submitted.add(task_id)
        else:
            self.s.rest_done(task_id=task_id)
        self.given_up()

    @rule(task_id=st.sampled_from(TASKS), what=st.sampled_from(["forgive_failures", "mark_as_done", "re_enable_task"]))
    def by_hand_in_luigis_way(self, task_id: str, what: str) -> None:
        getattr(self.s, what)(task_id=task_id)
        self.given_up()

    @rule(seconds=st.sampled_from([1.0, 30.0, 70.0, 700.0, 90000.0]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule()
    def prune(self) -> None:
        self.s.prune()
        self.given_up()

    @rule(worker=st.sampled_from(STOCK + WORKERS))
    def ping(self, worker: str) -> None:
        self.s.ping(worker=worker)

    @rule()
    def remember(self) -> None:
        self.keys += 1
        self.s.remember(f"key{self.keys}", "rest_put_task", "f", 200, "{}")
        assert self.s.answered(f"key{self.keys}") is not None

    # -- invariants ---------------------------------------------------------------------------------------------

    @invariant()
    def a_run_goes_on_until_its_end_is_known(self) -> None:
        for task_id, run_id in self.live().items():
            task = self.s.tasks[task_id]
            assert (task.status, task.run_id) == ("RUNNING", run_id)

    @invariant()
    def a_submitted_task_is_there_until_it_is_finished(self) -> None:
        assert self.submitted <= set(self.s.tasks)
        self.settle()
        for task_id in self.submitted:
            assert self.s.is_held(self.s.tasks[task_id])


TestRestHistories = RestHistories.TestCase
TestRestHistories.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


class _AnyRunWillDo(Scheduler):
    def _objection(self, task, worker_id, attempt, run_id, status):
        return (
            None
            if task is not None and task.status == "RUNNING"
            else super()._objection(task, worker_id, attempt, run_id, status)
        )


class _NothingIsHeld(Scheduler):
    def _hold(self, task):
        pass


class _ReportsRepeatThemselves(Scheduler):
    def _objection(self, *report):
        return super()._objection(*report) or None


class _DrainsNobody(Scheduler):
    def rest_take(self, **kwargs):
        for worker in self.workers.values():
            worker.draining = False
        return super().rest_take(**kwargs)


class _ForgetsWhatWasCancelled(Scheduler):
    def _apply(self, records):
        super()._apply(records)
        for task in self.tasks.values():
            task.cancelled = None


@pytest.mark.parametrize(
    "broken", [_AnyRunWillDo, _NothingIsHeld, _ReportsRepeatThemselves, _DrainsNobody, _ForgetsWhatWasCancelled]
)
def test_a_broken_scheduler_is_rejected(broken: type[Scheduler]) -> None:
    class Broken(RestHistories):
        make = broken

    quick = settings(
        max_examples=300,
        stateful_step_count=40,
        deadline=None,
        phases=[Phase.generate],
        database=None,
        derandomize=True,
        report_multiple_bugs=False,
    )
    with pytest.raises(AssertionError):
        run_state_machine_as_test(Broken, settings=quick)
