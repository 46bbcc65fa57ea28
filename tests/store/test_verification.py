"""A log that was tampered with, or that no scheduler can have written, is found out; one that is whole is not."""

import json
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from luigi_ha.appliance.cli.app import app
from luigi_ha.appliance.engine.changes import Change, Epoch
from luigi_ha.appliance.exit_codes import ExitCode
from luigi_ha.appliance.store import Position, Store, verification
from luigi_ha.appliance.store.batch import Unit, build
from luigi_ha.appliance.store.failovers import Failover
from luigi_ha.appliance.store.verification import CHECKS, Verification
from tests.differential import compare
from tests.store.samples import NOW, batch, change, creation, write


def quiet(_done: int, _of: int) -> None:
    pass


def verified(store: Store) -> Verification:
    return store.verify(quiet)


def failed(found: Verification) -> set[str]:
    return {check for check, count in found.wrong.items() if count}


def life(num: int) -> list[Change]:
    """A task that is handed out, fails, is handed out again, and is done."""
    first = {"run_id": f"r{num}a", "attempt": 1, "worker_id": "w"}
    second = {"run_id": f"r{num}b", "attempt": 2, "worker_id": "w"}
    return [
        creation(num),
        change(num, status="RUNNING", **first),
        change(num, status="FAILED", **first),
        change(num, status="PENDING", **first),
        change(num, status="RUNNING", **second),
        change(num, status="DONE", **second),
    ]


def written(store: Store) -> None:
    """Two leaders, a hundred entries or so."""
    position, at = store.take_leadership("n1", Epoch(10)), NOW
    for num in range(1, 16):
        if num == 8:
            position = store.take_leadership("n2", Epoch(20))
        for record in life(num):
            at += 1
            writer = store.writer()
            try:
                made = build([Unit([record], at, "get_work", "w")], position)
                writer.write(made)
                position = made.last
            finally:
                writer.close()


def tamper(store: Store, *statements: str) -> None:
    with store._connection("tampering", write=True) as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
        connection.commit()


def test_a_whole_log_passes_every_check(store: Store) -> None:
    written(store)
    found = verified(store)
    assert (found.findings, found.undecided) == ([], [])
    assert (found.first, found.last, found.entries, found.epochs, found.tasks) == (1, 90, 90, 2, 15)


SWAP = ("UPDATE luigi_event SET seq = -1 WHERE seq = 30", "UPDATE luigi_event SET seq = 30 WHERE seq = 31",
        "UPDATE luigi_event SET seq = 31 WHERE seq = -1")  # fmt: skip
SWAP_CONTENTS = (
    "UPDATE luigi_event SET data = e.data, task_id = e.task_id, status = e.status, run_id = e.run_id, "
    "attempt = e.attempt, at = e.at FROM (SELECT * FROM luigi_event WHERE seq IN (30, 31)) e "
    "WHERE luigi_event.seq IN (30, 31) AND e.seq <> luigi_event.seq"
)
TAMPERED: dict[str, tuple[tuple[str, ...], str]] = {
    "an entry removed": (("DELETE FROM luigi_event WHERE seq = 40",), "dense"),
    "several removed": (("DELETE FROM luigi_event WHERE seq BETWEEN 40 AND 45",), "dense"),
    "the last removed": (("DELETE FROM luigi_event WHERE seq = 90",), "dense"),
    "all removed": (("DELETE FROM luigi_event",), "dense"),
    "one removed and the rest moved up": (
        ("DELETE FROM luigi_event WHERE seq = 90", "UPDATE leadership SET seq = 89"), "chain",
    ),
    "two exchanged": (SWAP, "chain"),
    "a status forged, in its column": (("UPDATE luigi_event SET status = 'DONE' WHERE seq = 3",), "columns"),
    "a status forged, in its data": (
        ("UPDATE luigi_event SET data = replace(data, 'FAILED', 'DONE') WHERE seq = 3",), "chain",
    ),
    "a run's id forged everywhere": (
        (
            "UPDATE luigi_event SET run_id = 'r1b', data = replace(data, 'r1a', 'r1b') WHERE seq = 2",
        ),
        "chain",
    ),
    "who did it": (("UPDATE luigi_event SET actor = 'somebody else' WHERE seq = 50",), "chain"),
    "which call did it": (("UPDATE luigi_event SET method = 'forgive_failures' WHERE seq = 50",), "chain"),
    "when it was": (("UPDATE luigi_event SET at = at - 30 WHERE seq = 50",), "time"),
    "when the last was": (("UPDATE luigi_event SET at = at + 30 WHERE seq = 90",), "time"),
    "the task of an entry, in its column": (("UPDATE luigi_event SET task_id = 'Other_1' WHERE seq = 9",), "columns"),
    "data that is none": (("UPDATE luigi_event SET data = '[1,' WHERE seq = 9",), "columns"),
    "a kind that is none": (("UPDATE luigi_event SET kind = 'nothing' WHERE seq = 9",), "columns"),
    "an epoch used again": (("UPDATE luigi_event SET epoch = 10 WHERE seq = 60",), "epochs"),
    "an epoch used again, to the end": (("UPDATE luigi_event SET epoch = 10 WHERE seq > 42",), "chain"),
    "an epoch that leads only later": (("UPDATE luigi_event SET epoch = 30 WHERE seq = 90",), "epochs"),
    "a leadership put back": (("UPDATE leadership SET epoch = 15",), "epochs"),
    "a leadership with another hash": (("UPDATE leadership SET hash = '" + "a" * 32 + "'",), "chain"),
}  # fmt: skip


@pytest.mark.parametrize("what", TAMPERED)
def test_what_was_tampered_with_is_found_by_the_check_for_it(
    what: str, sqlite_url: str, make_store: Callable[..., Store]
) -> None:
    store = make_store(sqlite_url)
    statements, check = TAMPERED[what]
    written(store)
    tamper(store, *statements)
    assert check in failed(verified(store)), verified(store).findings


@pytest.mark.parametrize("what", ["an entry removed", "two exchanged", "a status forged, in its data"])
def test_it_is_found_in_each_kind_of_database(what: str, store: Store) -> None:
    statements, check = TAMPERED[what]
    written(store)
    if "postgresql" in repr(store) and what == "two exchanged":
        statements = (SWAP_CONTENTS,)  # there is no partition for a number below 0
    tamper(store, *statements)
    assert check in failed(verified(store)), verified(store).findings


RUN, NEXT = {"run_id": "r1", "attempt": 1}, {"run_id": "r2", "attempt": 2}
IMPOSSIBLE = {
    "handed out again once done": [change(1, status="DONE", **RUN), change(1, status="RUNNING", **NEXT)],
    "handed out twice at once": [change(1, status="RUNNING", **NEXT)],
    "another run under the same number": [change(1, status="RUNNING", run_id="r2", attempt=1)],
    "an older run again": [
        change(1, status="PENDING", **NEXT), change(1, status="RUNNING", **RUN),
    ],
    "a run that is missing": [change(1, status="PENDING", **RUN), change(1, status="RUNNING", run_id="r3", attempt=3)],
    "one run of two tasks": [creation(2), change(2, status="RUNNING", **RUN)],
}  # fmt: skip


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_what_no_scheduler_does_is_found_though_the_chain_is_whole(
    what: str, sqlite_url: str, make_store: Callable[..., Store]
) -> None:
    store = make_store(sqlite_url)
    records = [creation(1), change(1, status="RUNNING", **RUN), *IMPOSSIBLE[what]]
    position = store.take_leadership("n1")
    writer = store.writer()
    writer.write(build([Unit(records, NOW, "get_work", "w")], position))
    writer.close()
    assert failed(verified(store)) == {"transitions"}


def test_a_client_that_says_itself_that_a_task_runs_is_no_double_run(store: Store) -> None:
    position = store.take_leadership("n1")
    write(store, position, creation(1, status="DONE"), change(1, status="RUNNING", **RUN))  # method add_task
    assert failed(verified(store)) == set()


@pytest.mark.parametrize("seed", range(1, 9))
def test_no_mixture_of_calls_makes_a_log_that_fails(
    seed: int, sqlite_url: str, make_store: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The random calls of the differential test, each written as it was made."""
    units: list[Unit] = []
    call = compare._Pair.call

    def recorded(pair: Any, made: Any) -> Any:
        ours = pair.ours
        take = ours.take_changes

        def taken() -> Any:
            changes = take()
            if changes.records:
                units.append(Unit(list(changes.records), pair.clock.read(), made.method, None))
            return changes

        ours.take_changes = taken
        try:
            return call(pair, made)
        finally:
            ours.take_changes = take

    monkeypatch.setattr(compare._Pair, "call", recorded)
    assert compare.run(seed, 1200).mismatch is None
    store = make_store(sqlite_url)
    position = store.take_leadership("n1")
    writer = store.writer()
    writer.write(build(units, position))
    writer.close()
    found = verified(store)
    assert found.findings == []
    assert found.entries > 300


def test_a_log_whose_beginning_retention_dropped_is_not_decided(store: Store) -> None:
    written(store)
    tamper(store, "DELETE FROM luigi_event WHERE seq < 7")
    found = verified(store)
    assert failed(found) == set()
    assert "entries before 7" in found.undecided[0]


def test_what_retention_drops_in_the_middle_of_it_is_not_decided(
    sqlite_url: str, make_store: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(sqlite_url)
    written(store)
    monkeypatch.setattr(verification, "PAGE", 20)

    def drop(done: int, _of: int) -> None:
        if done == 40:
            store.prune_events(keep_events=20)

    found = store.verify(drop)
    assert failed(found) == set()
    assert any("dropped by retention meanwhile" in each for each in found.undecided)


def test_the_first_of_a_batch_may_go_by_the_runs_of_its_members(store: Store) -> None:
    position = store.take_leadership("n1")
    records = [creation(1), change(1, status="RUNNING", **NEXT, batch_id="b"),
               change(1, status="RUNNING", run_id="r9", attempt=9, batch_id="b")]  # fmt: skip
    writer = store.writer()
    writer.write(build([Unit(records, NOW, "get_work", "w")], position))
    writer.close()
    assert failed(verified(store)) == set()


def test_an_empty_log_is_not_decided(store: Store) -> None:
    store.take_leadership("n1")
    found = verified(store)
    assert failed(found) == set()
    assert found.undecided


def test_long_logs_are_read_in_pages(sqlite_url: str, make_store: Callable[..., Store]) -> None:
    store = make_store(sqlite_url)
    position, told = store.take_leadership("n1"), []
    made = batch(position, *(creation(number) for number in range(1, 12_001)))
    writer = store.writer()
    writer.write(made)
    writer.close()
    found = store.verify(lambda done, of: told.append((done, of)))
    assert (found.entries, found.findings) == (12_000, [])
    assert told == [(5000, 12_000), (10_000, 12_000), (12_000, 12_000)]


# -- the command ------------------------------------------------------------------------------------------------


def command(url: str, *options: str) -> Any:
    return CliRunner().invoke(app, ["verify-history", "--database", url, *options])


def test_the_command_says_which_check_failed_where(sqlite_url: str, make_store: Callable[..., Store]) -> None:
    store = make_store(sqlite_url)
    written(store)
    whole = command(sqlite_url)
    assert whole.exit_code == ExitCode.OK
    assert "passed" in whole.output
    tamper(store, "DELETE FROM luigi_event WHERE seq = 40")
    broken = command(sqlite_url, "--json")
    assert broken.exit_code == ExitCode.FAILED
    said = json.loads(broken.output)
    assert said["verdict"] == "failed"
    assert {each["check"] for each in said["findings"]} >= {"dense", "chain"}
    assert set(said["wrong"]) == set(CHECKS)
    told = command(sqlite_url).output
    assert "dense: entry 41: the entries 40 to 40 are missing" in told


def test_the_command_is_inconclusive_about_an_empty_log(sqlite_url: str, make_store: Callable[..., Store]) -> None:
    make_store(sqlite_url)
    assert command(sqlite_url).exit_code == ExitCode.INCONCLUSIVE


def test_the_command_makes_no_database(tmp_path: Path) -> None:
    result = command(f"sqlite:///{tmp_path}/none.db")
    assert result.exit_code != 0
    assert not (tmp_path / "none.db").exists()


def test_it_may_be_run_while_a_leader_writes(sqlite_url: str, make_store: Callable[..., Store]) -> None:
    store = make_store(sqlite_url)
    position = store.take_leadership("n1")
    position = write(store, position, *life(1)[:1])
    path = sqlite_url.removeprefix("sqlite:///")
    rng = random.Random(1)

    def write_more(_done: int, _of: int) -> None:
        nonlocal position
        position = write(store, position, creation(rng.randrange(10**9)))

    assert isinstance(position, Position)
    for _ in range(5):
        found = store.verify(write_more)
        assert failed(found) == set()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM luigi_event").fetchone() == (6,)


def test_a_leader_that_takes_over_while_the_log_is_read_is_nothing_wrong(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(store)
    monkeypatch.setattr(verification, "PAGE", 20)
    taken = []

    def another_leads(done: int, _of: int) -> None:
        if not taken:
            taken.append(done)
            store.take_leadership("n3", Epoch(30))
            store.record_failover(Failover(Epoch(30), NOW + 500, "n3", "n2", "its lease ran out", 1.0, 0.1, True, 0))

    assert failed(store.verify(another_leads)) == set()
    assert taken


def test_a_leader_on_record_of_whom_the_leadership_knows_nothing_is_found(
    sqlite_url: str, make_store: Callable[..., Store]
) -> None:
    store = make_store(sqlite_url)
    store.upgrade()
    written(store)
    store.take_leadership("n3", Epoch(30))
    store.record_failover(Failover(Epoch(30), NOW + 500, "n3", "n2", "its lease ran out", 1.0, 0.1, True, 0))
    with sqlite3.connect(sqlite_url.removeprefix("sqlite:///")) as connection:
        connection.execute("UPDATE leadership SET epoch = 20")
    assert failed(verified(store)) == {"epochs"}
