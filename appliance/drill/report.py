"""The report of a drill: a directory that anybody can check again.

    report.json    what was drilled, where, with which seed; each round's judgement and the hashes of its records; the
                   table; what verify-history says of the whole log afterwards; the verdict; the hash of the report
                   before it in the same place
    report.sig     Ed25519 over report.json, with the key of the place (drill.key beside the reports, made at the first)
    report.html    the same for people: one page, no network
    rounds/NN-FAULT/   the records (luigi_ha.appliance.drill.records)

`check` believes none of it: it hashes the records, checks the signature, and judges each round again.
"""

import base64
import hashlib
import json
import os
import socket
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from luigi_ha.appliance.drill import records
from luigi_ha.appliance.drill.judging import FAILED, INCONCLUSIVE, PASSED, judge

REPORT, SIGNATURE, PAGE, ROUNDS, KEY = "report.json", "report.sig", "report.html", "rounds", "drill.key"
UNFINISHED = "report.json.new"
FORMAT = 1
FIGURES = ("led", "address_moved", "gap", "longest_wait", "start_gap")
COUNTS = ("calls", "acknowledged", "lost", "failed_in_flight", "failed_after", "tasks", "done", "twice")
Json = dict[str, Any]


@dataclass
class Problems:
    """What is wrong with a report: `broken` is not what it was when it was signed; `differs` judges otherwise."""

    broken: list[str] = field(default_factory=list)
    differs: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def found(self) -> bool:
        return bool(self.broken or self.differs)


def write(directory: Path, about: Mapping[str, Any]) -> Json:
    """Judge the rounds in `directory`, and write report and signature. `about`: place, seed, faults asked for."""
    rounds = [_round(path) for path in sorted((directory / ROUNDS).iterdir())]
    key = _key(directory.parent / KEY)
    report: Json = {
        "format": FORMAT,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "luigi_ha": version("luigi-ha"),
        "host": socket.gethostname(),
        **about,
        "rounds": rounds,
        "table": table(rounds),
        "verdict": _whole(rounds, about),
        "previous": _previous(directory),
        "key": base64.b64encode(key.public_key().public_bytes_raw()).decode(),
    }
    text = json.dumps(report, indent=1).encode() + b"\n"
    (directory / SIGNATURE).write_text(base64.b64encode(key.sign(text)).decode() + "\n")
    (directory / UNFINISHED).write_bytes(text)
    (directory / UNFINISHED).rename(directory / REPORT)  # a node may be reading
    return report


def load(directory: Path) -> Json:
    """ValueError or OSError if there is no report."""
    report = json.loads((directory / REPORT).read_text())
    if not isinstance(report, dict) or report.get("format") != FORMAT:
        raise ValueError(f"{directory / REPORT}: no report of this format")
    return report


def check(directory: Path, key: bytes | None = None) -> tuple[Json, Problems]:
    """The report, and what is wrong with it. `key`: the public key that must have signed it; None: its own."""
    report, problems = load(directory), Problems()
    _signature(directory, report, key, problems)
    on_disk = {path.name for path in (directory / ROUNDS).iterdir()} if (directory / ROUNDS).is_dir() else set()
    told = {str(each["directory"]) for each in report["rounds"]}
    problems.broken += [f"{name}: not in the report" for name in sorted(on_disk - told)]
    problems.broken += [f"{name}: its records are gone" for name in sorted(told - on_disk)]
    for one in report["rounds"]:
        if str(one["directory"]) not in on_disk:  # whatever path it names
            continue
        path = directory / ROUNDS / str(one["directory"])
        now = _hashes(path)
        changed = sorted(name for name in {*now, *one["files"]} if now.get(name) != one["files"].get(name))
        problems.broken += [f"{one['directory']}/{name}: is not what it was" for name in changed]
        try:
            again = _round(path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            problems.broken.append(f"{one['directory']}: cannot be judged again: {type(error).__name__}: {error}")
            continue
        for name in ("verdict", "wrong", "undecided", "figures"):
            if again[name] != one[name]:
                what = f"{name} is {again[name]!r}, and the report says {one[name]!r}"
                problems.differs.append(f"{one['directory']}: {what}")
    if _whole(report["rounds"], report) != report["verdict"]:
        problems.differs.append(f"the verdict of its rounds is not {report['verdict']}")
    if table(report["rounds"]) != report["table"]:
        problems.differs.append("the table is not that of its rounds")
    _chain(directory, report, problems)
    return report, problems


def worst(verdicts: Sequence[str]) -> str:
    """Of several; nothing at all is inconclusive."""
    if FAILED in verdicts:
        return FAILED
    return PASSED if verdicts and INCONCLUSIVE not in verdicts else INCONCLUSIVE


def _whole(rounds: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> str:
    """The verdict of all rounds, and of the whole log after them; of a drill that was broken off none is passed."""
    history = about.get("history")
    more = [history["verdict"]] if history and rounds else []
    more += [INCONCLUSIVE] if about.get("broken_off") else []
    return worst([*(each["verdict"] for each in rounds), *more])


def table(rounds: Sequence[Mapping[str, Any]]) -> list[Json]:
    """A row for each fault: p50, p95 and max of what was measured, sums of what was counted."""
    rows: list[Json] = []
    for fault in dict.fromkeys(str(each["fault"]) for each in rounds):
        own = [each for each in rounds if each["fault"] == fault]
        row: Json = {"fault": fault, "rounds": len(own)}
        row |= {verdict: sum(each["verdict"] == verdict for each in own) for verdict in (PASSED, FAILED, INCONCLUSIVE)}
        for name in FIGURES:
            values = sorted(float(each["figures"][name]) for each in own if each["figures"].get(name) is not None)
            if values:
                high = values[min(len(values) - 1, round(0.95 * (len(values) - 1)))]
                row[name] = {"p50": round(statistics.median(values), 3), "p95": high, "max": values[-1]}
        row |= {name: sum(int(each["figures"].get(name) or 0) for each in own) for name in COUNTS}
        rows.append(row)
    return rows


def _round(path: Path) -> Json:
    record = records.Record.load(path)
    about = record.about
    return {
        "directory": path.name,
        "fault": about["fault"]["name"],
        "bite": about["bite"],
        "trouble": about.get("trouble"),
        **judge(record).as_json(),
        "files": _hashes(path),
    }


def _hashes(path: Path) -> dict[str, str]:
    there = [name for name in records.FILES if (path / name).exists()]
    return {name: hashlib.sha256((path / name).read_bytes()).hexdigest() for name in there}


def _key(path: Path) -> Ed25519PrivateKey:
    """The place's key; made, readable by its owner alone, if there is none."""
    if not path.exists():
        made = Ed25519PrivateKey.generate()
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(base64.b64encode(made.private_bytes_raw()) + b"\n")
        return made
    return Ed25519PrivateKey.from_private_bytes(base64.b64decode(path.read_bytes()))


def _signature(directory: Path, report: Json, key: bytes | None, problems: Problems) -> None:
    own = base64.b64decode(str(report.get("key", "")))
    if key is not None and key != own:
        problems.broken.append("it is signed with another key than the one that was given")
    try:
        signature = base64.b64decode((directory / SIGNATURE).read_text())
        Ed25519PublicKey.from_public_bytes(key or own).verify(signature, (directory / REPORT).read_bytes())
    except (OSError, ValueError, InvalidSignature) as error:
        what = "is not signed" if isinstance(error, OSError) else "is not what was signed"
        problems.broken.append(f"{REPORT} {what}")
    if key is None:
        problems.notes.append("signed with the key that is in the report itself: give --key to know whose it is")


def _previous(directory: Path) -> Json | None:
    """The report before this one in the same place."""
    others = sorted(path for path in directory.parent.iterdir() if (path / REPORT).exists() and path != directory)
    before = [path for path in others if path.name < directory.name]
    if not before:
        return None
    return {"directory": before[-1].name, "sha256": _sha(before[-1] / REPORT)}


def _chain(directory: Path, report: Json, problems: Problems) -> None:
    before = report.get("previous")
    if before is None:
        return
    path = directory.parent / str(before["directory"]) / REPORT
    if not path.exists():
        problems.notes.append(f"the report before it, {before['directory']}, is not here")
    elif _sha(path) != before["sha256"]:
        problems.broken.append(f"the report before it, {before['directory']}, is not what it was")


def _sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
