"""The evidence of a lot, gathered when all is over; and how a drill's result looks."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from drills.fleet import work
from drills.fleet.daemons import Fleet, say
from drills.fleet.evidence import Evidence, read_log, statement
from drills.fleet.judge import figures, judge
from drills.fleet.work import Described
from luigi_ha.appliance.drill.place import Place, ask

PASSED, FAILED, INCONCLUSIVE = "passed", "failed", "inconclusive"
EXIT_CODES = {PASSED: 0, FAILED: 1, INCONCLUSIVE: 3}
PAGE = 1000


@dataclass
class Result:
    """One drill. `wrong` fails it; else anything in `undecided` makes it inconclusive."""

    name: str
    wrong: list[str] = field(default_factory=list)
    undecided: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    seen: dict[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        return FAILED if self.wrong else INCONCLUSIVE if self.undecided else PASSED

    def must(self, true: object, otherwise: str) -> None:
        """What must hold."""
        if not true:
            self.wrong.append(otherwise)

    def proves(self, true: object, otherwise: str) -> None:
        """What must have happened for the rest to mean anything."""
        if not true:
            self.undecided.append(otherwise)

    def shown(self) -> dict[str, Any]:
        return {"verdict": self.verdict, "wrong": self.wrong, "undecided": self.undecided, **self.figures, **self.seen}


def register(place: Place, tasks: list[Described]) -> None:
    """POST /api/tasks; repeating it is harmless."""
    for first in range(0, len(tasks), work.AT_ONCE):
        ask(place, "POST", "/api/tasks", {"tasks": tasks[first : first + work.AT_ONCE]})


def statuses(place: Place, lot: str) -> dict[str, str]:
    """The scheduler's answer: the status of each task of a lot that it knows."""
    found: dict[str, str] = {}
    after: dict[str, str] = {}
    while True:
        query = urlencode({"family": work.FAMILY, "search": f"{lot}_", "limit": PAGE, **after})
        page = ask(place, "GET", f"/api/task?{query}")
        found |= {task["task_id"]: task["status"] for task in page["tasks"]}
        if page["next"] is None:
            return found
        after = {"after": page["next"]}


def evidence(
    fleet: Fleet, needs: Mapping[str, tuple[str, ...]], codes: Mapping[str, int | None],
    runs: Mapping[str, int] | None = None,
) -> Evidence:  # fmt: skip
    """To be called when nothing happens any more."""
    place = fleet.place
    place.wait_until_ready()
    return Evidence(
        needs, fleet.effects(), read_log(place.rows(statement(fleet.lot))), statuses(place, fleet.lot),
        [word for daemon in fleet.daemons for word in daemon.words()], codes, runs or {},
    )  # fmt: skip


def conclude(
    result: Result, fleet: Fleet, needs: Mapping[str, tuple[str, ...]], codes: Mapping[str, int | None],
    runs: Mapping[str, int] | None = None,
) -> Evidence:  # fmt: skip
    """Gather, judge, count."""
    found = evidence(fleet, needs, codes, runs)
    result.wrong += judge(found)
    result.figures |= figures(found)
    return found


def keep(file: Path | None, name: str, found: dict[str, Any]) -> None:
    """Put it into the file of results, if there is to be one; what others left there stays."""
    if file is not None:
        kept = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps({**kept, name: found}, indent=1) + "\n")


def exit_code(results: Iterable[dict[str, Any]]) -> int:
    """Of all results: that of the worst verdict."""
    verdicts = {found["verdict"] for found in results}
    return next((EXIT_CODES[verdict] for verdict in (FAILED, INCONCLUSIVE) if verdict in verdicts), EXIT_CODES[PASSED])


def tell(result: Result) -> None:
    """A line for people, and what is wrong."""
    say(f"{result.name}: {result.verdict}; {result.figures.get('done')} of {result.figures.get('tasks')} done")
    for words in (*result.wrong, *result.undecided):
        say(f"    {words}")
