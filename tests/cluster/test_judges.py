"""What judges the drills is shown what is broken, and must say so. Needs neither root nor a cluster."""

import pytest

from drills.failover.effects_selftest import check
from drills.failover.holders import gone, overlap
from drills.failover.late import misplaced
from luigi_ha.appliance.drill.calls import Call, judge
from luigi_ha.appliance.drill.effects import read
from luigi_ha.appliance.drill.pipeline_tasks import required

TOLD = check()


@pytest.mark.parametrize(("what", "right", "said"), TOLD, ids=[what for what, *_ in TOLD])
def test_the_judge_of_pipelines_names_what_is_wrong(what: str, right: bool, said: str) -> None:
    assert right, said


def test_each_task_but_those_of_the_first_layer_needs_others_and_each_but_the_last_is_needed_once() -> None:
    needed = required("8,4,1")
    below = sorted(name for names in needed.values() for name in names)
    assert below == sorted(set(needed) - {"2-0"})
    assert [name for name, names in needed.items() if not names] == [f"0-{number}" for number in range(8)]


def test_a_line_that_no_task_writes_is_refused() -> None:
    with pytest.raises(ValueError, match="no line"):
        read("start 12.5 0-1 77\nstart 12.5\n")


def calls(*answered: tuple[float, float], wrong: tuple[float, float] | None = None) -> list[Call]:
    good = [Call(f"run_{number}", began, ended, None) for number, (began, ended) in enumerate(answered)]
    return good + ([] if wrong is None else [Call("run_wrong", *wrong, "timeout")])


STEADY = [(number / 10, number / 10 + 0.01) for number in range(100)]  # 10 s of calls


def test_the_judge_of_calls_finds_gap_wait_failure_and_loss() -> None:
    felt = [call for call in STEADY if not 5.0 <= call[0] < 7.0] + [(5.0, 7.0)]
    found = calls(*felt, wrong=(5.1, 6.0))
    known = {call.task for call in found if call.wrong is None}
    verdict = judge(found, at=4.95, until=9.9, known=known - {"run_3"})
    assert (round(verdict.gap, 2), round(verdict.longest, 2)) == (2.09, 2.0)
    assert (verdict.failed_in_flight, verdict.failed_after, verdict.lost) == (0, 1, 1)
    assert not verdict.good


def test_an_outage_until_the_end_is_a_gap_until_the_end() -> None:
    found = calls(*STEADY[:55])
    verdict = judge(found, at=4.95, until=9.9, known={call.task for call in found})
    assert verdict.gap == pytest.approx(9.9 - 5.41)
    assert verdict.inconclusive is None


def test_a_run_without_calls_before_the_fault_decides_nothing() -> None:
    found = calls(*STEADY[45:])
    assert judge(found, at=4.95, until=9.9, known={call.task for call in found}).inconclusive is not None


def test_an_address_on_two_hosts_is_seen_and_so_is_when_it_went() -> None:
    looks = [(1.0, ("n1",)), (2.0, ("n1",)), (2.1, ("n1", "n2")), (2.6, ("n1", "n2")), (2.7, ("n2",)), (4.0, ("n2",))]
    assert overlap(looks) == pytest.approx(0.6)
    assert gone(looks, "n1", since=1.5) == 2.7
    assert gone(looks[:4], "n1", since=1.5) is None
    assert overlap(looks[:2]) == 0.0


OLD, NEW = {7: {"first": 1, "last": 50, "count": 50}}, {9: {"first": 51, "last": 90, "count": 40}}


@pytest.mark.parametrize(
    ("after", "written", "said"),
    [
        (OLD | NEW, {"late": 9}, None),
        (OLD, {"late": 9}, "no event of a new epoch"),
        (NEW | {7: {"first": 1, "last": 50, "count": 51}}, {"late": 9}, "were added after it woke"),
        (NEW | {7: {"first": 1, "last": 91, "count": 51}}, {"late": 9}, "follow the new one's first"),
        (OLD | NEW, {"late": 7}, "1 late calls were written under the old epoch"),
        (OLD | NEW, {}, "1 late calls were acknowledged and are not there"),
    ],
)
def test_writes_of_a_leader_that_woke_too_late_are_found(after: dict, written: dict, said: str | None) -> None:
    wrong = misplaced(7, OLD | NEW, after, {"late": "200"}, written)
    assert (said is None and not wrong) or any(str(said) in one for one in wrong)
