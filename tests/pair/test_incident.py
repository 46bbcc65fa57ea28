"""Every failover leaves a page of its own: its cause, who waited, and what happened, moment by moment."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from luigi_ha.ha.keeper.why import is_planned
from tests.cli.running import luigi_ha
from tests.pair.running import Caller, Pair, pair


def told(two: Pair, *words: str) -> Any:
    return luigi_ha("incident", *words, "--scheduler-url", f"http://127.0.0.1:{two.port}")


def incident(two: Pair, number: int = 1) -> dict[str, Any]:
    """Once it is recorded."""
    found: list[dict[str, Any]] = []

    def recorded() -> bool:
        done = told(two, str(number), "--json")
        if done.returncode == 0:
            found.append(json.loads(done.stdout))
        return bool(found)

    two.eventually(recorded, "an incident is on record")
    return found[0]


def test_a_killed_scheduler_and_a_killed_node_leave_an_incident_each_and_what_was_planned_none(tmp_path: Path) -> None:
    with pair(tmp_path) as two:
        first, leader = two.leadership()
        assert told(two).returncode == 1, "a first start is no incident"
        with Caller(two.port):
            os.kill(leader.scheduler, signal.SIGKILL)
            second, successor = two.leadership(after=first)
        found = incident(two)
        assert (found["epoch"], found["holder"], found["previous"]) == (second, successor.name, leader.name)
        assert "SIGKILL" in found["cause"]
        assert found["parked_seconds"] is not None
        assert found["story"]["unserved"] == found["parked_seconds"]
        lines = found["story"]["lines"]
        rows = [fields["transition"] for _at, _part, event, fields in lines if event == "state_changed"]
        assert rows[-2:] == ["promote", "lead"], "which transitions fired"
        assert {"leadership_taken", "promoted"} <= {event for _at, _part, event, _fields in lines}
        times = [at for at, *_ in lines]
        assert times == sorted(times)
        assert -5000 <= times[0] <= times[-1] <= 1000 * found["parked_seconds"] + 1000

        other = two.standby()

        def switched() -> bool:
            return luigi_ha("switchover", other.name, "--database", two.database).returncode == 0

        two.eventually(switched, "the other one, which was just started again, can lead")
        third, _leader = two.leadership(after=second)
        two.eventually(lambda: two.cluster()["failovers"][-1]["epoch"] == third, "the switchover is recorded")
        assert incident(two)["epoch"] == second, "what was planned is no incident"
        assert "story" not in two.cluster()["failovers"][-1], "the short list stays short"

        page = told(two).stdout
        assert page.startswith(f"# Incident: {leader.name} -> {successor.name}, ")
        assert "| ms | part | event | |" in page
        assert f"| database | leadership_taken | epoch={second} " in page
        assert "Nobody was served for" in page
        gone = told(two, "2")
        assert gone.returncode == 1
        assert "no such incident is on record; expected 1 for the last one" in gone.stderr
        assert told(two, "0").returncode == 2


@pytest.mark.parametrize(
    ("cause", "planned"),
    [
        ("switchover", True),
        ("first start", True),
        ("n1 was stopped", True),
        ("switchover; calls that waited here: 3, refused: 0", True),
        ("n1 was stopped; calls that waited here: 3, refused: 0", True),
        ("no word from n1: its lease ended", False),
        ("the scheduler of n1 died (SIGKILL)", False),
        ("no word from n1: its lease ended; then n2 was stopped", False),
        ("nobody led", False),
        ("n1 cannot lead: its database is away, and n2 reaches it", False),
    ],
)
def test_what_somebody_wanted_is_no_incident(cause: str, planned: bool) -> None:
    assert is_planned(cause) is planned
