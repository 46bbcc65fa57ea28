"""One line of the spool: a checksum and a JSON object. What a run is, and what is kept of it.

A line stands alone: it begins with a line feed too, so that one that was cut off by a crash damages no other.
"""

import json
import zlib
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of one task: what an assignment names and a report repeats."""

    task_id: str
    run_id: str  # "": the scheduler knows no runs
    attempt: int
    key: str  # names it in the spool: the run_id, or one of our own

    @property
    def fields(self) -> dict[str, Any]:
        """For logs."""
        return {"task_id": self.task_id, "run_id": self.run_id or None, "attempt": self.attempt or None}


@dataclass(frozen=True, slots=True)
class Started:
    """Written by the task's process before the task's first step."""

    run: Run
    family: str
    module: str | None
    params: dict[str, str]
    session: int  # its process id, and that of its session
    born: int  # when that process began, in the kernel's ticks: tells it from a later one of the same number
    at: float  # s since 1970


@dataclass(frozen=True, slots=True)
class Finished:
    """Written by the task's process after the task's last step."""

    run: Run
    status: str  # luigi's: DONE, FAILED, or PENDING with new dependencies
    explanation: Any
    missing: list[str] = field(default_factory=list)
    new_deps: list[list[Any]] = field(default_factory=list)  # [module, family, params]


def encode(kind: str, value: dict[str, Any]) -> bytes:
    """A line."""
    text = json.dumps({"kind": kind, **value}).encode()
    return b"\n%08x %b\n" % (zlib.crc32(text), text)


def decode(line: bytes) -> dict[str, Any]:
    """ValueError if it is damaged."""
    checksum, _, text = line.partition(b" ")
    if int(checksum, 16) != zlib.crc32(text):
        raise ValueError("wrong checksum")
    found: dict[str, Any] = json.loads(text)
    return found


def started_line(started: Started) -> bytes:
    return encode("started", asdict(started))


def finished_line(finished: Finished) -> bytes:
    return encode("finished", asdict(finished))


def acknowledged_line(key: str) -> bytes:
    return encode("acknowledged", {"key": key})


def read_started(value: dict[str, Any]) -> Started:
    """ValueError, KeyError, TypeError if it is none."""
    return Started(**_fields(value))


def read_finished(value: dict[str, Any]) -> Finished:
    """ValueError, KeyError, TypeError if it is none."""
    return Finished(**_fields(value))


def _fields(value: dict[str, Any]) -> dict[str, Any]:
    rest = {name: part for name, part in value.items() if name not in ("kind", "run")}
    return {"run": Run(**value["run"]), **rest}
