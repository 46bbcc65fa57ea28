"""Whether a pipeline did what it should, from what its tasks wrote themselves.

Sound: luigi ended with code 0; each task began once and ended once, after those it needs; its target is there; the
scheduler says DONE of each. A sound run in which no task was at work when the fault struck, or none began afterwards,
decides nothing: it is inconclusive, and not good. What is wrong is wrong in any case.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

_LINE = re.compile(r"(start|end) ([0-9.]+) (\S+) (\d+)(?: (\S+))?")
_RETRY = re.compile(r"Retrying attempt (\d+) of (\d+) \(max\)")


@dataclass(frozen=True)
class Effect:
    """One line of the effects log."""

    what: str  # "start" or "end"
    at: float  # CLOCK_BOOTTIME, s
    task: str
    by: str = "luigi"
    """Who ran it: luigi, or a worker's name."""


@dataclass(frozen=True)
class Evidence:
    """All that is known of one run after it."""

    exit_code: int | None  # None: luigi had to be ended
    effects: Sequence[Effect]
    targets: frozenset[str]
    statuses: Mapping[str, int]  # of the scheduler's tasks, as the database has them
    log: Sequence[tuple[float, str]]  # luigi's own words, each with when it came
    began: float
    ended: float
    strikes: Sequence[float]  # when the faults struck
    killed: Mapping[str, float] = field(default_factory=dict)
    """Workers that were killed, and when: what each had at work is cut off, and may begin once more."""


@dataclass(frozen=True)
class Verdict:
    """One run. Times in seconds. `wrong`: everything that is; empty for a sound run."""

    wrong: tuple[str, ...]
    inconclusive: str | None
    exit_code: int | None
    expected: int
    done: int
    twice: int
    running: int  # tasks at work when the (first) fault struck
    gap: float  # the longest time between two tasks' starts
    seconds: float  # from luigi's start to its end
    cut: int  # calls whose first attempt failed
    pauses: tuple[float, ...]  # when luigi began to wait before it tried again, after the first fault
    gave_up: int  # calls whose last attempt failed
    cut_off: int = 0  # tasks whose worker was killed under them

    @property
    def good(self) -> bool:
        return not self.wrong and self.inconclusive is None


def read(text: str) -> list[Effect]:
    """The effects log. ValueError for a line that no task writes."""
    found = []
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"no line of the effects log: {line!r}")
        found.append(Effect(match[1], float(match[2]), match[3], match[5] or "luigi"))
    return found


def judge(required: Mapping[str, Iterable[str]], evidence: Evidence) -> Verdict:
    """`required`: every task of the pipeline, with those it needs."""
    starts, ends = _moments(evidence, "start"), _moments(evidence, "end")
    cut = cut_off(evidence.effects, evidence.killed)
    again = {task for task, at in cut.items() if sum(start > at for start in starts[task]) == len(starts[task]) - 1}
    counts = {
        task: max(len(starts.get(task, [])) - (task in again), len(ends.get(task, [])))
        for task in {*required, *starts, *ends}
    }
    done = [task for task in required if ends.get(task) and task in evidence.targets]
    twice = sorted(task for task, count in counts.items() if count > 1)
    first = evidence.strikes[0] if evidence.strikes else evidence.began
    began = sorted(moment for moments in starts.values() for moment in moments)
    running = sum(start <= first for moments in starts.values() for start in moments) - sum(
        end <= first for moments in ends.values() for end in moments
    )
    wrong = _wrong(required, evidence, starts, ends, twice)
    failed = [(at, int(match[1]), int(match[2])) for at, line in evidence.log if (match := _RETRY.search(line))]
    return Verdict(
        wrong=tuple(wrong),
        inconclusive=None if wrong else _inconclusive(evidence, running, began),
        exit_code=evidence.exit_code,
        expected=len(required),
        done=len(done),
        twice=len(twice),
        running=running,
        gap=max((later - earlier for earlier, later in pairwise(began)), default=0.0),
        seconds=evidence.ended - evidence.began,
        cut=sum(attempt == 2 for _, attempt, _most in failed),
        pauses=tuple(round(at - first, 3) for at, attempt, most in failed if attempt <= most),
        gave_up=sum(attempt > most for _, attempt, most in failed),
        cut_off=len(cut),
    )


def cut_off(seen: Iterable[Effect], killed: Mapping[str, float]) -> dict[str, float]:
    """What was at work on a worker when that was killed, and when: it may begin once more after that."""
    found: dict[str, float] = {}
    for worker, at in killed.items():
        own = [each for each in seen if each.by == worker and each.at <= at]
        over = {each.task for each in own if each.what == "end"}
        found |= {each.task: at for each in own if each.what == "start" and each.task not in over}
    return found


def _moments(evidence: Evidence, what: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for effect in evidence.effects:
        if effect.what == what:
            found.setdefault(effect.task, []).append(effect.at)
    return found


def _wrong(
    required: Mapping[str, Iterable[str]],
    evidence: Evidence,
    starts: Mapping[str, Sequence[float]],
    ends: Mapping[str, Sequence[float]],
    twice: Sequence[str],
) -> list[str]:
    wrong = []
    if evidence.exit_code != 0:
        wrong.append("it did not end" if evidence.exit_code is None else f"exit code {evidence.exit_code}")
    if never := sorted(task for task in required if not starts.get(task)):
        wrong.append(f"never begun: {', '.join(never)}")
    if half := sorted(task for task in required if starts.get(task) and not ends.get(task)):
        wrong.append(f"begun and not done: {', '.join(half)}")
    if twice:
        wrong.append(f"done more than once: {', '.join(twice)}")
    if strange := sorted({*starts, *ends} - set(required)):
        wrong.append(f"not of this pipeline: {', '.join(strange)}")
    if without := sorted(set(required) - evidence.targets):
        wrong.append(f"without a target: {', '.join(without)}")
    early = [
        task
        for task, needed in required.items()
        if any(min(starts.get(task, [float("inf")])) < min(ends.get(one, [float("inf")])) for one in needed)
    ]
    if early := sorted(task for task in early if starts.get(task)):
        wrong.append(f"begun before what they need: {', '.join(early)}")
    if evidence.statuses != {"DONE": len(required)}:
        said = ", ".join(f"{count} {status}" for status, count in sorted(Counter(evidence.statuses).items()))
        wrong.append(f"the scheduler has {said or 'none of the tasks'}")
    return wrong


def _inconclusive(evidence: Evidence, running: int, began: Sequence[float]) -> str | None:
    if not evidence.strikes:
        return "no fault struck"
    if running < 1:
        return "no task was at work when the fault struck"
    if not began or began[-1] <= evidence.strikes[-1]:
        return "no task began after the last fault"
    return None
