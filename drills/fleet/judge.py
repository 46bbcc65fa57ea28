"""Whether a fleet did what it should. What is wrong is named, with examples; nothing wrong is an empty list.

* each task ran as often as it was to run: begun once, over once, after all that it needs
* each run was handed out by the scheduler, each result is in the database's log, with its run, and each DONE there is
  of a run that did happen
* the last word on each task is DONE, said once; the scheduler, asked at the end, says so too
* what a worker holds for taken was taken, and what was refused it is of runs that were replaced
* the log is one: no leader wrote after its successor

Not judged here: whether the faults bit. `bitten` says which did; too few make a verdict inconclusive.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from drills.fleet.evidence import REMOVED, Effect, Entry, Evidence, Word
from luigi_ha.appliance.drill.place import Strike

SHOWN = 3  # examples of each wrong
REPORTING = 0.25  # s: a run that ended so shortly ago is still being reported, and the worker asks for the next
Run = tuple[str, int, str]  # task, attempt, run_id


def judge(evidence: Evidence) -> list[str]:
    """Everything that is wrong."""
    wrong: list[str] = []
    begun, over = _runs(evidence.effects, "begin"), _runs(evidence.effects, "end")
    _ran(wrong, evidence, begun, over)
    _ordered(wrong, evidence)
    _logged(wrong, evidence, begun, over)
    _concluded(wrong, evidence)
    _told(wrong, evidence)
    return wrong


def bitten(strikes: Iterable[Strike], effects: Sequence[Effect], log: Sequence[Entry]) -> list[str]:
    """For each strike why it decides nothing, or "": it met tasks at work, and the next leader took results."""
    found = []
    for strike in strikes:
        at_work = _at_work(effects, strike.at)
        taken = sum(entry.status == "DONE" and entry.epoch == strike.after for entry in log)
        if strike.after <= strike.before:
            found.append("nobody else led after it")
        elif not at_work:
            found.append("no task was at work when it struck")
        elif not taken:
            found.append("the next leader took no result")
        else:
            found.append("")
    return found


def figures(evidence: Evidence) -> dict[str, Any]:
    """In numbers."""
    begun, over = _runs(evidence.effects, "begin"), _runs(evidence.effects, "end")
    done = {entry.run_id for entry in evidence.log if entry.status == "DONE"}
    ends = [effect.at for effect in evidence.effects if effect.what == "end"]
    begins = sorted(effect.at for effect in evidence.effects if effect.what == "begin")
    seconds = max(ends) - begins[0] if ends and begins else 0.0
    counts: dict[str, int] = defaultdict(int)
    for word in evidence.words:
        counts[word.event] += 1
    twice = [task for task, runs in _by_task(begun).items() if len(runs) > evidence.runs.get(task, 1)]
    return {
        "tasks": len(evidence.needs),
        "runs_begun": len(begun),
        "runs_over": len(over),
        "done": sum(status == "DONE" for status in _last(evidence.log).values()),
        "twice": len(twice),
        "lost": sum(run[2] not in done for run in _counted(over, evidence.runs)),
        "failed": len(_failures(evidence)),
        "refused": counts["result_refused"],
        "seconds": round(seconds, 1),
        "tasks_per_second": round(len(over) / seconds, 1) if seconds else 0.0,
        "longest_pause_s": round(max((b - a for a, b in itertools.pairwise(begins)), default=0.0), 2),
    }


# -- each question ---------------------------------------------------------------------------------------------


def _ran(wrong: list[str], evidence: Evidence, begun: list[Run], over: list[Run]) -> None:
    needs, wanted = evidence.needs, evidence.runs
    begins, ends = _by_task(begun), _by_task(over)
    _name(wrong, "never begun", (task for task in needs if task not in begins))
    _name(wrong, "begun and not over", (_shown(run) for run in sorted(set(begun) - set(over))))
    _name(wrong, "over and not begun", (_shown(run) for run in sorted(set(over) - set(begun))))
    counts = {task: max(len(begins.get(task, ())), len(ends.get(task, ()))) for task in {*begins, *ends}}
    _name(wrong, "run more often than it should", (t for t, count in counts.items() if count > wanted.get(t, 1)))
    _name(wrong, "run less often than it should", (t for t, count in wanted.items() if counts.get(t, 0) < count))
    _name(wrong, "run, though nobody asked for it", (task for task in counts if task not in needs))
    for task, runs in begins.items():
        attempts = [attempt for _task, attempt, _run in runs]
        if attempts != sorted(set(attempts)) or attempts[0] != 1:
            wrong.append(f"{task}: begun as attempts {attempts}")


def _ordered(wrong: list[str], evidence: Evidence) -> None:
    first: dict[str, float] = {}
    last: dict[str, float] = {}
    for effect in evidence.effects:
        if effect.what == "begin":
            first[effect.task] = min(effect.at, first.get(effect.task, effect.at))
        elif effect.attempt >= evidence.runs.get(effect.task, 1):
            last[effect.task] = effect.at
    early = (
        f"{task} before {need}"
        for task, needed in evidence.needs.items() if task in first
        for need in needed if first[task] < last.get(need, float("inf"))
    )  # fmt: skip
    _name(wrong, "begun before what it needs was over", early)


def _logged(wrong: list[str], evidence: Evidence, begun: list[Run], over: list[Run]) -> None:
    handed = {(entry.task, entry.attempt, entry.run_id) for entry in evidence.log if entry.status == "RUNNING"}
    done = {(entry.task, entry.attempt, entry.run_id) for entry in evidence.log if entry.status == "DONE"}
    _name(wrong, "run without being handed out", (_shown(run) for run in sorted(set(begun) - handed)))
    lost = [run for run in _counted(over, evidence.runs) if run not in done]
    _name(wrong, "results lost", map(_shown, lost))
    _name(wrong, "DONE without having run to its end", (_shown(run) for run in sorted(done - set(over))))
    stale = done - set(_counted(done, evidence.runs))
    _name(wrong, "DONE by a run that was replaced", (_shown(run) for run in sorted(stale)))
    too_many = [_shown(run) for run in sorted(handed) if run[1] > evidence.runs.get(run[0], 1)]
    _name(wrong, "handed out more often than it should", too_many)
    _name(wrong, "FAILED", (entry.task for entry in _failures(evidence)))
    back = [b for a, b in zip(evidence.log, evidence.log[1:], strict=False) if b.epoch < a.epoch or b.seq <= a.seq]
    _name(wrong, "written after the next leader's entries", (f"entry {entry.seq}" for entry in back))


def _concluded(wrong: list[str], evidence: Evidence) -> None:
    turns: dict[str, int] = defaultdict(int)  # how often a task became DONE
    status: dict[str, str] = {}
    removed = set()
    for entry in evidence.log:
        if entry.status == REMOVED:
            removed.add(entry.task)
            continue
        turns[entry.task] += entry.status == "DONE" and status.get(entry.task) != "DONE"
        status[entry.task] = entry.status
    odd = (f"{task}: {status.get(task, 'not there')}" for task in evidence.needs if status.get(task) != "DONE")
    _name(wrong, "not DONE in the log", odd)
    _name(wrong, "became DONE more than once", (task for task, count in turns.items() if count > 1))
    listed = evidence.listed
    silent = (task for task in evidence.needs if task not in listed and task not in removed)
    _name(wrong, "the scheduler does not know of", silent)
    _name(wrong, "the scheduler says otherwise", (f"{t}: {said}" for t, said in listed.items() if said != "DONE"))


def _told(wrong: list[str], evidence: Evidence) -> None:
    done = {entry.run_id for entry in evidence.log if entry.status == "DONE"}
    for word in evidence.words:
        replaced = word.attempt < evidence.runs.get(word.task, 1)
        if word.event == "task_finished" and word.status == "DONE" and word.run_id not in done and not replaced:
            wrong.append(f"{_of(word)}: taken, says {word.worker}, and not in the log")
        elif word.event == "task_finished" and word.status != "DONE":
            wrong.append(f"{_of(word)}: ended as {word.status}, says {word.worker}: {word.reason[:200]}")
        elif word.event in ("result_refused", "attempt_lost", "result_not_taken") and not replaced:
            wrong.append(f"{_of(word)}: {word.event}, says {word.worker}: {word.reason[:200]}")
    refused = {(word.task, word.attempt) for word in evidence.words if word.event == "result_refused"}
    expected = ((task, n) for task, count in evidence.runs.items() for n in range(1, count))
    _name(wrong, "not refused", (f"attempt {n} of {task}" for task, n in expected if (task, n) not in refused))
    for name, code in evidence.codes.items():
        if code != 0:
            wrong.append(f"{name} " + ("did not end" if code is None else f"ended with exit code {code}"))


# -- small things ----------------------------------------------------------------------------------------------


def _runs(effects: Iterable[Effect], what: str) -> list[Run]:
    return [(effect.task, effect.attempt, effect.run_id) for effect in effects if effect.what == what]


def _by_task(runs: Iterable[Run]) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        found[run[0]].append(run)
    return found


def _counted(over: Iterable[Run], runs: Mapping[str, int]) -> list[Run]:
    """Those whose result counts."""
    return [run for run in over if run[1] >= runs.get(run[0], 1)]


def _failures(evidence: Evidence) -> list[Entry]:
    """Those that nobody wanted: a run that is given up, because its worker is silent, counts as failed, too."""
    failed = (entry for entry in evidence.log if entry.status == "FAILED")
    return [one for one in failed if one.method != "prune" or one.attempt >= evidence.runs.get(one.task, 1)]


def _last(log: Iterable[Entry]) -> dict[str, str]:
    return {entry.task: entry.status for entry in log if entry.status != REMOVED}


def _at_work(effects: Iterable[Effect], at: float) -> int:
    """Runs that went on, or had just ended."""
    begun = sum(effect.at <= at for effect in effects if effect.what == "begin")
    return begun - sum(effect.at <= at - REPORTING for effect in effects if effect.what == "end")


def _shown(run: Run) -> str:
    return f"{run[0]} (attempt {run[1]})"


def _of(word: Word) -> str:
    return _shown((word.task, word.attempt, word.run_id))


def _name(wrong: list[str], what: str, names: Iterable[str]) -> None:
    found = list(names)
    if found:
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        wrong.append(f"{what}: {', '.join(found[:SHOWN])}{more}")
