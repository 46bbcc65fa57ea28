"""The judge judged: sound evidence passes, and each damage to it is named, and nothing else of a sound one is."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from drills.fleet.evidence import REMOVED, Effect, Entry, Evidence, Word
from drills.fleet.judge import bitten, judge
from luigi_ha.appliance.drill.place import Strike

NEEDS = {"a": (), "b": ("a",), "c": ("a", "b"), "f": ()}


class Case(NamedTuple):
    """One damage, and what the judge must say of it."""

    what: str
    said: str
    damage: Callable[[Evidence], Evidence]


def sound() -> Evidence:
    """Four tasks, a failover between b's beginning and its end; f ran twice, because its first worker froze."""
    effects: list[Effect] = []
    log: list[Entry] = []
    words: list[Word] = []
    runs = [("f", 1, 1, 99.0, 120.0), ("a", 1, 1, 100.0, 101.0), ("b", 1, 2, 102.0, 104.0), ("c", 1, 2, 105.0, 106.0)]
    for task, attempt, epoch, begin, end in [*runs, ("f", 2, 2, 107.0, 109.0)]:
        worker = f"w{attempt}"
        run = (task, attempt, f"{task}{attempt}")
        effects += [Effect("begin", begin, *run, worker, 7), Effect("end", end, *run, worker, 7)]
        log += [
            Entry(0, 1, task, "PENDING", "", "", 0, "rest_put_tasks"),
            Entry(0, 1 if begin < 103 else 2, task, "RUNNING", worker, run[2], attempt, "get_work"),
        ]
        words.append(Word("task_started", worker, task, run[2], attempt, "", ""))
        if (task, attempt) == ("f", 1):
            log.append(Entry(0, 1, task, "FAILED", "", run[2], 1, "prune"))
            words.append(Word("result_refused", worker, task, run[2], 1, "DONE", "attempt 2 has replaced it"))
        else:
            log.append(Entry(0, epoch, task, "DONE", worker, run[2], attempt, "add_task"))
        words.append(Word("task_finished", worker, task, run[2], attempt, "DONE", ""))
    effects.sort(key=lambda effect: effect.at)
    log.append(Entry(0, 2, "a", REMOVED, "", "", 0, "prune"))
    numbered = [entry._replace(seq=n) for n, entry in enumerate(sorted(log, key=lambda entry: entry.epoch), 1)]
    listed = {"b": "DONE", "c": "DONE", "f": "DONE"}
    return Evidence(NEEDS, effects, numbered, listed, words, {"w1": 0, "w2": 0}, {"f": 2})


STRIKE = Strike("kill", "n1", 103.0, 103.4, 1, 2, "dead")


def _without(name: str, **fields: Any) -> Callable[[Evidence], Evidence]:
    """Leave out what has these fields."""

    def damage(evidence: Evidence) -> Evidence:
        kept = [one for one in getattr(evidence, name) if any(getattr(one, k) != v for k, v in fields.items())]
        return replace(evidence, **{name: kept})

    return damage


def _with(name: str, *more: Any) -> Callable[[Evidence], Evidence]:
    return lambda evidence: replace(evidence, **{name: [*getattr(evidence, name), *more]})


def _changed(name: str, to: dict[str, Any], **fields: Any) -> Callable[[Evidence], Evidence]:
    """Change what has these fields."""

    def damage(evidence: Evidence) -> Evidence:
        changed = [
            one._replace(**to) if all(getattr(one, k) == v for k, v in fields.items()) else one
            for one in getattr(evidence, name)
        ]
        return replace(evidence, **{name: changed})

    return damage


def _mapped(name: str, **values: Any) -> Callable[[Evidence], Evidence]:
    return lambda evidence: replace(evidence, **{name: {**getattr(evidence, name), **values}})


def _all(*damages: Callable[[Evidence], Evidence]) -> Callable[[Evidence], Evidence]:
    def damage(evidence: Evidence) -> Evidence:
        for one in damages:
            evidence = one(evidence)
        return evidence

    return damage


LAST = 99
CASES = (
    Case("a task left out", "never begun: c", _without("effects", task="c")),
    Case("a task cut off", "begun and not over: b", _without("effects", task="b", what="end")),
    Case("an end out of nothing", "over and not begun: b", _without("effects", task="b", what="begin")),
    Case(
        "a task run twice", "run more often than it should: b",
        _with("effects", Effect("begin", 110.0, "b", 2, "b2", "w2", 8), Effect("end", 111.0, "b", 2, "b2", "w2", 8)),
    ),
    Case(
        "one run carried out twice", "run more often than it should: b",
        _with("effects", Effect("begin", 110.0, "b", 1, "b1", "w2", 8)),
    ),
    Case("an attempt too high", "begun as attempts [2]", _changed("effects", {"attempt": 2}, task="a")),
    Case("nobody's task", "nobody asked", _with("effects", Effect("begin", 110.0, "x", 1, "x1", "w1", 8))),
    Case(
        "a task too early", "before what it needs was over: b before a",
        _changed("effects", {"at": 100.5}, task="b", what="begin"),
    ),
    Case(
        "a run nobody handed out", "run without being handed out: a",
        _changed("effects", {"run_id": "other"}, task="a"),
    ),
    Case("a result that is not in the log", "results lost: b", _without("log", task="b", status="DONE")),
    Case("a result under another run", "results lost: b", _changed("log", {"run_id": "x"}, task="b", status="DONE")),
    Case(
        "the replaced run counted", "results lost: f",
        _changed("log", {"run_id": "f1", "attempt": 1}, task="f", status="DONE"),
    ),
    Case(
        "the replaced run counted, too", "DONE by a run that was replaced: f",
        _with("log", Entry(LAST, 2, "f", "DONE", "w1", "f1", 1, "add_task")),
    ),
    Case("done, and never run", "DONE without having run", _without("effects", task="c", what="end")),
    Case(
        "handed out twice", "handed out more often than it should: b",
        _with("log", Entry(LAST, 2, "b", "RUNNING", "w2", "b2", 2, "get_work")),
    ),
    Case(
        "done twice", "became DONE more than once: b",
        _with(
            "log", Entry(LAST, 2, "b", "PENDING", "w1", "b1", 1, "add_task"),
            Entry(LAST + 1, 2, "b", "DONE", "w1", "b1", 1, "add_task"),
        ),
    ),
    Case("a failure", "FAILED: b", _with("log", Entry(LAST, 2, "b", "FAILED", "w1", "b1", 1, "add_task"))),
    Case("a run given up", "FAILED: b", _with("log", Entry(LAST, 2, "b", "FAILED", "", "b1", 1, "prune"))),
    Case("undone", "not DONE in the log: b: PENDING", _with("log", Entry(LAST, 2, "b", "PENDING", "", "", 1, "x"))),
    Case("a late write", "after the next leader's", _with("log", Entry(LAST, 1, "b", "DONE", "w1", "b1", 1, "x"))),
    Case("a log out of order", "after the next leader's", _with("log", Entry(1, 2, "b", "DONE", "w1", "b1", 1, "x"))),
    Case("the scheduler forgot", "does not know of: a", _without("log", status=REMOVED)),
    Case("the scheduler disagrees", "says otherwise: c: RUNNING", _mapped("listed", c="RUNNING")),
    Case(
        "taken, and lost", "taken, says w1, and not in the log",
        _all(_without("effects", task="b"), _without("log", task="b", status="DONE")),
    ),
    Case(
        "a failed run", "ended as FAILED",
        _with("words", Word("task_finished", "w1", "b", "b1", 1, "FAILED", "died unexpectedly")),
    ),
    Case(
        "a result refused", "result_refused, says w1",
        _with("words", Word("result_refused", "w1", "b", "b1", 1, "DONE", "no such attempt")),
    ),
    Case("a stale result not refused", "not refused: attempt 1 of f", _without("words", event="result_refused")),
    Case("the second run missing", "run less often than it should: f", _without("effects", task="f", attempt=2)),
    Case("a worker that failed", "w1 ended with exit code 1", _mapped("codes", w1=1)),
    Case("a worker that hung", "w2 did not end", _mapped("codes", w2=None)),
)
STRIKES = (
    ("nobody else led after it", STRIKE._replace(after=1)),
    ("no task was at work", STRIKE._replace(at=98.0)),
    ("took no result", STRIKE._replace(after=3)),
)


def check() -> list[tuple[str, bool, str]]:
    """(damage, whether the judge was right, what it said)."""
    whole = sound()
    wrong, bites = judge(whole), bitten([STRIKE], whole.effects, whole.log)
    found = [("nothing", not wrong and bites == [""], "; ".join(wrong + bites) or "sound")]
    for case in CASES:
        wrong = judge(case.damage(copy.deepcopy(whole)))
        found.append((case.what, any(case.said in one for one in wrong), "; ".join(wrong)))
    for said, strike in STRIKES:
        (why,) = bitten([strike], whole.effects, whole.log)
        found.append((f"a strike: {said}", said in why, why))
    return found
