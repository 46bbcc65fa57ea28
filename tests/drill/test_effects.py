"""The judge of pipelines: a sound run passes, and each damage to it is named."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from luigi_ha.appliance.drill.effects import Effect, Evidence, judge, read
from luigi_ha.appliance.drill.pipeline_tasks import required

LAYERS = "4,2,1"
_NEEDED = required(LAYERS)


@dataclass(frozen=True)
class Case:
    """One damage: what the judge must say of it, and whether as wrong or as inconclusive."""

    what: str
    said: str
    damage: Callable[[Evidence], Evidence]
    inconclusive: bool = False


def sound() -> Evidence:
    """Two at a time, a second each; the fault strikes at 101.5, and one call was cut."""
    at, lines = {"0-0": 100, "0-1": 100, "0-2": 101, "0-3": 101, "1-0": 102, "1-1": 102, "2-0": 103}, []
    for task, start in at.items():
        lines += [f"start {start:.6f} {task} 7", f"end {start + 1 - 1e-3:.6f} {task} 7"]
    log = [(101.6, "INFO: Retrying attempt 2 of 3 (max)"), (101.6, "INFO: Wait for 1 seconds")]
    return Evidence(0, read("\n".join(lines)), frozenset(at), {"DONE": 7}, log, 99.0, 104.5, [101.5])


def _without(evidence: Evidence, what: str, task: str) -> Evidence:
    kept = [effect for effect in evidence.effects if (effect.what, effect.task) != (what, task)]
    return replace(evidence, effects=kept)


def _with(evidence: Evidence, *more: Effect) -> Evidence:
    return replace(evidence, effects=[*evidence.effects, *more])


def _until_the_fault(evidence: Evidence) -> Evidence:
    """Everything ends with the fault: an outage must not pass for a run that decides nothing."""
    kept = [effect for effect in evidence.effects if effect.at < evidence.strikes[0]]
    return replace(evidence, exit_code=4, effects=kept)


CASES = (
    Case("nothing after the fault", "exit code 4", _until_the_fault),
    Case("luigi failed", "exit code 10", lambda run: replace(run, exit_code=10)),
    Case("luigi hung", "did not end", lambda run: replace(run, exit_code=None)),
    Case("a task left out", "never begun: 0-3", lambda run: _without(_without(run, "start", "0-3"), "end", "0-3")),
    Case("a task cut off", "begun and not done: 1-1", lambda run: _without(run, "end", "1-1")),
    Case(
        "a task done twice", "done more than once: 0-1",
        lambda run: _with(run, Effect("start", 102.0, "0-1"), Effect("end", 103.0, "0-1")),
    ),
    Case("a task begun twice", "done more than once: 0-1", lambda run: _with(run, Effect("start", 100.5, "0-1"))),
    Case("somebody else's task", "not of this pipeline: 9-9", lambda run: _with(run, Effect("start", 100.0, "9-9"))),
    Case("a target missing", "without a target: 2-0", lambda run: replace(run, targets=run.targets - {"2-0"})),
    Case(
        "a task too early", "begun before what they need: 2-0",
        lambda run: _with(_without(run, "start", "2-0"), Effect("start", 102.5, "2-0")),
    ),
    Case(
        "the scheduler does not know", "6 DONE, 1 RUNNING",
        lambda run: replace(run, statuses={"DONE": 6, "RUNNING": 1}),
    ),
    Case("the scheduler lost all", "none of the tasks", lambda run: replace(run, statuses={})),
    Case("no fault", "no fault", lambda run: replace(run, strikes=[]), inconclusive=True),
    Case("too early a fault", "at work", lambda run: replace(run, strikes=[99.5]), inconclusive=True),
    Case("too late a fault", "began after", lambda run: replace(run, strikes=[101.5, 103.5]), inconclusive=True),
)  # fmt: skip


def test_a_sound_pipeline_passes_and_is_measured() -> None:
    verdict = judge(_NEEDED, sound())
    assert verdict.good, verdict
    assert (verdict.cut, verdict.pauses, verdict.gave_up) == (1, (0.1,), 0)
    assert (verdict.running, verdict.done, round(verdict.gap, 3)) == (2, 7, 1.0)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_what_is_wrong_with_a_pipeline_is_named(case: Case) -> None:
    verdict = judge(_NEEDED, case.damage(copy.deepcopy(sound())))
    assert not verdict.good
    assert (verdict.inconclusive is not None) is case.inconclusive, verdict
    said = [str(verdict.inconclusive)] if case.inconclusive else verdict.wrong
    assert any(case.said in one for one in said), said


def with_workers() -> Evidence:
    """The same by two workers; the first is killed at 101.5, and what it had at work begins again."""
    lines = ["start 101.000000 0-2 7 w1", "start 101.000000 0-3 8 w2", "end 101.999000 0-3 8 w2"]
    lines += ["start 104.000000 0-2 9 w1", "end 104.999000 0-2 9 w1"]
    own = ("0-2", "0-3", "1-0", "2-0")
    kept = [effect for effect in sound().effects if effect.task not in own]
    later = [Effect(what, at, task, "w2") for task, at in (("1-0", 105.0), ("2-0", 106.0)) for what in ("start", "end")]
    return replace(sound(), effects=[*kept, *read("\n".join(lines)), *later], killed={"w1": 101.5}, log=[])


def test_what_a_killed_worker_had_at_work_may_begin_once_more_and_nothing_else_may() -> None:
    assert judge(_NEEDED, with_workers()).good, judge(_NEEDED, with_workers())
    again = with_workers()
    assert judge(_NEEDED, replace(again, killed={})).wrong == ("done more than once: 0-2",)
    assert judge(_NEEDED, replace(again, killed={"w2": 101.5})).wrong == ("done more than once: 0-2",)
    assert judge(_NEEDED, replace(again, killed={"w1": 100.9})).wrong == ("done more than once: 0-2",)
    third = _with(again, Effect("start", 107.0, "0-2", "w2"))
    assert judge(_NEEDED, third).wrong == ("done more than once: 0-2",)
    ended = _with(again, Effect("end", 101.4, "0-2", "w1"))  # it was over when the worker was killed
    assert judge(_NEEDED, ended).wrong == ("done more than once: 0-2",)
    at_once = (Effect("start", 101.0, "0-2", "w1"), Effect("start", 101.2, "0-2", "w2"))
    before = _with(_without(again, "start", "0-2"), *at_once)
    assert judge(_NEEDED, before).wrong == ("done more than once: 0-2",), "two at once, before one of them was killed"
    other = _with(again, Effect("start", 102.5, "0-3", "w1"))
    assert judge(_NEEDED, other).wrong == ("done more than once: 0-3",)


def test_each_task_but_those_of_the_first_layer_needs_others_and_each_but_the_last_is_needed_once() -> None:
    needed = required("8,4,1")
    below = sorted(name for names in needed.values() for name in names)
    assert below == sorted(set(needed) - {"2-0"})
    assert [name for name, names in needed.items() if not names] == [f"0-{number}" for number in range(8)]


def test_a_line_that_no_task_writes_is_refused() -> None:
    with pytest.raises(ValueError, match="no line"):
        read("start 12.5 0-1 77\nstart 12.5\n")
