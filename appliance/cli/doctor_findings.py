"""What an examination finds: one line for each thing that was looked at, and what would be right where it is not."""

import enum
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from luigi_ha.appliance.config import ConfigError
from luigi_ha.appliance.store import StoreError
from luigi_ha.ha.errors import HaError


class Verdict(enum.Enum):
    """OK; WARN: it can lead, but somebody should know; FAIL: this node cannot lead, or must not."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """`check`: the area. `where`: what was looked at. `expected`: what would be right, empty if it is."""

    check: str
    verdict: Verdict
    where: str
    what: str
    expected: str = ""


Check = Callable[[], Iterator[Finding]]


class Examiner:
    """Makes the findings of one area."""

    __slots__ = ("check",)

    def __init__(self, check: str) -> None:
        self.check = check

    def ok(self, where: str, what: str) -> Finding:
        return Finding(self.check, Verdict.OK, where, what)

    def warn(self, where: str, what: str, expected: str) -> Finding:
        return Finding(self.check, Verdict.WARN, where, what, expected)

    def fail(self, where: str, what: str, expected: str) -> Finding:
        return Finding(self.check, Verdict.FAIL, where, what, expected)


def examined(name: str, check: Check) -> Iterator[Finding]:
    """All findings of a check. An error that ends it is a finding, too: it is why this node could not lead."""
    try:
        yield from check()
    except ConfigError as error:
        yield Finding(name, Verdict.FAIL, error.where, error.what, error.expected or "a value that can be used")
    except (HaError, StoreError, OSError) as error:
        what, _, expected = str(error).partition("; expected ")
        yield Finding(name, Verdict.FAIL, name, what, expected or "an answer without an error")


def to_json(findings: Sequence[Finding]) -> str:
    """`{"ok": bool, "findings": [{"check", "verdict", "where", "what", "expected"}]}`"""
    rows = [
        {"check": f.check, "verdict": f.verdict.value, "where": f.where, "what": f.what, "expected": f.expected}
        for f in findings
    ]
    return json.dumps({"ok": not failed(findings), "findings": rows}, indent=2)


def as_text(findings: Sequence[Finding]) -> str:
    """One line each, what would be right below it; the sum at the end."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.verdict.value:<5} {finding.check:<13} {finding.where}: {finding.what}")
        if finding.expected:
            lines.append(f"{'':<20}expected {finding.expected}")
    count = {verdict: sum(f.verdict is verdict for f in findings) for verdict in Verdict}
    summary = ", ".join(f"{number} {verdict.value}" for verdict, number in count.items())
    conclusion = "this node cannot lead as it is" if failed(findings) else "nothing stands in this node's way"
    return "\n".join([*lines, f"{summary}: {conclusion}"])


def failed(findings: Sequence[Finding]) -> bool:
    return any(finding.verdict is Verdict.FAIL for finding in findings)
