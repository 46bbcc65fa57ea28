"""What the records of a round say, by named checks; from the records alone.

    bit           the fault did hit, and another node leads where one must
    acknowledged  each call that was answered well is in the database
    answered      calls are answered again, and are at the end
    finished      luigi ended with code 0, and each task is done, after those that it needs
    double-run    no task began twice
    log           the database's log of the round passes every check of `luigi-ha verify-history`
    leaders       no two nodes say that they lead under one epoch, and epochs rise
    left-behind   nothing of the drill is left running

A check that has seen too little is undecided, and the round is inconclusive: never passed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from luigi_ha.appliance.drill import calls, effects, records
from luigi_ha.appliance.drill.pipeline_tasks import required
from luigi_ha.appliance.drill.records import Record
from luigi_ha.appliance.store.verification import check

CHECKS = ("bit", "acknowledged", "answered", "finished", "double-run", "log", "leaders", "left-behind")
PASSED, FAILED, INCONCLUSIVE = "passed", "failed", "inconclusive"
ENOUGH_AFTER = 20  # calls answered after the fault
TWICE = "done more than once"


@dataclass
class Judgement:
    """Of one round. `wrong` and `undecided`: by check, what it says."""

    wrong: dict[str, list[str]] = field(default_factory=dict)
    undecided: dict[str, list[str]] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        return FAILED if self.wrong else INCONCLUSIVE if self.undecided else PASSED

    def must(self, check_name: str, true: object, otherwise: str) -> None:
        if not true:
            self.wrong.setdefault(check_name, []).append(otherwise)

    def proves(self, check_name: str, true: object, otherwise: str) -> None:
        if not true:
            self.undecided.setdefault(check_name, []).append(otherwise)

    def as_json(self) -> dict[str, Any]:
        return {"verdict": self.verdict, "wrong": self.wrong, "undecided": self.undecided, "figures": self.figures}


def judge(record: Record) -> Judgement:
    """All checks on one round."""
    found = Judgement()
    bite = record.about.get("bite")
    found.proves("bit", bite, f"the fault did not strike: {record.about.get('trouble') or 'it is not known why'}")
    if bite is None:
        return found
    _moved(found, record)
    _calls(found, record, bite)
    if record.about.get("pipeline") is not None:
        _pipeline(found, record, bite)
    _log(found, record)
    _leaders(found, record.lines(records.NODES))
    left = record.about.get("left", [])
    found.must("left-behind", not left, f"still there: {', '.join(map(str, left))}")
    return found


def _moved(found: Judgement, record: Record) -> None:
    before, after = record.about.get("leader_before"), record.about.get("leader_after")
    found.figures |= {"leader_before": before, "leader_after": after}
    if after is None:
        found.must("answered", False, "nobody leads afterwards")
    elif before is not None and record.about["fault"]["moves"]:
        found.proves("bit", after[1] > before[1], f"{after[0]} leads under epoch {after[1]}, as before the fault")


def _calls(found: Judgement, record: Record, bite: Mapping[str, Any]) -> None:
    made = calls.read(record.directory / records.CALLS)
    until = float(record.about["ended"])
    verdict = calls.judge(made, bite["at"], until, record.known().get("acknowledged", []), bite["over"])
    well = [call for call in made if call.wrong is None]
    after = sum(call.ended > bite["at"] for call in well)
    found.proves("acknowledged", verdict.inconclusive is None, str(verdict.inconclusive))
    found.proves("answered", after >= ENOUGH_AFTER, f"{after} calls answered after the fault: too few")
    found.must("acknowledged", not verdict.lost, f"{verdict.lost} calls were acknowledged, and are not there")
    last = max((call.ended for call in well), default=0.0)
    found.must("answered", until - last < calls.SERVED_LATELY, f"nobody was answered in the last {until - last:.1f} s")
    found.figures |= {
        "calls": verdict.calls,
        "acknowledged": len(well),
        "lost": verdict.lost,
        "gap": round(verdict.gap, 3),
        "longest_wait": round(verdict.longest, 3),
        "failed_in_flight": verdict.failed_in_flight,
        "failed_after": verdict.failed_after,
        "failed_reasons": list(verdict.reasons)[:5],
    }


def _pipeline(found: Judgement, record: Record, bite: Mapping[str, Any]) -> None:
    told = record.about["pipeline"]
    needed = required(told["layers"])
    words = [(float(at), str(line)) for at, line in record.lines(records.WORDS)]
    evidence = effects.Evidence(
        told["exit_code"], effects.read(record.text(records.EFFECTS)), frozenset(told["targets"]),
        record.known().get("statuses", {}), words, told["began"], told["ended"], [bite["at"]],
    )  # fmt: skip
    verdict = effects.judge(needed, evidence)
    for each in verdict.wrong:
        found.must("double-run" if each.startswith(TWICE) else "finished", False, each)
    found.proves("finished", verdict.inconclusive is None, str(verdict.inconclusive))
    found.figures |= {
        "tasks": verdict.expected,
        "done": verdict.done,
        "twice": verdict.twice,
        "at_work": verdict.running,
        "start_gap": round(verdict.gap, 3),
    }


def _log(found: Judgement, record: Record) -> None:
    start, end, last_time = record.positions()
    checked = check(record.entries(), start, end, last_time)
    for each in checked.findings:
        found.must("log", False, f"{each.check}: entry {each.seq}: {each.text}")
    found.proves("log", checked.entries, "nothing was written")
    found.figures |= {"entries": checked.entries, "epochs": checked.epochs}


def _leaders(found: Judgement, seen: Iterable[list[Any]]) -> None:
    """`seen`: [when, node, its state, its epoch, whether it leads]."""
    leads: dict[int, set[str]] = {}
    for _at, node, _state, epoch, leading in seen:
        if leading:
            leads.setdefault(int(epoch), set()).add(str(node))
    for epoch, nodes in leads.items():
        found.must("leaders", len(nodes) == 1, f"{' and '.join(sorted(nodes))} led under epoch {epoch}")
    found.proves("leaders", leads, "no node was seen to lead")
