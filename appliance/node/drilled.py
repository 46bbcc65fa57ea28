"""What the last drill of this cluster came to, as far as this host knows: for `status`, /health and the metrics.

A drill (`luigi-ha drill run --on hosts`, by hand or by its timer) leaves its report in `drill_reports` of the host
where it ran. Every node looks there now and then; the newest that any node has is the cluster's. Only the verdict is
read: whether a report is what was signed, `luigi-ha drill verify` says.
"""

import asyncio
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luigi_ha.appliance import log

if TYPE_CHECKING:
    from luigi_ha.appliance.node.node import Node

LOOK_EVERY = 30.0  # s
REPORT, UNREADABLE = "report.json", "unreadable"
NAMED = "%Y-%m-%dT%H-%M-%SZ"
_log = log.get("node")


@dataclass(frozen=True, slots=True)
class Drilled:
    """One drill of the operator's own hosts. `at`: when it ended, s since the epoch of 1970."""

    verdict: str
    at: float
    rounds: int
    report: str

    def as_json(self) -> dict[str, Any]:
        return {"verdict": self.verdict, "at": self.at, "rounds": self.rounds, "report": self.report}


def last(directory: Path) -> Drilled | None:
    """Return the newest one among the reports in `directory`; None: there is none. OSError if it cannot be looked into.

    One that cannot be read is `unreadable`: an older one is not shown in its place."""
    try:
        found = sorted((each.name for each in os.scandir(directory) if each.name.endswith("-hosts")), reverse=True)
    except FileNotFoundError:
        return None
    for name in found:  # named by their time
        path = directory / name / REPORT
        try:
            return _read(path)
        except FileNotFoundError:
            continue  # it runs, or was broken off
        except (OSError, ValueError):
            return Drilled(UNREADABLE, _begun(name), 0, str(path.parent))
    return None


def _begun(name: str) -> float:
    """When it began, by the name of its directory."""
    try:
        return datetime.strptime(name.removesuffix("-hosts"), NAMED).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0


def _read(path: Path) -> Drilled:
    said = json.loads(path.read_text())
    try:
        at = datetime.fromisoformat(said["made_at"]).timestamp()
        return Drilled(str(said["verdict"]), at, len(said["rounds"]), str(path.parent))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{type(error).__name__}: {error}; expected the report of a drill") from error


async def look_for_drills(node: "Node") -> None:
    """Look for the newest report every now and then; what cannot be read is said once."""
    directory, said = Path(node.options.serve.drill_reports), ""
    while True:
        trouble = ""
        try:
            found = await asyncio.to_thread(last, directory)
        except OSError as error:
            found, trouble = None, str(error)
        else:
            if found is not None and found.verdict == UNREADABLE:
                trouble = f"{found.report}/{REPORT} cannot be read, or is no report"
        node.drilled = found
        if trouble and trouble != said:
            _log.warning("drill_report_unreadable", error=trouble)
        said = trouble
        await asyncio.sleep(LOOK_EVERY)
