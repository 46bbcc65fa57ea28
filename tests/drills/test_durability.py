"""The durability drill in its short form: a few kills of each kind. The full form is `python -m drills.durability`."""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from drills.ledger import PENDING, Kind, Ledger, MessageSent, Outcome, ResourceSet, TaskChange, TaskFacts, WorkTaken
from drills.rounds import BEFORE_REPLY, IN_BATCH, RANDOM, START, schedule
from tests.support.patience import patient
from tests.support.servers import available

ROOT = Path(__file__).parents[2]
needs_postgresql = [
    pytest.mark.postgresql,
    pytest.mark.skipif(not available("postgres"), reason="PostgreSQL is not installed"),
]


def drill(*arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "drills.durability", "--json", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=patient(280), check=False,
    )  # fmt: skip
    assert done.stdout, done.stderr
    figures: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == 0, json.dumps(figures, indent=2) + done.stderr
    return figures


def nothing_is_wrong(figures: dict[str, Any]) -> None:
    wrong = {name: figures[name] for name in ("lost", "applied_twice", "never_sent", "wrong_answers")}
    assert not any(wrong.values()), figures["violations"]
    assert figures["verdict"] == "passed"


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgresql", marks=needs_postgresql)])
def test_nothing_acknowledged_is_lost_or_doubled_by_sigkill_of_the_scheduler(database: str) -> None:
    figures = drill("--database", database, "--kills", "6", "--longest-load", "0.5")
    nothing_is_wrong(figures)
    assert figures["kills_by_fault"] == {RANDOM: 3, BEFORE_REPLY: 1, IN_BATCH: 1, START: 1}
    assert figures["unknown"] > 0


@pytest.mark.postgresql
@pytest.mark.skipif(not available("postgres"), reason="PostgreSQL is not installed")
def test_calls_wait_while_postgresql_is_killed_and_restarted() -> None:
    figures = drill("--database", "postgresql", "--fault", "database", "--kills", "3", "--long-outages", "0")
    nothing_is_wrong(figures)
    assert figures["kills"] == 3
    assert figures["longest_wait_of_an_acknowledged_call_s"] > 0.1


def test_the_checker_names_every_damage_and_nothing_else() -> None:
    figures = subprocess.run(
        [sys.executable, "-m", "drills.durability", "--self-test", "--json"],
        cwd=ROOT, capture_output=True, text=True, timeout=patient(280), check=False,
    )  # fmt: skip
    assert figures.returncode == 0, figures.stdout + figures.stderr
    assert len(json.loads(figures.stdout)) > 20


def test_every_chosen_fault_is_a_tenth_of_the_kills() -> None:
    faults = schedule(200, random.Random(0))
    assert len(faults) == 200
    assert [faults.count(fault) for fault in (BEFORE_REPLY, IN_BATCH, START)] == [20, 20, 20]


def acknowledged(ledger: Ledger, method: str, effect: Any, reply: Any) -> None:
    ledger.end(ledger.begin("worker-1", method, effect, 0.0), Outcome.ACKNOWLEDGED, 0.1, reply)


def test_a_task_handed_out_twice_is_noticed_at_once() -> None:
    ledger = Ledger()
    acknowledged(ledger, "add_task", TaskChange("F_1", TaskFacts(PENDING, "worker-1", "1")), None)
    acknowledged(ledger, "get_work", WorkTaken("worker-1"), {"task_id": "F_1"})
    assert not ledger.violations
    acknowledged(ledger, "get_work", WorkTaken("worker-1"), {"task_id": "F_1"})
    assert [violation.kind for violation in ledger.violations] == [Kind.TWICE]


def test_no_work_while_acknowledged_tasks_are_pending_is_a_loss() -> None:
    ledger = Ledger()
    acknowledged(ledger, "add_task", TaskChange("F_1", TaskFacts(PENDING, "worker-1", "1")), None)
    acknowledged(ledger, "get_work", WorkTaken("worker-1"), {"task_id": None})
    assert [violation.kind for violation in ledger.violations] == [Kind.LOST]


def test_an_unknown_message_may_be_there_once_and_a_refused_one_may_not() -> None:
    ledger = Ledger()
    unknown = ledger.begin("worker-1", "send_scheduler_message", MessageSent("inbox", "perhaps"), 0.0)
    ledger.end(unknown, Outcome.UNKNOWN, 0.1)
    refused = ledger.begin("worker-1", "send_scheduler_message", MessageSent("inbox", "refused"), 0.0)
    ledger.end(refused, Outcome.REFUSED, 0.1)
    ledger.fetched("inbox", ["perhaps"], certain=[], possible=["perhaps"])
    assert not ledger.violations
    ledger.fetched("inbox", ["refused"], certain=[], possible=[])
    assert [violation.kind for violation in ledger.violations] == [Kind.NEVER_SENT]
    ledger.fetched("inbox", ["perhaps"], certain=[], possible=[])
    assert [violation.kind for violation in ledger.violations] == [Kind.NEVER_SENT, Kind.TWICE]


def test_a_refused_or_unknown_call_changes_no_expectation() -> None:
    ledger = Ledger()
    for outcome in (Outcome.REFUSED, Outcome.UNKNOWN, Outcome.UNSENT):
        ledger.end(ledger.begin("worker-1", "update_resource", ResourceSet("r", 5), 0.0), outcome, 0.1)
    assert ledger.resources == {}
    assert len(ledger.unknown) == 1
