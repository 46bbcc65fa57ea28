"""What is known of a fleet's work, from those who saw it: tasks, workers, scheduler, database.

None of them is believed for another: the judge (drills.fleet.judge) compares.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

REMOVED = "REMOVED"


class Effect(NamedTuple):
    """One line of the tasks' file."""

    what: str  # "begin" or "end"
    at: float  # CLOCK_BOOTTIME, s
    task: str
    attempt: int
    run_id: str
    worker: str
    pid: int  # in the worker's host


class Entry(NamedTuple):
    """One entry of the database's log that is about a task."""

    seq: int
    epoch: int
    task: str
    status: str  # REMOVED: the scheduler forgot it
    worker: str
    run_id: str
    attempt: int
    method: str


class Word(NamedTuple):
    """One line of a worker's log that is about a run."""

    event: str  # task_started, task_finished, result_refused, ...
    worker: str
    task: str
    run_id: str
    attempt: int
    status: str
    reason: str


@dataclass(frozen=True)
class Evidence:
    """All that is known of one lot of tasks, after it. `runs`: tasks that were to be run more than once; only the last
    of these runs counts."""

    needs: Mapping[str, tuple[str, ...]]
    effects: Sequence[Effect]
    log: Sequence[Entry]  # by seq
    listed: Mapping[str, str]  # the scheduler's answer: the status of each task it knows
    words: Sequence[Word]
    codes: Mapping[str, int | None] = field(default_factory=dict)  # how each worker ended; None: it had to be killed
    runs: Mapping[str, int] = field(default_factory=dict)


def read_effects(text: str) -> list[Effect]:
    """The tasks' file. ValueError for a line that no task of a fleet writes."""
    found = []
    for line in text.splitlines():
        try:
            effect = Effect(*json.loads(line))
        except TypeError as error:
            raise ValueError(f"no line of a task: {line!r}") from error
        if effect.what not in ("begin", "end") or not all((effect.task, effect.attempt, effect.run_id, effect.worker)):
            raise ValueError(f"no line of a task: {line!r}")
        found.append(effect)
    return found


def read_words(lines: Iterable[str]) -> list[Word]:
    """What a worker's log says of runs; other lines are left out."""
    found = []
    for line in lines:
        said = event(line)
        if said is not None and "task_id" in said and "run_id" in said:
            reason = said.get("reason") or said.get("error") or ""
            run = (said["task_id"], said["run_id"] or "", said.get("attempt") or 0)
            found.append(Word(said["event"], said["worker_id"], *run, said.get("status") or "", str(reason)))
    return found


def event(line: str) -> dict[str, Any] | None:
    """A line of a worker's log; None if it is not one of its events (a traceback, a library's line)."""
    try:
        said = json.loads(line)
    except ValueError:
        return None
    return said if isinstance(said, dict) and "event" in said else None


def statement(lot: str) -> str:
    """SQL for the log of a lot's tasks: rows for `read_log`."""
    return (
        "SELECT seq, epoch, task_id, status, kind, worker_id, run_id, attempt, method FROM luigi_event "
        f"WHERE task_id LIKE '{lot}\\_%' ESCAPE '\\' AND (status IS NOT NULL OR kind = 'task_removed') ORDER BY seq"
    )


def read_log(rows: Iterable[Sequence[str]]) -> list[Entry]:
    """What the database says to `statement`; empty text for NULL."""
    return [
        Entry(
            int(seq), int(epoch), task, REMOVED if kind == "task_removed" else status, worker, run_id,
            int(attempt or 0), method,
        )
        for seq, epoch, task, status, kind, worker, run_id, attempt, method in rows
    ]  # fmt: skip
