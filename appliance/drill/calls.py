"""What a run's records say: how long nobody was served, who failed, what was lost."""

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

ENOUGH = 20  # calls before the fault, and after it, below which a run decides nothing
SERVED_LATELY = 1.0  # s before the end in which somebody must have been served
STRIKING = 0.005  # s: what began so soon after the deed may have been in flight


@dataclass(frozen=True)
class Call:
    """One call of the prober."""

    task: str
    began: float
    ended: float
    wrong: str | None


@dataclass(frozen=True)
class Verdict:
    """One run. Times in seconds."""

    gap: float  # the longest time in which no call was answered well, from the fault on
    longest: float  # the longest a call that was answered well has waited
    calls: int
    failed_in_flight: int  # began before what the fault kills had ended: allowed
    failed_after: int  # began after that
    reasons: tuple[str, ...]  # of those
    lost: int  # acknowledged, and not in the database
    inconclusive: str | None

    @property
    def good(self) -> bool:
        return self.inconclusive is None and not self.lost


def read(path: Path) -> list[Call]:
    """The records of a prober, by the time they began."""
    lines = path.read_text().splitlines()
    return sorted((Call(*json.loads(line)) for line in lines if line.endswith("]")), key=lambda call: call.began)


def judge(calls: Sequence[Call], at: float, until: float, known: Iterable[str], over: float | None = None) -> Verdict:
    """`at`: when the fault struck; `over`: when what it kills had ended, which takes calls until then; `until`: when
    the run was over; `known`: task ids in the database afterwards."""
    well = sorted(call.ended for call in calls if call.wrong is None)
    before, after = [end for end in well if end <= at], [end for end in well if end > at]
    moments = [before[-1] if before else at, *after]
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    failed = [call for call in calls if call.wrong is not None and call.ended > at]
    struck = (at if over is None else over) + STRIKING
    flying = [call for call in failed if call.began <= struck]
    later = [call for call in failed if call.began > struck]
    inconclusive = None
    if len(before) < ENOUGH:
        inconclusive = f"{len(before)} calls answered before the fault: too few"
    if until - moments[-1] > SERVED_LATELY:  # nobody was served at the end: the gap lasts at least until then
        gaps.append(until - moments[-1])
    return Verdict(
        gap=max(gaps, default=until - at),
        longest=max((call.ended - call.began for call in calls if call.wrong is None and call.ended > at), default=0.0),
        calls=len(calls),
        failed_in_flight=len(flying),
        failed_after=len(later),
        reasons=tuple(dict.fromkeys(str(call.wrong)[:80] for call in later)),
        lost=len({call.task for call in calls if call.wrong is None} - set(known)),
        inconclusive=inconclusive,
    )


def summary(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """The figures of a scenario."""
    sound = [verdict for verdict in verdicts if verdict.inconclusive is None]
    if not sound:
        return {"runs": 0, "inconclusive": len(verdicts)}
    gaps, waits = [verdict.gap for verdict in sound], [verdict.longest for verdict in sound]
    return {
        "runs": len(sound),
        "gap_p50": round(statistics.median(gaps), 3),
        "gap_max": round(max(gaps), 3),
        "longest_wait_p50": round(statistics.median(waits), 3),
        "longest_wait_max": round(max(waits), 3),
        "failed_in_flight": sum(verdict.failed_in_flight for verdict in sound),
        "failed_after": sum(verdict.failed_after for verdict in sound),
        "failed_after_reasons": sorted({reason for verdict in sound for reason in verdict.reasons})[:8],
        "lost": sum(verdict.lost for verdict in sound),
        "calls": sum(verdict.calls for verdict in sound),
        "inconclusive": len(verdicts) - len(sound),
        "each": [asdict(verdict) for verdict in verdicts],
    }
