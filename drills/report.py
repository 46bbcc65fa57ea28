"""What a drill found: figures, verdict, table, progress.

Invariant: *passed* needs proof that the faults bit and that enough was at stake; without it the verdict is
*inconclusive*, whatever else was seen. Any contradiction is *failed*.
"""

import enum
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from drills.ledger import Call, Kind, Ledger, Outcome

LEAST_ACKNOWLEDGED = 25  # a kill, on average
SHOWN_VIOLATIONS = 20


class Verdict(enum.Enum):
    """What a drill proved."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"


EXIT_CODES = {Verdict.PASSED: 0, Verdict.FAILED: 1, Verdict.INCONCLUSIVE: 3}


@dataclass
class Report:
    """Figures of one drill."""

    name: str
    seed: int
    wanted: Counter[str]  # kills, by fault
    bit: Counter[str] = field(default_factory=Counter)  # of these, proven
    missed: list[str] = field(default_factory=list)  # kills that did not bite, and why
    began: float = field(default_factory=time.monotonic)
    load_seconds: float = 0.0  # of undisturbed load, before kills at random moments
    load_calls: int = 0  # made in that time
    fates: dict[str, list[int]] = field(default_factory=dict)  # by fault: calls without an answer, and those applied
    starts: list[float] = field(default_factory=list)
    events: int = 0
    comparisons: int = 0
    long_outages: int = 0
    refused_in_long_outages: int = 0
    longest_outage: float = 0.0

    def verdict(self, ledger: Ledger) -> tuple[Verdict, list[str]]:
        """The verdict, and why it is not better."""
        if ledger.violations:
            return Verdict.FAILED, [f"{len(ledger.violations)} contradictions"]
        reasons = [
            f"{fault}: {self.bit[fault]} of {number} kills are proven"
            for fault, number in self.wanted.items()
            if self.bit[fault] < number
        ]
        acknowledged = [call for call in ledger.calls if call.outcome is Outcome.ACKNOWLEDGED]
        kills = self.wanted.total()
        if len(acknowledged) < LEAST_ACKNOWLEDGED * kills:
            reasons.append(f"only {len(acknowledged)} calls acknowledged, fewer than {LEAST_ACKNOWLEDGED} a kill")
        methods = Counter(f"{call.method} ({type(call.effect).__name__})" for call in acknowledged)
        reasons += [f"only {number} x {method}" for method, number in methods.items() if number < kills]
        if len(methods) < 6:
            reasons.append(f"only these calls were made: {', '.join(methods)}")
        return (Verdict.INCONCLUSIVE, reasons) if reasons else (Verdict.PASSED, [])

    def figures(self, ledger: Ledger) -> dict[str, Any]:
        """Everything, for a machine."""
        verdict, reasons = self.verdict(ledger)
        outcomes = Counter(call.outcome for call in ledger.calls)
        found = Counter(violation.kind for violation in ledger.violations)
        answered = [call.seconds for call in ledger.calls if call.outcome is Outcome.ACKNOWLEDGED]
        unknown = [call for call in ledger.calls if call.outcome is Outcome.UNKNOWN]
        return {
            "drill": self.name,
            "seed": self.seed,
            "verdict": verdict.value,
            "reasons": reasons,
            "kills": self.bit.total(),
            "kills_by_fault": {fault: self.bit[fault] for fault in self.wanted},
            "kills_that_missed": self.missed,
            "calls_sent": len(ledger.calls) - outcomes[Outcome.UNSENT],
            "calls_per_second_under_load": round(self.load_calls / self.load_seconds) if self.load_seconds else 0,
            "acknowledged": outcomes[Outcome.ACKNOWLEDGED],
            "refused": outcomes[Outcome.REFUSED],
            "unknown": len(unknown),
            "unknown_that_took_effect": sum(call.applied is True for call in unknown),
            "unknown_by_fault": {fault: f"{applied} of {all_}" for fault, (all_, applied) in self.fates.items()},
            "lost": found[Kind.LOST],
            "applied_twice": found[Kind.TWICE],
            "never_sent": found[Kind.NEVER_SENT],
            "wrong_answers": found[Kind.WRONG],
            "log_contradictions": found[Kind.LOG],
            "comparisons": self.comparisons,
            "tasks": len(ledger.tasks),
            "log_entries": self.events,
            "longest_restart_s": round(max(self.starts, default=0.0), 2),
            "longest_wait_of_an_acknowledged_call_s": round(max(answered, default=0.0), 2),
            **self._outages(outcomes[Outcome.REFUSED] + len(unknown)),
            "duration_s": round(time.monotonic() - self.began, 1),
            "violations": [{**v._asdict(), "kind": v.kind.value} for v in ledger.violations],
        }

    def _outages(self, not_acknowledged: int) -> dict[str, Any]:
        """Of a database drill: how many calls had to hear a 503, and whether the outage was to blame."""
        if not self.longest_outage:
            return {}
        return {
            "longest_outage_s": round(self.longest_outage, 2),
            "answered_503_in_outages_within_the_park_time": not_acknowledged - self.refused_in_long_outages,
            "outages_longer_than_the_park_time": self.long_outages,
            "answered_503_in_those": self.refused_in_long_outages,
        }

    def fate(self, fault: str, calls: list[Call]) -> None:
        """What became of the calls that a kill left without an answer."""
        all_, applied = self.fates.get(fault, (0, 0))
        self.fates[fault] = [all_ + len(calls), applied + sum(call.applied is True for call in calls)]

    def loaded(self, seconds: float, calls: int) -> None:
        """So many calls were made in a time without any disturbance."""
        self.load_seconds += seconds
        self.load_calls += calls

    def show(self, ledger: Ledger) -> None:
        """The table, and the first contradictions with what is known about them."""
        console = Console(width=None if sys.stdout.isatty() else 110)
        figures = self.figures(ledger)
        table = Table(title=self.name, show_header=False)
        for name, value in figures.items():
            if name in ("violations", "drill"):
                continue
            shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
            shown = "; ".join(shown) if isinstance(shown, list) else str(shown)
            table.add_row(name.replace("_s", ", s") if name.endswith("_s") else name.replace("_", " "), shown)
        console.print(table)
        for violation in ledger.violations[:SHOWN_VIOLATIONS]:
            console.print(f"{violation.kind.name}: {violation.what}", markup=False, highlight=False)
            print(f"    expected {violation.expected[:500]}\n    seen     {violation.seen[:500]}")
            for line in ledger.about(violation.what):
                print(f"    {line[:500]}")


class Meter:
    """Progress: a bar on a terminal, now and then a line elsewhere. Goes to stderr."""

    def __init__(self, what: str, total: int) -> None:
        self._terminal = sys.stderr.isatty()
        self._what, self._total, self._done = what, total, 0
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, TextColumn("{task.fields[note]}"), console=Console(stderr=True))
        self._task = self._bar.add_task(what, total=total, note="")
        if self._terminal:
            self._bar.start()

    def step(self, note: str) -> None:
        """One more kill."""
        self._done += 1
        self._bar.update(self._task, advance=1, note=note)
        if not self._terminal and (self._done % 10 == 0 or self._done == self._total):
            print(f"{self._what}: {self._done}/{self._total} {note}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave the terminal in order."""
        if self._terminal:
            self._bar.stop()
