"""Delays that luigi takes and no clock does: endless ones, and such as are over before they begin."""

import json
import math
from collections.abc import Callable

import pytest

from luigi_ha.appliance.engine import Scheduler
from luigi_ha.appliance.engine.settings import LATEST, after
from tests.engine.conftest import Clock

Make = Callable[..., Scheduler]
CENTURY = 100 * 365 * 86400.0


def written(s: Scheduler) -> str:
    """What a database is told; ValueError if it is no JSON."""
    return json.dumps(s.take_changes(), default=str, allow_nan=False)


@pytest.mark.parametrize("delay", [math.inf, 1e300])
def test_a_task_is_never_removed(make: Make, clock: Clock, delay: float) -> None:
    s = make(remove_delay=delay, worker_grace=90)
    s.add_task(task_id="t", worker="w")
    clock.now += CENTURY
    s.prune()
    clock.now += CENTURY
    s.prune()
    assert "w" not in s.workers
    assert s.tasks["t"].remove_at == LATEST
    written(s)


def test_a_failed_task_is_never_retried(make: Make, clock: Clock) -> None:
    s = make(retry_delay=math.inf, worker_disconnect_delay=math.inf, worker_grace=math.inf)
    s.add_task(task_id="t", worker="w")
    s.get_work(worker="w")
    s.add_task(task_id="t", worker="w", status="FAILED", expl='"boom"')
    clock.now += CENTURY
    s.prune()
    assert s.tasks["t"].status == "FAILED"
    assert s.tasks["t"].retry_at == LATEST
    assert "It failed, and is never retried" in json.dumps(s.why("t"), allow_nan=False)
    written(s)


def test_a_worker_is_never_forgotten_even_after_a_restart(make: Make, clock: Clock) -> None:
    s = make(worker_disconnect_delay=math.inf, worker_grace=math.inf)
    s.add_task(task_id="t", worker="w")
    s.started()
    clock.now += CENTURY
    s.prune()
    assert set(s.workers) == {"w"}
    assert s.workers["w"].grace_until == LATEST


def test_negative_delays_are_over_at_once(make: Make, clock: Clock) -> None:
    s = make(remove_delay=-600.0, worker_disconnect_delay=-5.0, worker_grace=0.0)
    s.add_task(task_id="t", worker="w")
    clock.now += 1
    s.prune()
    s.prune()
    assert not s.workers
    assert not s.tasks


def test_a_negative_number_of_failures_disables_at_the_first_as_in_luigi(make: Make) -> None:
    s = make(retry_count=-1, disable_window=-1)
    s.add_task(task_id="t", worker="w")
    s.get_work(worker="w")
    s.add_task(task_id="t", worker="w", status="FAILED", expl='"boom"')
    assert s.tasks["t"].status == "DISABLED"


@pytest.mark.parametrize(
    ("now", "delay", "expected"),
    [(10.0, 5.0, 15.0), (10.0, math.inf, LATEST), (10.0, -math.inf, 0.0), (10.0, -50.0, 0.0), (10.0, 1e300, LATEST)],
)
def test_every_time_is_one_that_can_be_kept(now: float, delay: float, expected: float) -> None:
    assert after(now, delay) == expected


def test_an_operator_may_have_more_resources_than_a_client_may_name(make: Make) -> None:
    s = make(resources={f"r{number}": 1 for number in range(1500)})
    assert len(s.resources) == 1500
