"""What the records of a round say, by named checks; from the records alone.

    bit           the fault did hit, all of it
    acknowledged  each call that was answered well is in the database
    answered      calls are answered again, soon enough, and are at the end; where another node must lead, one does
                  before anything is mended
    refused       no call failed that the fault does not excuse
    finished      luigi ended with code 0, and each task is done, after those that it needs
    double-run    no task began twice
    waiting       a task that failed is not retried before its time, and one that is disabled stays so
    log           the database's log of the round passes every check of `luigi-ha verify-history`
    fenced        nothing was written for a leader whose time was over, of what was sent to it while it stood still
    address       no two hosts had the cluster's address, what was hit lost it in time, and the leader has it at the end
    leaders       no two nodes lead at the same time, or under one epoch; and epochs rise
    left-behind   nothing of the drill is left running

A check that has seen too little is undecided, and the round is inconclusive: never passed.
"""

import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from luigi_ha.appliance.drill import calls, effects, records, whereabouts
from luigi_ha.appliance.drill.fault import Fails
from luigi_ha.appliance.drill.pipeline_tasks import required
from luigi_ha.appliance.drill.records import Record
from luigi_ha.appliance.store.verification import check

CHECKS = (
    "bit", "acknowledged", "answered", "refused", "finished", "double-run", "waiting", "log", "fenced", "address",
    "leaders", "left-behind",
)  # fmt: skip
PASSED, FAILED, INCONCLUSIVE = "passed", "failed", "inconclusive"
ENOUGH_AFTER = 20  # calls answered after the fault
TWICE = "done more than once"
WAIT = ["DISABLED", "FAILED"]
DRIFT = 5.0  # s; who takes over counts its own date if that is no farther than 2 s from the leader's
UNDER_WAY = 15.0  # s that callers may wait for their last calls
UNSEEN = 0.2  # s after a look at two hosts with the address, in which nobody looked again
LATE_ENOUGH = 10  # calls that must have waited in what stood still
OVERLAP = 0.05  # s; less is the time between two looks on a busy machine


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
    bite, trouble = record.about.get("bite"), record.about.get("trouble")
    found.proves("bit", bite, f"the fault did not strike: {trouble or 'it is not known why'}")
    if bite is None:
        return found
    found.proves("bit", not bite.get("missed"), f"not struck: {bite.get('missed')}")
    found.must("answered", trouble is None, f"after the fault: {trouble}")
    for each in record.about.get("blind", []):
        found.proves("leaders", False, f"not looked at to the end: {each}")
    _moved(found, record, bite)
    _calls(found, record, bite)
    if record.about.get("pipeline") is not None:
        _pipeline(found, record, bite)
    _waiting(found, record)
    _log(found, record)
    _fenced(found, record)
    _address(found, record, bite)
    _leaders(found, record.lines(records.NODES), bite["at"])
    left = record.about.get("left", [])
    found.must("left-behind", not left, f"still there: {', '.join(map(str, left))}")
    return found


def _moved(found: Judgement, record: Record, bite: Mapping[str, Any]) -> None:
    before, after = record.about.get("leader_before"), record.about.get("leader_after")
    found.figures |= {"leader_before": before, "leader_after": after}
    if after is None:
        found.must("answered", False, "nobody is known to lead afterwards")
    elif before is not None and record.about["fault"]["moves"]:
        healed = float(record.about.get("healed", record.about["ended"]))
        seen = list(record.lines(records.NODES))
        led = [
            node for at, node, _state, epoch, leads in seen
            if leads and bite["at"] < at <= healed and epoch > before[1] and node != before[0]
        ]  # fmt: skip
        found.must("answered", led or not seen, f"no other node led before it was mended; {before[0]} had led")


def _calls(found: Judgement, record: Record, bite: Mapping[str, Any]) -> None:
    made = calls.read(record.directory / records.CALLS)
    fault = record.about["fault"]
    ended = float(record.about["ended"])
    until = max((call.began for call in made), default=ended)  # then they only waited for what was under way
    found.proves("answered", ended - until <= UNDER_WAY, f"nobody called in the last {ended - until:.1f} s")
    verdict = calls.judge(made, bite["at"], until, record.known().get("acknowledged", []), bite["over"])
    well = [call for call in made if call.wrong is None]
    after = sum(call.ended > bite["at"] for call in well)
    found.proves("acknowledged", verdict.inconclusive is None, str(verdict.inconclusive))
    found.proves("answered", after >= ENOUGH_AFTER, f"{after} calls answered after the fault: too few")
    found.must("acknowledged", not verdict.lost, f"{verdict.lost} calls were acknowledged, and are not there")
    found.must("answered", verdict.gap <= fault["within"], f"nobody was answered for {verdict.gap:.1f} s")
    excused = Fails(fault["fails"])
    failed = 0 if excused is Fails.ANY else verdict.failed_after
    failed += verdict.failed_in_flight if excused is Fails.NONE else 0
    found.must("refused", not failed, f"{failed} calls failed that should not: {'; '.join(verdict.reasons)[:200]}")
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
        record.known().get("statuses", {}), words, told["began"], told["ended"], [bite["at"]], told.get("killed", {}),
    )  # fmt: skip
    verdict = effects.judge(needed, evidence)
    for each in verdict.wrong:
        found.must("double-run" if each.startswith(TWICE) else "finished", False, each)
    found.proves("finished", verdict.inconclusive is None, str(verdict.inconclusive))
    for worker, code in told.get("workers", {}).items():
        found.must("finished", code == 0, f"{worker} ended with exit code {code}; 0 is that of a drain")
    cut = verdict.cut_off or not told.get("killed")
    found.proves("bit", cut, "the worker that was killed had no task at work: nothing was cut off")
    found.figures |= {
        "tasks": verdict.expected,
        "done": verdict.done,
        "twice": verdict.twice,
        "at_work": verdict.running,
        "start_gap": round(verdict.gap, 3),
    }


def _waiting(found: Judgement, record: Record) -> None:
    text = record.text(records.WAITING)
    told = json.loads(text) if text else {}
    before, after = told.get("before", {}), told.get("after", {})
    if record.about.get("place") != "hosts":
        found.proves("waiting", sorted(before.values()) == WAIT, f"no such tasks before the fault: {before}")
    changed = [
        f"{task} was {status}, and is {after.get(task)}" for task, status in before.items() if after.get(task) != status
    ]
    found.must("waiting", not changed, "; ".join(changed))
    log = record.about["log"]
    if "ended" in log and record.about.get("place") != "hosts":  # there the last entry may be of any age
        drift = (log["ended"][3] - log["begun"][3]) - (log["ended_at"] - log["begun_at"])
        found.figures["scheduler_time_drift"] = round(drift, 3)
        found.must("waiting", abs(drift) <= DRIFT, f"scheduler time went {drift:+.1f} s too far")


def _log(found: Judgement, record: Record) -> None:
    if "ended" not in record.about["log"]:
        found.proves("log", False, "it was not read")
        return
    start, end, last_time = record.positions()
    checked = check(record.entries(), start, end, last_time)
    for each in checked.findings:
        found.must("log", False, f"{each.check}: entry {each.seq}: {each.text}")
    found.proves("log", checked.entries, "nothing was written")
    found.figures |= {"entries": checked.entries, "epochs": checked.epochs}


def _fenced(found: Judgement, record: Record) -> None:
    """The calls that were sent to what stood still: refused, passed on, or nothing; but never written by it."""
    if not record.about.get("late"):
        return
    late = list(record.lines(records.LATE))
    found.proves("fenced", len(late) >= LATE_ENOUGH, f"{len(late)} calls waited in what stood still: too few")
    written: dict[str, int] = {}
    for entry in record.entries():
        if entry.task_id is not None:
            written.setdefault(entry.task_id, entry.epoch)
    old = record.about["leader_before"][1]
    by_old = [task for task, *_ in late if written.get(task, old + 1) <= old]
    found.must("fenced", not by_old, f"{len(by_old)} calls that it found when it woke were written under epoch {old}")
    lost = [task for task, _began, _ended, wrong in late if wrong is None and task not in written]
    found.must("fenced", not lost, f"{len(lost)} calls that it found when it woke were acknowledged, and are not there")
    found.figures |= {"late": len(late), "late_acknowledged": sum(wrong is None for *_, wrong in late)}


def _address(found: Judgement, record: Record, bite: Mapping[str, Any]) -> None:
    looks, answers = list(record.lines(records.ADDRESS)), list(record.lines(records.WIRE))
    if not looks and not answers:
        return  # a place without an address
    found.proves("address", any(names for _, names in looks), "no host was seen to have it")
    found.proves("address", answers, "nobody was seen to answer for it")
    unseen = [next_[0] - at for (at, names), next_ in itertools.pairwise(looks) if len(names) > 1 and next_[1] != names]
    found.proves("address", max(unseen, default=0.0) <= UNSEEN, "it was not looked at again after two hosts had it")
    both, within = whereabouts.two(looks), record.about["fault"].get("gone_within")
    found.must("address", both <= OVERLAP, f"two hosts had it for {both:.2f} s")
    hit, before = next(iter(bite["nodes"]), None), record.about.get("leader_before")
    if looks and within is not None and before is not None and hit == before[0]:
        gone = whereabouts.gone(looks, hit, bite["at"])
        took = None if gone is None else gone - bite["at"]
        said = "all the time" if took is None else f"for {took:.2f} s"
        found.must("address", took is not None and took <= within, f"{hit} had it {said}, not {within:g} s at most")
        found.figures["address_gone"] = took and round(took, 3)
    after = record.about.get("leader_after")
    if after is not None and looks:
        found.must("address", looks[-1][1] == [after[0]], f"at the end {looks[-1][1]} have it, and {after[0]} leads")
    if after is not None and answers:
        found.must("address", answers[-1][1] == after[0], f"at the end {answers[-1][1]} answers, and {after[0]} leads")
    moved = whereabouts.moved(answers, bite["at"])
    found.figures |= {
        "address_two": round(both, 3),
        "address_none": round(whereabouts.none(looks, bite["at"]), 3),
        "address_moved": None if moved is None else round(moved - bite["at"], 3),
    }


def _leaders(found: Judgement, seen: Iterable[list[Any]], struck: float) -> None:
    """`seen`: [when, node, its state, its epoch, whether it leads], at the first and the last moment of each."""
    spans: list[tuple[float, float, str, int]] = []  # of leading: from, to, who, under which epoch
    open_since: dict[str, tuple[float, float, int]] = {}
    for at, node, _state, epoch, leading in seen:
        since = open_since.get(node)
        if since is not None and (not leading or int(epoch) != since[2]):
            spans.append((since[0], since[1], str(node), since[2]))
            del open_since[node]
        if leading:
            begun = open_since[node][0] if node in open_since else float(at)
            open_since[node] = (begun, float(at), int(epoch))
    spans += [(begun, until, str(node), epoch) for node, (begun, until, epoch) in open_since.items()]
    spans.sort()
    for one, two in itertools.combinations(spans, 2):
        _compare_spans(found, one, two)
    found.proves("leaders", spans, "no node was seen to lead")
    before = max((epoch for begun, _, _, epoch in spans if begun <= struck), default=None)
    after = [begun for begun, _, _, epoch in spans if before is not None and epoch > before]
    found.figures["led"] = round(min(after) - struck, 3) if after else None


def _compare_spans(found: Judgement, one: tuple[float, float, str, int], two: tuple[float, float, str, int]) -> None:
    """`two` began later."""
    if one[2] == two[2]:
        found.must("leaders", two[3] >= one[3], f"{two[2]} led under epoch {two[3]}, after {one[3]}")
        return
    found.must("leaders", one[3] != two[3], f"{one[2]} and {two[2]} led under epoch {one[3]}")
    found.must("leaders", two[3] >= one[3], f"{two[2]} led under epoch {two[3]}, after {one[2]} under {one[3]}")
    both = min(one[1], two[1]) - two[0]
    found.must("leaders", both <= 0, f"{one[2]} and {two[2]} led at the same time, for {both:.2f} s")
