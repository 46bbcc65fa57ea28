"""What judges a round is shown sound records, and every damage to them; each must be named by its check."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from luigi_ha.appliance.drill.judging import CHECKS, FAILED, INCONCLUSIVE, PASSED, Judgement, judge
from luigi_ha.appliance.drill.records import Record
from tests.drill.sound import BEGAN, ENDED, STRUCK, with_address, with_late, write

Damage = Callable[[dict[str, Any]], object]


def judged(tmp_path: Path, damage: Damage = lambda _: None) -> Judgement:
    return judge(Record.load(write(tmp_path / "round", damage)))


def test_a_sound_round_passes_and_is_measured(tmp_path: Path) -> None:
    found = judged(tmp_path)
    assert (found.verdict, found.wrong, found.undecided) == (PASSED, {}, {})
    assert found.figures["lost"] == found.figures["twice"] == found.figures["failed_after"] == 0
    assert found.figures["gap"] == pytest.approx(0.59, abs=0.03)
    assert (found.figures["done"], found.figures["tasks"], found.figures["epochs"]) == (7, 7, 2)


def test_a_sound_round_of_a_place_with_an_address_passes_and_is_measured(tmp_path: Path) -> None:
    found = judged(tmp_path, with_address)
    assert (found.verdict, found.wrong, found.undecided) == (PASSED, {}, {})
    figures = found.figures
    assert (figures["address_two"], figures["address_none"]) == (0.0, pytest.approx(0.03))
    assert (figures["address_moved"], figures["address_gone"]) == (pytest.approx(0.42), pytest.approx(0.35))
    assert figures["led"] == pytest.approx(0.4)


def test_calls_that_waited_in_a_stopped_leader_may_end_in_any_way_but_by_its_hand(tmp_path: Path) -> None:
    found = judged(tmp_path, with_late)
    assert (found.verdict, found.wrong) == (PASSED, {})
    assert (found.figures["late"], found.figures["late_acknowledged"]) == (23, 1)


def addressed(damage: Damage) -> Damage:
    def both(whole: dict[str, Any]) -> None:
        with_address(whole)
        damage(whole)

    return both


def late(*calls: list[Any]) -> Damage:
    def damage(whole: dict[str, Any]) -> None:
        with_late(whole)
        whole["late"].extend(calls)

    return damage


def nobody_else_led(whole: dict[str, Any]) -> None:
    """The same node leads again when all is mended, under a new epoch."""
    whole["nodes"] = [
        [100.0, "one", "leading", 10, True], [104.9, "one", "leading", 10, True], [105.0, "one", None, 0, False],
        [108.5, "one", "leading", 20, True], [112.0, "one", "leading", 20, True],
    ]  # fmt: skip
    whole["about"]["leader_after"] = ["one", 20]


def lose_one(whole: dict[str, Any]) -> None:
    whole["known"]["acknowledged"].remove("d1_80")


def nobody_after(whole: dict[str, Any]) -> None:
    whole["calls"] = [[*call[:2], call[1] + 5, "timeout"] if call[1] > STRUCK else call for call in whole["calls"]]


def nobody_at_the_end(whole: dict[str, Any]) -> None:
    whole["calls"] = [[*call[:3], "refused"] if call[1] > ENDED - 3 else call for call in whole["calls"]]


def far_ahead(whole: dict[str, Any]) -> None:
    whole["about"]["log"]["ended"][3] += 3600


def forge(whole: dict[str, Any]) -> None:
    entry = whole["log"][6]
    whole["log"][6] = entry._replace(data=entry.data.replace("DONE", "FAILED"))


WRONG: dict[str, tuple[Damage, str]] = {
    "an acknowledged call is not there": (lose_one, "acknowledged"),
    "nobody is answered after the fault": (nobody_after, "answered"),
    "nobody is answered at the end": (nobody_at_the_end, "answered"),
    "nobody leads afterwards": (lambda w: w["about"].update(leader_after=None), "answered"),
    "luigi failed": (lambda w: w["about"]["pipeline"].update(exit_code=1), "finished"),
    "a worker did not drain": (lambda w: w["about"]["pipeline"].update(workers={"w1": 1, "w2": 0}), "finished"),
    "a worker was killed by nobody known": (lambda w: w["about"]["pipeline"].update(workers={"w1": -11}), "finished"),
    "luigi had to be ended": (lambda w: w["about"]["pipeline"].update(exit_code=None), "finished"),
    "a task is not done": (lambda w: w["about"]["pipeline"]["targets"].remove("1-0"), "finished"),
    "the scheduler says otherwise": (lambda w: w["known"].update(statuses={"DONE": 6, "RUNNING": 1}), "finished"),
    "a task ran twice": (
        lambda w: w.update(effects=w["effects"] + "start 108.000000 0-0 8\nend 109.000000 0-0 8\n"), "double-run",
    ),
    "a task began twice at once": (lambda w: w.update(effects=w["effects"] + "start 106.5 1-0 8\n"), "double-run"),
    "an entry of the log is missing": (lambda w: w["log"].pop(3), "log"),
    "two entries changed places": (lambda w: w["log"].insert(2, w["log"].pop(3)), "log"),
    "an entry was forged": (forge, "log"),
    "the old leader wrote after the new one": (
        lambda w: w["log"].__setitem__(-1, w["log"][-1]._replace(epoch=10)), "log",
    ),
    "the tail of the log is lost": (lambda w: w["log"].pop(), "log"),
    "two nodes led under one epoch": (lambda w: w["nodes"].append([113.0, "one", "leading", 20, True]), "leaders"),
    "two nodes led at the same time": (
        lambda w: w["nodes"].__setitem__(2, [105.9, "one", "leading", 10, True]), "leaders",
    ),
    "an older epoch led again": (lambda w: w["nodes"].append([113.0, "one", "leading", 10, True]), "leaders"),
    "one node led under an older epoch again": (
        lambda w: w["nodes"].extend([[113, "two", "standby", 20, False], [114, "two", "leading", 15, True]]), "leaders",
    ),
    "a call failed that began after the fault": (lambda w: w["calls"][70].__setitem__(3, "503"), "refused"),
    "nobody was answered for too long": (lambda w: w["about"]["fault"].update(within=0.3), "answered"),
    "it never recovered": (lambda w: w["about"].update(trouble="DrillError: nobody leads for 180 s"), "answered"),
    "no other node led before it was mended": (nobody_else_led, "answered"),
    "scheduler time went an hour too far": (far_ahead, "waiting"),
    "scheduler time stood still": (lambda w: w["about"]["log"].update(ended_at=BEGAN + 41), "waiting"),
    "another host answers for the address": (addressed(lambda w: w["wire"].append([112.0, "stranger"])), "address"),
    "a task was retried too early": (lambda w: w["waiting"]["after"].update(f="PENDING"), "waiting"),
    "a cooldown was skipped": (lambda w: w["waiting"]["after"].update(d="PENDING"), "waiting"),
    "a task that waits is gone": (lambda w: w["waiting"]["after"].pop("d"), "waiting"),
    "two hosts had the address": (
        addressed(lambda w: w["address"].extend([[113.0, ["one", "two"]], [113.2, ["one", "two"]], [114.0, ["two"]]])),
        "address",
    ),
    "what was hit kept the address": (
        addressed(lambda w: w["address"].__setitem__(slice(1, 4), [[108.5, ["one"]], [108.6, []]])), "address",
    ),
    "what was hit never lost it": (
        addressed(lambda w: w["address"].__setitem__(slice(1, None), [[112.0, ["one"]]])), "address",
    ),
    "the address is not with who leads": (addressed(lambda w: w["address"].append([112.1, ["one"]])), "address"),
    "a late call was written by the old leader": (late(["Load_3", 107.0, 110.0, "timeout"]), "fenced"),
    "a late call was acknowledged and is not there": (late(["late_4", 107.0, 110.0, None]), "fenced"),
    "a process was left": (lambda w: w["about"].update(left=["keeper 4711"]), "left-behind"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_each_damage_fails_the_round_by_the_check_for_it(what: str, tmp_path: Path) -> None:
    damage, name = WRONG[what]
    found = judged(tmp_path, damage)
    assert found.verdict == FAILED
    assert name in found.wrong, found
    assert set(found.wrong) | set(found.undecided) <= set(CHECKS)


def few_before(whole: dict[str, Any]) -> None:
    whole["calls"] = [call for call in whole["calls"] if call[1] > STRUCK - 1]


def few_after(whole: dict[str, Any]) -> None:
    later = [call for call in whole["calls"] if call[1] > STRUCK][-15:]
    whole["calls"] = [call for call in whole["calls"] if call[1] <= STRUCK] + later


def struck_late(whole: dict[str, Any]) -> None:
    whole["about"]["bite"].update(at=108.0, over=108.0)
    whole["about"]["fault"]["moves"] = False


UNDECIDED: dict[str, tuple[Damage, str]] = {
    "the fault did not strike": (lambda w: w["about"].update(bite=None, trouble="it would not die"), "bit"),
    "the second of two faults did not strike": (lambda w: w["about"]["bite"].update(missed="kill-all: none"), "bit"),
    "a node was not looked at to the end": (lambda w: w["about"].update(blind=["one: OSError"]), "leaders"),
    "no call waited in what stood still": (lambda w: w["about"].update(late=True), "fenced"),
    "it was not looked at again after two had the address": (
        addressed(lambda w: w["address"].extend([[112.5, ["one", "two"]], [114.0, ["two"]]])), "address",
    ),
    "too few calls before it": (few_before, "acknowledged"),
    "callers ended too early": (lambda w: w["about"].update(ended=ENDED + 20), "answered"),
    "too few calls after it": (few_after, "answered"),
    "no task was at work": (lambda w: w["about"]["bite"].update(at=103.0, over=103.0), "finished"),
    "the worker that was killed had nothing at work": (
        lambda w: w["about"]["pipeline"].update(killed={"worker-1": STRUCK}), "bit",
    ),
    "no task began after it": (struck_late, "finished"),
    "nobody was seen to have the address": (addressed(lambda w: w.update(address=[])), "address"),
    "nobody was seen to answer for the address": (addressed(lambda w: w.update(wire=[])), "address"),
    "no task waits": (lambda w: w["waiting"]["before"].clear(), "waiting"),
    "no node was seen to lead": (lambda w: w.update(nodes=[]), "leaders"),
}


@pytest.mark.parametrize("what", UNDECIDED)
def test_what_saw_too_little_is_inconclusive_and_never_passed(what: str, tmp_path: Path) -> None:
    damage, name = UNDECIDED[what]
    found = judged(tmp_path, damage)
    assert found.verdict == INCONCLUSIVE, found
    assert name in found.undecided


@pytest.mark.parametrize(("fails", "number", "verdict"), [
    ("in flight", 50, PASSED), ("none", 50, FAILED), ("in flight", 70, FAILED), ("any", 70, PASSED),
])  # fmt: skip
def test_a_fault_says_which_calls_it_excuses(fails: str, number: int, verdict: str, tmp_path: Path) -> None:
    """Call 50 is in flight when it strikes, 70 begins later."""

    def damage(whole: dict[str, Any]) -> None:
        whole["about"]["fault"]["fails"] = fails
        whole["calls"][number][3] = "closed without a reply"

    assert judged(tmp_path, damage).verdict == verdict


def test_a_fault_that_moves_no_leader_need_not_move_one(tmp_path: Path) -> None:
    def damage(whole: dict[str, Any]) -> None:
        whole["about"]["fault"]["moves"] = False
        nobody_else_led(whole)

    assert judged(tmp_path, damage).verdict == PASSED


def test_a_round_without_a_pipeline_is_judged_by_the_rest(tmp_path: Path) -> None:
    found = judged(tmp_path, lambda w: w["about"].pop("pipeline"))
    assert found.verdict == PASSED
    assert "tasks" not in found.figures
