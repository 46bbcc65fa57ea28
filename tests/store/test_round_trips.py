"""What goes in comes out, exactly, on every database; and people can read it."""

import json
import math
import sqlite3
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luigi_ha.appliance.engine.changes import (
    AnswerPut,
    AnswersForgotten,
    BatcherPut,
    BatcherRemoved,
    ResourcePut,
    SettingPut,
    TaskPut,
    TaskRemoved,
    WorkerPut,
    WorkerRemoved,
)
from luigi_ha.appliance.store import Poisoned, Store
from luigi_ha.appliance.store.records import KINDS, decode
from luigi_ha.appliance.store.text import escape, to_json, unescape
from tests.store.samples import NOW, Model, change, creation, definition, detail, loaded, replayed, state, write
from tests.support.servers import PostgresServer

ODD_TEXT = [
    "", " ", "plain", """it's "quoted" \\ back\\slash %s %(x)s :name ?""", "\0", "a\0b", "\ud800", "x\udfff\ud800y",
    "\ue000", '\ue000"x"', "é", "e\u0301", "🦎", "\x1f\x1e\n\r\t", "\ufffe\uffff", "'; DROP TABLE luigi_task; --", "$$",
    "\\u0041",
]  # fmt: skip
ODD_NUMBERS = [0, -1, 1.5, math.inf, -math.inf, math.nan, 10**400, -(10**30), 1e308, 5e-324, True, -0.0]


@pytest.mark.parametrize("text", ODD_TEXT)
def test_odd_text_survives_and_ordinary_text_stays_as_it_is(text: str) -> None:
    assert unescape(escape(text)) == text
    escape(text).encode()
    assert "\0" not in escape(text)


@given(st.text(alphabet=st.characters(codec=None, exclude_categories=())), st.text())
def test_escaping_is_reversible_and_keeps_different_strings_apart(one: str, two: str) -> None:
    assert unescape(escape(one)) == one
    assert (escape(one) == escape(two)) == (one == two)


def test_every_kind_of_record_with_every_odd_value(store: Store) -> None:
    position = store.take_leadership("test")
    records = []
    for num, text in enumerate(ODD_TEXT, start=1):
        odd = to_json({"value": text, "n": math.nan, "i": math.inf})
        records += [
            TaskPut(
                num,
                f"T{num}{text}",
                definition(
                    family=text, namespace=text, module=text or None, params=odd, deps=(text, "x"), resources=odd,
                    runnable=False, batchable=True, accepts_messages=odd, capabilities=(text, "gpu"),
                ),
                state(
                    worker_id=text, run_id=text, resources_running=odd, failures=(1.5, math.inf), workers=(2, 1),
                    run_time=NOW + 0.123456, retry_at=math.inf, remove_at=1e300, batch_id=text, attempt=2**40,
                    run_reported=True, status=text, cancelled=text,
                ),
                detail(expl=odd, tracking_url=text, status_message=odd, message_responses=odd),
            ),
            WorkerPut(num, text, 1.1, True, odd, odd, bool(num % 2)),
            ResourcePut(f"{num}{text}", to_json(math.inf)),
            BatcherPut(text, f"{num}", odd, to_json(math.inf)),
            SettingPut(f"{num}{text}", odd),
            AnswerPut(num, text, text, text, 200 + num, text, NOW + 0.1),
        ]  # fmt: skip
    for num, value in enumerate(ODD_NUMBERS, start=100):
        records.append(creation(num, priority=value))
    expected = Model(records)
    position = write(store, position, *records)
    assert loaded(store) == expected
    assert replayed(store) == expected
    gone = [
        TaskRemoved(1, "T1"),
        WorkerRemoved(1, ""),
        BatcherRemoved("", "1"),
        change(100, priority=math.nan),
        AnswersForgotten(5),
    ]
    write(store, position, *gone)
    expected = Model([*records, *gone])
    assert loaded(store) == expected
    assert replayed(store) == expected


def test_every_kind_of_record_has_a_name_and_decodes() -> None:
    for record in (
        creation(1),
        TaskRemoved(1, "x"),
        WorkerRemoved(1, "w"),
        BatcherRemoved("w", "f"),
        AnswersForgotten(7),
    ):
        assert decode(KINDS[type(record)], to_json(record)) == record


def test_a_hundred_kilobytes_of_error_message(store: Store) -> None:
    long = TaskPut(1, "x" * 500, definition(), state(), detail(expl=to_json("é'\\\0" * 25_000)))
    write(store, store.take_leadership("test"), long)
    assert loaded(store) == Model([long])


def test_task_ids_are_told_apart_by_every_character(store: Store) -> None:
    ids = [
        "Load_x",
        "Load_X",
        "Load_x ",
        "Load_x\0",
        "Load_x\ud800",
        "load_x",
        "löad",
        "load",
        "x" * 2000,
        "x" * 1999,
        "é" * 1000,
    ]
    write(store, store.take_leadership("test"), *(creation(num, task_id) for num, task_id in enumerate(ids, start=1)))
    for task_id in ids:
        assert [entry.status for entry in store.history(task_id)] == ["PENDING"]
        assert store.history(task_id + "y") == []


def test_history_is_a_line_of_state_changes_oldest_first(store: Store) -> None:
    position = store.take_leadership("test")
    steps = [
        creation(1),
        change(1, priority=5),  # no change of state
        change(1, status="RUNNING", worker_id="w", run_id="r1", attempt=1),
        change(1, status="FAILED", worker_id="w", run_id="r1", attempt=1),
        change(1, status="RUNNING", worker_id="v", run_id="r2", attempt=2),
        TaskPut(1, "Load_1", None, None, detail(status_message='"half"')),
        change(1, status="DONE", worker_id="v", run_id="r2", attempt=2),
        TaskRemoved(1, "Load_1"),
        creation(2, "Load_1"),
    ]
    for number, step in enumerate(steps):
        position = write(store, position, step, creation(100 + number), at=NOW + number)
    history = store.history("Load_1")
    assert [entry.status for entry in history] == [
        "PENDING",
        "RUNNING",
        "FAILED",
        "RUNNING",
        "DONE",
        "REMOVED",
        "PENDING",
    ]
    assert [(entry.worker_id, entry.attempt) for entry in history[1:4]] == [("w", 1), ("w", 1), ("v", 2)]
    assert [entry.at - NOW for entry in history] == [0, 2, 3, 4, 6, 7, 8]
    assert [entry.status for entry in store.history("Load_1", 2)] == ["REMOVED", "PENDING"]


def test_the_history_says_how_long_runs_took_and_why_they_failed(sqlite_url: str, make_store) -> None:
    store = make_store(sqlite_url)
    position = store.take_leadership("test")

    def ran(attempt: int, status: str, error: str | None = None, **fields: Any) -> list[Any]:
        run = {"worker_id": "w", "run_id": f"r{attempt}", "attempt": attempt}
        told = None if error is None else detail(expl=error)
        end = TaskPut(1, "Load_1", None, state(**{**run, "status": status, **fields}), told)
        return [change(1, status="RUNNING", **run), end]

    traceback = json.dumps(json.dumps("Runtime error:\nTraceback\nValueError: no luck\n\n"))  # as workers send it
    steps = [
        creation(1),
        *ran(1, "FAILED", traceback),
        *ran(2, "FAILED"),  # the same error again
        *ran(3, "FAILED", worker_id=None),
        *ran(4, "FAILED", '"first\\nlast line"'),
        *ran(5, "DISABLED", disabled_at=5.0),
        *ran(6, "DISABLED", cancelled="wrong date"),
        *ran(7, "PENDING"),
        *ran(8, "DONE"),
        TaskRemoved(1, "Load_1", "nobody wants it"),
    ]
    for number, step in enumerate(steps):
        position = write(store, position, step, at=NOW + number)
    ends = [entry for entry in store.history("Load_1") if entry.status != "RUNNING"][1:]
    lost, cancelled = "its worker was silent for too long, and the run was given up", "it was cancelled (wrong date)"
    assert [(entry.seconds, entry.error, entry.reason) for entry in ends] == [
        (1.0, "ValueError: no luck", None),
        (1.0, "ValueError: no luck", None),
        (1.0, None, lost),
        (1.0, "last line", None),
        (1.0, "last line", None),
        (1.0, None, cancelled),
        (1.0, None, None),
        (1.0, None, None),
        (None, None, "nobody wants it"),
    ]
    whole = store.history("Load_1")
    for limit in range(1, len(whole)):
        assert [entry.seq for entry in store.history("Load_1", limit)] == [entry.seq for entry in whole[-limit:]]


def test_only_the_groups_that_changed_are_written(sqlite_url: str, make_store) -> None:
    store = make_store(sqlite_url)
    position = write(store, store.take_leadership("test"), creation(1))
    direct = sqlite3.connect(store.target.path)
    direct.execute("UPDATE luigi_task SET params = 'untouched', expl = 'untouched'")
    direct.commit()
    write(store, position, change(1, status="DONE"), change(1, status="FAILED"))
    assert direct.execute("SELECT params, expl, status FROM luigi_task").fetchall() == [
        ("untouched", "untouched", "FAILED")
    ]
    direct.close()


@pytest.mark.postgresql
def test_the_query_of_the_manual_works_as_written(postgres: PostgresServer, postgres_url: str, make_store) -> None:
    store = make_store(postgres_url)
    failed = [
        creation(num, status="FAILED", run_time=NOW + num + 0.25, worker_id=f"w{num}", attempt=1)
        for num in range(1, 31)
    ]
    write(store, store.take_leadership("test"), *failed, creation(31, status="DONE"))
    output = postgres.sql(
        "SELECT task_id, status, run_time, worker_id FROM luigi_task "
        "WHERE status = 'FAILED' ORDER BY run_time DESC LIMIT 20;",
        postgres_url.rpartition("/")[2],
    )
    lines = output.splitlines()
    assert len(lines) == 20
    assert lines[0] == "Load_30|FAILED|2023-11-14 22:13:50.25|w30"


def test_what_the_database_will_never_take_is_poison(store: Store) -> None:
    position = store.take_leadership("test")
    with pytest.raises(Poisoned):
        write(store, position, creation(2**63))
    assert store.position() == position
    assert loaded(store) == Model()


def test_the_databases_clock(store: Store) -> None:
    assert abs(store.now() - time.time()) < 5
