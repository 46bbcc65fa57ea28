"""Random histories: the indexes agree with the tasks, and the records alone rebuild the engine."""

import random
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

from luigi_ha.appliance.engine import Scheduler, Settings
from tests.engine.conftest import Clock
from tests.engine.histories import Recorded
from tests.engine.invariants import check

WORKERS = ["w1", "w2", "w3", "assistant"]
TASKS = [f"ns{i % 2}.Family{i % 3}_{i}" for i in range(12)]
STATUS = ["PENDING", "PENDING", "RUNNING", "DONE", "DONE", "FAILED", "DISABLED", "UNKNOWN", "SUSPENDED"]
OPTIONS = {"retry_count": 3, "namespace_limits": {"ns1": 2}, "batch_emails": True, "email_receivers": ("ops@x",)}
ids = st.lists(st.sampled_from(TASKS), max_size=4)


class Histories(Recorded):
    options = OPTIONS

    @rule(
        task_id=st.sampled_from(TASKS), worker=st.sampled_from(WORKERS), status=st.sampled_from(STATUS),
        deps=st.none() | ids, new_deps=st.none() | ids, priority=st.sampled_from([0, 0, 1, 5]),
        resources=st.sampled_from([None, {"db": 1}, {"db": 2}, {"gpu": 1}]), batchable=st.booleans(),
        batch_id=st.sampled_from([None, None, None, "b"]), runnable=st.booleans(),
    )  # fmt: skip
    def add(self, task_id: str, worker: str, **kwargs: Any) -> None:
        family = task_id.rpartition("_")[0]
        params = {"n": task_id, "same": "x"}
        self.s.add_task(
            task_id=task_id, worker=worker, family=family, params=params, assistant=worker == "assistant", **kwargs
        )

    @rule(worker=st.sampled_from(WORKERS), current=st.none() | st.just([]) | st.just(TASKS))
    def work(self, worker: str, current: list[str] | None) -> None:
        reply = self.s.get_work(worker=worker, assistant=worker == "assistant", current_tasks=current, host="h")
        if reply.get("batch_id"):
            self.s.add_task(
                task_id="head", worker=worker, status="RUNNING", batch_id=reply["batch_id"], family=reply["task_family"]
            )

    @rule(worker=st.sampled_from(WORKERS), family=st.sampled_from(["ns0.Family0", "ns1.Family1"]))
    def batcher(self, worker: str, family: str) -> None:
        self.s.add_task_batcher(worker=worker, task_family=family, batched_args=["n"])

    @rule(seconds=st.sampled_from([1.0, 30.0, 70.0, 700.0, 90000.0]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule()
    def prune(self) -> None:
        self.s.prune()

    @rule(worker=st.sampled_from(WORKERS))
    def ping(self, worker: str) -> None:
        self.s.ping(worker=worker)

    @rule(worker=st.sampled_from(WORKERS[:2]))
    def disable_worker(self, worker: str) -> None:
        self.s.disable_worker(worker=worker)

    @rule(task_id=st.sampled_from(TASKS), what=st.sampled_from(["forgive_failures", "mark_as_done", "re_enable_task"]))
    def by_hand(self, task_id: str, what: str) -> None:
        getattr(self.s, what)(task_id=task_id)

    @rule(task_id=st.sampled_from(TASKS))
    def decrease(self, task_id: str) -> None:
        self.s.decrease_running_task_resources(task_id=task_id, decrease_resources={"db": 1})

    @rule(amount=st.integers(0, 3), worker=st.sampled_from(WORKERS))
    def others(self, amount: int, worker: str) -> None:
        self.s.update_resource(resource="db", amount=amount)
        self.s.set_worker_processes(worker=worker, n=amount)
        self.s.add_worker(worker=worker, info={"workers": amount})
        (self.s.pause if amount == 1 else self.s.unpause)()
        self.s.set_task_progress_percentage(task_id=TASKS[amount], progress_percentage=amount)


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_the_checker_rejects_a_broken_index(clock: Clock) -> None:
    s = Scheduler(Settings(), clock=clock, random=random.Random(7))
    s.add_task(task_id="a", worker="w")
    check(s)
    s.tasks["a"].unmet += 1
    with pytest.raises(AssertionError):
        check(s)
