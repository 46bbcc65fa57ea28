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
    machine.day += wrong_by
    time = SchedulerClock()
    time.follow()
    time()  # as an engine asks that is loaded, and whoever looks at a node that has just started
    time.heard(1_000_000.0)
    machine.passes(5)
    time.not_before(1_000_004.0)  # the log's end
    time.lead(hold=True)
    assert time() == pytest.approx(1_000_005)
    machine.passes(60)
    assert time() == pytest.approx(1_000_065)
    assert time.apart == pytest.approx(wrong_by)
    machine.day -= wrong_by
    assert time() == pytest.approx(1_000_065)
    assert time.apart == 0.0


def test_who_leads_again_after_another_goes_on_where_that_one_was(machine: Machine) -> None:
    time = SchedulerClock()
    time.follow()
    time.lead(hold=True)
    time.follow()
    time.heard(1_000_100.0)  # that one's date is ahead
    machine.passes(10)
    time.lead(hold=True)
    assert time() == pytest.approx(1_000_110)
    assert time.apart == pytest.approx(-100)


def test_a_clock_that_is_set_while_it_leads_moves_nothing_and_one_that_is_slewed_is_followed(machine: Machine) -> None:
    time = SchedulerClock()
    time.lead(hold=True)
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


def test_after_a_start_of_all_on_a_log_that_is_ahead_it_stands_still_until_the_date_has_caught_up(
    machine: Machine,
) -> None:
    """What the page of operations says after scheduler time itself was wrong."""
    time = SchedulerClock()
    time.follow()
    time.not_before(1_000_000 + HOUR)
    time.lead(hold=True)
    machine.passes(HOUR / 2)
    assert time() == 1_000_000 + HOUR
    assert time.apart == 0.0
    machine.passes(HOUR)
    assert time() == machine.day


def test_a_pair_on_one_machine_follows_its_date(machine: Machine) -> None:
    time = SchedulerClock()
    time.follow()
    time.lead(hold=False)
    machine.day += HOUR
    assert time() == 1_000_000 + HOUR
    assert time.apart == 0.0
