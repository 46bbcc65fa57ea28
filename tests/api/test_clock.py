"""Scheduler time: it never goes back, and a node whose time of day is wrong goes on where the leader before it was."""

import pytest

from luigi_ha.appliance import clock
from luigi_ha.appliance.clock import SchedulerClock

HOUR = 3600.0


class Machine:
    """A machine's clocks: `boot` runs, `day` can be set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, day: float = 1_000_000.0) -> None:
        self.boot, self.day = 50.0, day
        monkeypatch.setattr(clock, "_boot", lambda: self.boot)
        monkeypatch.setattr(clock.time, "time", lambda: self.day)

    def passes(self, seconds: float) -> None:
        self.boot += seconds
        self.day += seconds


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def test_alone_the_time_of_day_is_followed_but_never_back(machine: Machine) -> None:
    time = SchedulerClock()
    assert time() == 1_000_000
    machine.day += HOUR
    assert time() == 1_000_000 + HOUR
    machine.day -= 2 * HOUR
    assert time() == time.last == 1_000_000 + HOUR
    assert time.apart == 0.0


@pytest.mark.parametrize("wrong_by", [HOUR, -HOUR, 2.5, -2.5])
def test_a_next_leader_with_a_wrong_clock_goes_on_where_the_leader_was(machine: Machine, wrong_by: float) -> None:
    time = SchedulerClock()
    machine.day += wrong_by
    time.heard(1_000_000.0)
    machine.passes(5)
    time.not_before(1_000_004.0)  # the log's end
    time.hold()
    assert time() == pytest.approx(1_000_005)
    machine.passes(60)
    assert time() == pytest.approx(1_000_065)
    assert time.apart == pytest.approx(wrong_by)
    machine.day -= wrong_by
    assert time() == pytest.approx(1_000_065)
    assert time.apart == 0.0


def test_a_clock_that_is_set_while_it_leads_moves_nothing_and_one_that_is_slewed_is_followed(machine: Machine) -> None:
    time = SchedulerClock()
    time.hold()
    machine.passes(10)
    machine.day += HOUR
    assert time() == pytest.approx(1_000_010)
    assert time.apart == pytest.approx(HOUR)
    machine.day -= HOUR
    for _ in range(40):
        machine.passes(10)
        machine.day += 0.5
        assert time() == machine.day
    assert time.apart == 0.0


def test_what_was_held_while_the_log_was_ahead_goes_on_from_the_log(machine: Machine) -> None:
    time = SchedulerClock()
    time.not_before(1_000_000 + HOUR)
    time.hold()
    machine.passes(30)
    assert time() == pytest.approx(1_000_030 + HOUR)


def test_a_leader_that_is_heard_again_counts_more_than_what_was_held(machine: Machine) -> None:
    time = SchedulerClock()
    time.hold()
    machine.day += HOUR
    time.heard(1_000_000 + HOUR)  # it was restarted everywhere else
    assert time() == 1_000_000 + HOUR
    assert time.apart == 0.0
