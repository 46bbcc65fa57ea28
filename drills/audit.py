"""At the end, by SQL: whether the database agrees with itself and with the ledger.

    * the log is dense from 1 to the leadership row's seq, without gap or double, and its hash chain, computed here
      anew from the rows, ends in the leadership row's hash
    * replaying the log gives the snapshot tables
    * every task of the ledger has one row, handed out as often and failed as often as it should
    * messages were appended, and totals of resources set, exactly as often as the ledger knows of

Needs a database that no scheduler is using. The log must be whole: retention may not have dropped its start.
"""

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg2

from drills.ledger import FAILED, PENDING, Kind, Ledger, Outcome, ResourceSet, TaskFacts
from luigi_ha.appliance.engine.changes import (
    AnswerPut,
    AnswersForgotten,
    BatcherPut,
    BatcherRemoved,
    Change,
    ResourcePut,
    SettingPut,
    TaskPut,
    TaskRemoved,
    TaskState,
    WorkerPut,
    WorkerRemoved,
)
from luigi_ha.appliance.store import open_store

_ATTEMPT = TaskState._fields.index("attempt")
_FAILURES = TaskState._fields.index("failures")
_AT_ONCE = 5000


@contextmanager
def database(url: str) -> Iterator[Any]:
    """A plain connection to the database, nothing of the scheduler's between."""
    if url.startswith("sqlite"):
        connection: Any = sqlite3.connect(url.removeprefix("sqlite:///"))
    else:
        connection = psycopg2.connect(url)
    with closing(connection):
        yield connection


def audit(url: str, ledger: Ledger) -> int:
    """Note every contradiction in the ledger; the number of log entries."""
    with database(url) as connection:
        cursor = connection.cursor()
        events = _chain(cursor, ledger)
        _rows(cursor, ledger)
        _appends(cursor, ledger)
    if not any(violation.kind is Kind.LOG for violation in ledger.violations):
        _replay(url, ledger)
    return events


def _chain(cursor: Any, ledger: Ledger) -> int:
    cursor.execute("SELECT seq, hash FROM leadership WHERE id = 1")
    last, wanted = cursor.fetchone()
    cursor.execute("SELECT seq, epoch, at, method, actor, kind, data FROM luigi_event ORDER BY seq")
    chain, expected, epoch_before = bytes(16), 0, 0
    while rows := cursor.fetchmany(_AT_ONCE):
        for seq, epoch, at, method, actor, kind, data in rows:
            expected += 1
            if seq != expected:
                ledger.violate(Kind.LOG, "luigi_event", f"seq {expected}", f"seq {seq}")
                return expected
            if epoch < epoch_before:
                ledger.violate(Kind.LOG, f"luigi_event seq {seq}", f"epoch {epoch_before} or later", epoch)
            epoch_before = epoch
            link = f"{seq}\n{epoch}\n{at!r}\n{method}\n{actor}\n{kind}\n{data}".encode()
            chain = hashlib.blake2b(chain + link, digest_size=16).digest()
    if expected != last:
        ledger.violate(Kind.LOG, "luigi_event", f"{last} entries, as leadership says", expected)
    elif chain.hex() != wanted:
        ledger.violate(Kind.LOG, "hash chain", wanted, chain.hex())
    return expected


def _rows(cursor: Any, ledger: Ledger) -> None:
    cursor.execute("SELECT task_id, status, worker_id, params, expl, status_message, state FROM luigi_task")
    seen: Counter[str] = Counter()
    for task_id, status, worker_id, params, expl, message, state in cursor.fetchall():
        seen[task_id] += 1
        expected = ledger.tasks.get(task_id)
        if expected is None:
            ledger.violate(Kind.NEVER_SENT, task_id, "no row in luigi_task", status)
            continue
        failure = json.loads(expl) if status == FAILED else None
        there = TaskFacts(status, expected.owner, json.loads(params).get("n", ""), failure, json.loads(message))
        if there != expected:
            ledger.violate(Kind.LOST, task_id, expected, there)
        _numbers(ledger, task_id, expected, worker_id, json.loads(state))
    for task_id in ledger.tasks.keys() - seen.keys():
        ledger.violate(Kind.LOST, task_id, "a row in luigi_task", "none")
    for task_id, times in seen.items():
        if times > 1:
            ledger.violate(Kind.TWICE, task_id, "one row in luigi_task", times)


def _numbers(ledger: Ledger, task_id: str, expected: TaskFacts, worker_id: str | None, state: list[Any]) -> None:
    attempts, failures = (0 if expected.status == PENDING else 1), (1 if expected.status == FAILED else 0)
    if (state[_ATTEMPT], len(state[_FAILURES])) != (attempts, failures):
        more = state[_ATTEMPT] > attempts or len(state[_FAILURES]) > failures
        seen = f"{state[_ATTEMPT]} attempts, {len(state[_FAILURES])} failures"
        ledger.violate(Kind.TWICE if more else Kind.LOST, task_id, f"{attempts} attempts, {failures} failures", seen)
    if attempts and worker_id != expected.owner:
        ledger.violate(Kind.LOST, task_id, f"worker_id {expected.owner}", worker_id)


def _appends(cursor: Any, ledger: Ledger) -> None:
    cursor.execute("SELECT count(*) FROM luigi_event WHERE method = 'send_scheduler_message' AND kind = 'worker'")
    there = cursor.fetchone()[0]
    if there != ledger.messages_applied:
        kind = Kind.TWICE if there > ledger.messages_applied else Kind.LOST
        ledger.violate(kind, "log entries of send_scheduler_message", ledger.messages_applied, there)
    cursor.execute("SELECT count(*) FROM luigi_event WHERE method = 'update_resource' AND kind = 'resource'")
    there = cursor.fetchone()[0]
    calls = [call for call in ledger.calls if isinstance(call.effect, ResourceSet)]
    least = sum(call.outcome is Outcome.ACKNOWLEDGED or call.applied is True for call in calls)
    if there != least:
        ledger.violate(Kind.TWICE if there > least else Kind.LOST, "log entries of update_resource", least, there)


def _replay(url: str, ledger: Ledger) -> None:
    """The log, folded, against the snapshot tables."""
    store = open_store(url)
    replayed: dict[tuple[str, Any], Any] = {}
    last, after = store.position().seq, 0
    while after < last:
        for entry in store.log(after, _AT_ONCE):
            _fold(replayed, entry.change)
            after = entry.seq
    stored: dict[tuple[str, Any], Any] = {}
    for record in store.load().records:
        _fold(stored, record)
    store.close()
    for key in sorted(replayed.keys() | stored.keys(), key=str):
        if replayed.get(key) != stored.get(key):
            what = f"snapshot of {key[0]} {key[1]}"
            ledger.violate(Kind.LOG, what, f"{replayed.get(key)}, as the log says", stored.get(key))


def _fold(state: dict[tuple[str, Any], Any], change: Change) -> None:  # noqa: C901 - one case for each kind
    match change:
        case TaskPut():
            before = state.get(("task", change.num), change)
            groups = {
                name: getattr(change, name) if getattr(change, name) is not None else getattr(before, name)
                for name in ("definition", "state", "detail")
            }
            state["task", change.num] = change._replace(**groups)
        case TaskRemoved():
            state.pop(("task", change.num), None)
        case WorkerPut():
            state["worker", change.wid] = change
        case WorkerRemoved():
            state.pop(("worker", change.wid), None)
        case ResourcePut():
            state["resource", change.name] = change
        case BatcherPut():
            state["batcher", (change.worker_id, change.family)] = change
        case BatcherRemoved():
            state.pop(("batcher", (change.worker_id, change.family)), None)
        case SettingPut():
            state["setting", change.name] = change
        case AnswerPut():
            state["answer", change.num] = change
        case AnswersForgotten(up_to):
            for key in [key for key in state if key[0] == "answer" and key[1] <= up_to]:
                del state[key]
