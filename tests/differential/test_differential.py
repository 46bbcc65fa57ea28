"""Our scheduler answers as Luigi's does, for random calls of every kind under one clock."""

import collections
import json

import pytest

from luigi_ha.appliance.engine import RPC_METHODS, Scheduler
from tests.differential.calls import Call, World
from tests.differential.compare import Outcome, first_mismatch, run
from tests.differential.differences import DIFFERENCES, Difference

SEEDS = range(1001, 1013)
CALLS = 2_000  # from each seed

# A run that shows less than this proves too little to pass: least numbers over all seeds.
LEAST_CALLS_PER_METHOD = 10
LEAST_SEEN = {
    "tasks handed out": 500,
    "tasks offered again": 50,
    "batches handed out": 50,
    "nothing to hand out though something is pending": 300,
    "disabled workers asking": 20,
    "workers pruned": 100,
    "tasks pruned": 100,
    "messages delivered": 50,
    "message responses fetched": 5,
    "tasks re-enabled": 20,
    "counts instead of lists": 10,
    "lists of tasks": 50,
    "RUNNING -> FAILED": 100,
    "RUNNING -> DISABLED": 30,
    "RUNNING -> PENDING": 20,
    "FAILED -> PENDING": 100,
    "DISABLED -> FAILED": 30,
    "BATCH_RUNNING -> DONE": 20,
    "BATCH_RUNNING -> FAILED": 20,
    "BATCH_RUNNING -> PENDING": 20,
}

_outcomes: dict[int, Outcome] = {}


@pytest.mark.parametrize("seed", SEEDS)
def test_every_reply_equals_luigis(seed: int) -> None:
    outcome = _outcomes[seed] = run(seed, CALLS)
    assert outcome.mismatch is None, str(outcome.mismatch)
    assert outcome.calls == CALLS


def test_the_runs_were_worth_something() -> None:
    outcomes = [_outcomes.get(seed) or run(seed, CALLS) for seed in SEEDS]
    methods: collections.Counter[str] = sum((outcome.methods for outcome in outcomes), collections.Counter())
    seen: collections.Counter[str] = sum((outcome.seen for outcome in outcomes), collections.Counter())
    assert sum(methods.values()) >= 20_000
    assert {name for name in RPC_METHODS if methods[name] < LEAST_CALLS_PER_METHOD} == set()
    assert {what: seen[what] for what, least in LEAST_SEEN.items() if seen[what] < least} == {}
    # Arguments that luigi fails on late would hide what comes after them.
    assert {what: count for what, count in seen.items() if what.startswith("refused")} == {}


class _NoPriorities(Scheduler):
    def add_task(self, **kwargs):
        super().add_task(**{**kwargs, "priority": 0})


class _NoSecondOffer(Scheduler):
    def get_work(self, **kwargs):
        return super().get_work(**{**kwargs, "current_tasks": None})


class _UnboundedBatches(Scheduler):
    def add_task_batcher(self, **kwargs):
        super().add_task_batcher(**{**kwargs, "max_batch_size": float("inf")})


class _FreeResources(Scheduler):
    def add_task(self, **kwargs):
        super().add_task(**{**kwargs, "resources": {}})


class _EveryFailureForgiven(Scheduler):
    def add_task(self, **kwargs):
        super().add_task(**{**kwargs, "retry_policy_dict": None})


@pytest.mark.parametrize(
    "broken", [_NoPriorities, _NoSecondOffer, _UnboundedBatches, _FreeResources, _EveryFailureForgiven]
)
def test_a_broken_scheduler_is_rejected(broken: type[Scheduler], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.differential.compare.SHRINK_SECONDS", 0.0)
    assert any(run(seed, CALLS, make_ours=broken).mismatch for seed in SEEDS)


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: difference.name.replace(" ", "_"))
def test_each_difference_on_purpose_is_one(difference: Difference) -> None:
    """On its example Luigi as it is answers differently from ours, and Luigi with the change the same."""
    options = {"retry_count": 2, "remove_delay": 15.5, "stable_done_cooldown_secs": 0}
    world = World(options, resources={"r1": 5}, tasks=0)
    calls = [
        Call(kwargs.get("wait", 1.0), method, json.dumps({k: v for k, v in kwargs.items() if k != "wait"}))
        for method, kwargs in difference.example
    ]
    others = [other for other in DIFFERENCES if other is not difference]
    assert first_mismatch(world, calls) is None
    assert first_mismatch(world, calls, differences=others) is not None


def test_a_mismatch_is_made_small() -> None:
    mismatch = next(found for seed in SEEDS if (found := run(seed, CALLS, make_ours=_NoSecondOffer).mismatch))
    assert len(mismatch.calls) < 20
    assert mismatch.calls[-1].method in str(mismatch)
