"""The records of a round, as files: everything that its verdict rests on, and nothing else.

    calls.jsonl    one line for each call of the callers: id, began, ended, what went wrong
    effects.log    what the pipeline's tasks wrote themselves, when they began and ended
    luigi.log      luigi's own words, each with when it came
    nodes.jsonl    what each node said of itself, whenever that changed
    waiting.json   tasks that must wait: the status of each before and after
    known.json     which of the callers' tasks the database has afterwards; the status of each of the pipeline's
    late.jsonl     calls that were sent to what stood still; as calls.jsonl
    address.jsonl  which hosts had the cluster's address, by their kernels, whenever that changed
    wire.jsonl     which host answered for it on the wire, whenever that changed
    log.jsonl      the database's log of the round, row by row, as it is stored
    round.json     the fault and its proof, and what else is needed: positions of the log, the pipeline, its exit code

Times are of one clock, CLOCK_BOOTTIME, in seconds.
"""

import json
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luigi_ha.appliance.drill.place import BIN, Breakable, DrillError, Place
from luigi_ha.appliance.engine.changes import Epoch
from luigi_ha.appliance.store import Position
from luigi_ha.appliance.store.verification import Entry

ROUND, CALLS, NODES, KNOWN, LOG = "round.json", "calls.jsonl", "nodes.jsonl", "known.json", "log.jsonl"
EFFECTS, WORDS = "effects.log", "luigi.log"
LATE, ADDRESS, WIRE, WAITING = "late.jsonl", "address.jsonl", "wire.jsonl", "waiting.json"
FILES = (ROUND, CALLS, LATE, EFFECTS, WORDS, NODES, ADDRESS, WIRE, WAITING, KNOWN, LOG)
HISTORY, VERIFIES_WITHIN = "history.txt", 600.0  # s
NULL = r"\N"
_TEXTS = ("actor", "task_id", "status", "worker_id", "run_id")
_NUMBERS = ("task_num", "attempt")


@dataclass(frozen=True)
class Record:
    """One round, read back."""

    directory: Path
    about: dict[str, Any]

    @classmethod
    def load(cls, directory: Path) -> "Record":
        """ValueError or OSError if that is no record."""
        about = json.loads((directory / ROUND).read_text())
        if not isinstance(about, dict):
            raise ValueError(f"{directory / ROUND}: no record of a round")  # noqa: TRY004 - what the file holds
        return cls(directory, about)

    def text(self, name: str) -> str:
        path = self.directory / name
        return path.read_text() if path.exists() else ""

    def lines(self, name: str) -> Iterator[Any]:
        for line in self.text(name).splitlines():
            yield json.loads(line)

    def known(self) -> dict[str, Any]:
        text = self.text(KNOWN)
        found: dict[str, Any] = json.loads(text) if text else {}
        return found

    def entries(self) -> list[Entry]:
        return [Entry(*line) for line in self.lines(LOG)]

    def positions(self) -> tuple[Position, Position, float]:
        """Of the log at the beginning and at the end, and scheduler time there."""
        begun, ended = self.about["log"]["begun"], self.about["log"]["ended"]
        start = Position(Epoch(begun[0]), begun[1], begun[2])
        return start, Position(Epoch(ended[0]), ended[1], ended[2]), float(ended[3])


def write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n")


def write_lines(path: Path, lines: Iterable[Any]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def position(place: Place) -> list[Any]:
    """Where the log stands: epoch, seq, hash, scheduler time."""
    epoch, seq, last_hash, at = place.rows("SELECT epoch, seq, hash, last_time FROM leadership")[0]
    return [int(epoch), int(seq), last_hash, float(at)]


def entries(place: Place, after: int, up_to: int) -> list[Entry]:
    """The log's rows between two numbers."""
    columns = [f"coalesce({name}, '{NULL}')" if name in _TEXTS else name for name in Entry._fields]
    query = f"SELECT {', '.join(columns)} FROM luigi_event WHERE seq > {after} AND seq <= {up_to} ORDER BY seq"  # noqa: S608 - numbers
    return [_entry(row) for row in place.rows(query)]


def history(place: Breakable, directory: Path) -> dict[str, Any]:
    """What `luigi-ha verify-history` says of the whole log, whichever round wrote it."""
    said = directory / HISTORY
    process = place.popen([str(BIN / "luigi-ha"), "verify-history", "--json", *place.named], {}, directory, said)
    try:
        process.wait(VERIFIES_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise DrillError(f"verify-history has not ended within {VERIFIES_WITHIN:g} s") from None
    try:
        found = json.loads(said.read_text().splitlines()[-1])
    except (ValueError, IndexError):
        raise DrillError(f"verify-history: exit code {process.returncode}: {said.read_text()[-600:]}") from None
    said.unlink()
    kept: dict[str, Any] = {
        name: found[name] for name in ("verdict", "entries", "epochs", "tasks", "findings", "undecided")
    }
    return kept


def _entry(row: Sequence[str]) -> Entry:
    found: dict[str, Any] = dict(zip(Entry._fields, row, strict=True))
    for name in _TEXTS:
        found[name] = None if found[name] == NULL else found[name]
    for name in _NUMBERS:
        found[name] = int(found[name]) if found[name] else None
    return Entry(**{**found, "seq": int(found["seq"]), "epoch": int(found["epoch"]), "at": float(found["at"])})
