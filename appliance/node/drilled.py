"""What the last drill of this cluster came to, as far as this host knows: for `status`, /health and the metrics.

A drill (`luigi-ha drill run --on hosts`, by hand or by its timer) leaves its report on the host where it ran. Every
node looks there now and then; the newest that any node has is the cluster's. Only the verdict is read: whether a report
is what was signed, `luigi-ha drill verify` says.
"""

import asyncio
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luigi_ha.appliance import log

if TYPE_CHECKING:
    from luigi_ha.appliance.node.node import Node

LOOK_EVERY = 30.0  # s
REPORT = "report.json"
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
    """Return the newest one among the reports in `directory`; None: there is none. ValueError, OSError: unreadable."""
    if not directory.is_dir():
        return None
    for path in sorted(directory.glob(f"*-hosts/{REPORT}"), reverse=True):  # named by their time
        return _read(path)
    return None


def _read(path: Path) -> Drilled:
    said = json.loads(path.read_text())
    try:
        at = datetime.fromisoformat(said["made_at"]).timestamp()
        return Drilled(str(said["verdict"]), at, len(said["rounds"]), str(path.parent))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: {type(error).__name__}: {error}; expected the report of a drill") from error


async def look_for_drills(node: "Node") -> None:
    """Read the newest report every now and then; what cannot be read is said once."""
    directory, said = Path(node.options.serve.drill_reports), ""
    while True:
        trouble = ""
        try:
            node.drilled = await asyncio.to_thread(last, directory)
        except (OSError, ValueError) as error:
            trouble = str(error)
        if trouble and trouble != said:
            _log.warning("drill_report_unreadable", directory=str(directory), error=trouble)
        said = trouble
        await asyncio.sleep(LOOK_EVERY)
