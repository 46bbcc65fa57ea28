"""The checker checked: it is shown a broken system, and must name everything that is wrong with it, and nothing else.

A short load, without any kill, leaves a sound system, which must pass. Then the SQLite file is changed behind the
scheduler's back, and so is the ledger, each time at another place; comparison and audit must call each place by its
name and the damage by its kind. The log is damaged in copies of its own. Last, drills in which nothing happened must
not pass.
"""

import asyncio
import copy
import json
import random
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from drills.audit import audit
from drills.clients import CLIENTS, SHARED_INBOXES, Client
from drills.comparison import Comparison
from drills.ledger import DONE, FAILED, PENDING, Kind, Ledger, TaskFacts, Violation
from drills.report import Report, Verdict
from drills.scheduler import Scheduler

LOAD_SECONDS = 2.0
_CONSEQUENCES = ("tasks by status", "snapshot of", "log entries of")  # what any damage shows in, too


class Sabotage(NamedTuple):
    """One damage. `do` changes ledger or database and returns the name of the place."""

    what: str
    kind: Kind
    do: Callable[[sqlite3.Connection, Ledger], str]


class Result(NamedTuple):
    """Whether the checker was right about one damage, and what it said."""

    what: str
    right: bool
    said: list[Violation]


def _task(ledger: Ledger, status: str, number: int) -> str:
    return [task_id for task_id, facts in ledger.tasks.items() if facts.status == status][number]


def _claim_a_task(_database: sqlite3.Connection, ledger: Ledger) -> str:
    ledger.put("Drill00001_nobody-1", TaskFacts(PENDING, "worker-0", "nobody-1"))
    return "Drill00001_nobody-1"


def _claim_a_message(_database: sqlite3.Connection, ledger: Ledger) -> str:
    ledger.inboxes[SHARED_INBOXES[0]].append("claimed")
    ledger.messages_applied += 1
    return "claimed"


def _forget_a_task(_database: sqlite3.Connection, ledger: Ledger) -> str:
    task_id = _task(ledger, DONE, 0)
    ledger.put(task_id, None)
    return task_id


def _delete_a_task(database: sqlite3.Connection, ledger: Ledger) -> str:
    task_id = _task(ledger, DONE, 1)
    database.execute("DELETE FROM luigi_task WHERE task_id = ?", (task_id,))
    return task_id


def _undo_a_report(database: sqlite3.Connection, ledger: Ledger) -> str:
    task_id = _task(ledger, DONE, 2)
    change = "status = 'RUNNING', state = replace(state, '\"DONE\"', '\"RUNNING\"')"
    database.execute(f"UPDATE luigi_task SET {change} WHERE task_id = ?", (task_id,))
    return task_id


def _change_what_it_said(database: sqlite3.Connection, ledger: Ledger) -> str:
    task_id = _task(ledger, DONE, 3)
    database.execute("UPDATE luigi_task SET status_message = '\"other\"' WHERE task_id = ?", (task_id,))
    return task_id


def _change_an_explanation(database: sqlite3.Connection, ledger: Ledger) -> str:
    task_id = _task(ledger, FAILED, 0)
    database.execute("UPDATE luigi_task SET expl = '\"other\"' WHERE task_id = ?", (task_id,))
    return task_id


def _fail_twice(database: sqlite3.Connection, ledger: Ledger) -> str:
    task_id = _task(ledger, FAILED, 1)
    (text,) = database.execute("SELECT state FROM luigi_task WHERE task_id = ?", (task_id,)).fetchone()
    state = json.loads(text)
    failures = next(n for n, value in enumerate(state) if isinstance(value, list) and value and value[0] > 1e9)
    state[failures] *= 2
    database.execute("UPDATE luigi_task SET state = ? WHERE task_id = ?", (json.dumps(state), task_id))
    return task_id


def _messages(database: sqlite3.Connection, inbox: str, change: Callable[[list[Any]], list[Any]]) -> None:
    (text,) = database.execute("SELECT messages FROM luigi_worker WHERE worker_id = ?", (inbox,)).fetchone()
    changed = json.dumps(change(json.loads(text)))
    database.execute("UPDATE luigi_worker SET messages = ? WHERE worker_id = ?", (changed, inbox))


def _double_a_message(database: sqlite3.Connection, ledger: Ledger) -> str:
    _messages(database, SHARED_INBOXES[1], lambda messages: [*messages, messages[-1]])
    return ledger.inboxes[SHARED_INBOXES[1]][-1]


def _drop_a_message(database: sqlite3.Connection, ledger: Ledger) -> str:
    """The number stays as it should be: the next damage is in the same inbox."""
    _messages(database, SHARED_INBOXES[2], lambda messages: messages[1:])
    return ledger.inboxes[SHARED_INBOXES[2]][0]


def _deliver_again(database: sqlite3.Connection, ledger: Ledger) -> str:
    content = min(ledger.delivered)
    old = {"name": "dispatch_scheduler_message", "kwargs": {"content": content}}
    _messages(database, SHARED_INBOXES[2], lambda messages: [*messages, old])
    return content


def _invent_a_message(database: sqlite3.Connection, _ledger: Ledger) -> str:
    new = {"name": "dispatch_scheduler_message", "kwargs": {"content": "invented"}}
    _messages(database, SHARED_INBOXES[3], lambda messages: [*messages, new])
    return "invented"


def _reset_a_resource(database: sqlite3.Connection, ledger: Ledger) -> str:
    name = min(ledger.resources)
    database.execute("UPDATE luigi_resource SET total = '0' WHERE name = ?", (name,))
    return name


STATE_SABOTAGES = (
    Sabotage("ledger: a task acknowledged that was never sent", Kind.LOST, _claim_a_task),
    Sabotage("ledger: a message acknowledged that was never sent", Kind.LOST, _claim_a_message),
    Sabotage("ledger: a task forgotten", Kind.NEVER_SENT, _forget_a_task),
    Sabotage("database: a task's row deleted", Kind.LOST, _delete_a_task),
    Sabotage("database: a DONE report undone", Kind.LOST, _undo_a_report),
    Sabotage("database: another status message", Kind.LOST, _change_what_it_said),
    Sabotage("database: another explanation", Kind.LOST, _change_an_explanation),
    Sabotage("database: a failure counted twice", Kind.TWICE, _fail_twice),
    Sabotage("database: a message doubled", Kind.TWICE, _double_a_message),
    Sabotage("database: a message dropped", Kind.LOST, _drop_a_message),
    Sabotage("database: a delivered message back", Kind.TWICE, _deliver_again),
    Sabotage("database: a message that nobody sent", Kind.NEVER_SENT, _invent_a_message),
    Sabotage("database: a resource's total as it was before", Kind.LOST, _reset_a_resource),
)
_LAST = "(SELECT max(seq) FROM luigi_event)"
_AN_ENTRY = "INSERT INTO luigi_event (seq, epoch, at, method, kind, data)"
LOG_SABOTAGES = (
    ("log: a gap", "DELETE FROM luigi_event WHERE seq = 7", Kind.LOG),
    ("log: an entry altered", "UPDATE luigi_event SET actor = 'somebody' WHERE seq = 7", Kind.LOG),
    ("log: its last entry missing", f"DELETE FROM luigi_event WHERE seq = {_LAST}", Kind.LOG),
    (
        "log: a message's entry too many",
        f"{_AN_ENTRY} VALUES ({_LAST} + 1, 99, 0, 'send_scheduler_message', 'worker', '[]')",
        Kind.TWICE,
    ),
    ("tables: not what the log says", "UPDATE luigi_task SET module = 'other' WHERE num = 1", Kind.LOG),
)


@contextmanager
def _copied(source: Path, target: Path) -> Iterator[sqlite3.Connection]:
    """A copy of a SQLite file, to be changed."""
    with closing(sqlite3.connect(source)) as sound, closing(sqlite3.connect(target)) as broken:
        sound.backup(broken)
        yield broken
        broken.commit()


async def _load(scheduler: Scheduler, ledger: Ledger) -> None:
    """A sound system with a bit of everything in it; its scheduler is killed when nobody calls any more."""
    rng = random.Random(1)
    scheduler.start()
    await scheduler.ready()
    clients = [Client(f"worker-{n}", scheduler.port, ledger, random.Random(rng.random()), 20) for n in range(CLIENTS)]
    stop = asyncio.Event()
    tasks = [asyncio.create_task(client.load("Drill00001", stop)) for client in clients]
    await asyncio.sleep(LOAD_SECONDS)
    stop.set()
    await asyncio.gather(*tasks)
    for client in clients:
        client.close()
    scheduler.end()


async def _judge(url: str, directory: Path, ledger: Ledger) -> list[Violation]:
    """What comparison and audit find of this database and this ledger."""
    scheduler = Scheduler(url, directory)
    audited = copy.deepcopy(ledger)  # the audit first: the comparison empties the inboxes
    audit(url, audited)
    try:
        scheduler.start()
        await scheduler.ready()
        await Comparison(ledger, scheduler.port, random.Random(0)).full()
    finally:
        scheduler.end()
    return ledger.violations + audited.violations


async def run(directory: Path) -> list[Result]:
    """All of it."""
    ledger, sound = Ledger(), directory / "sound.db"
    scheduler = Scheduler(f"sqlite:///{sound}", directory)
    try:
        await _load(scheduler, ledger)
    finally:
        scheduler.end()
    broken, damaged, targets = directory / "broken.db", copy.deepcopy(ledger), []
    with _copied(sound, broken) as database:
        # Where a damage goes is chosen by the sound ledger: the places differ.
        for sabotage in STATE_SABOTAGES:
            in_ledger = sabotage.what.startswith("ledger")
            targets.append(sabotage.do(database, damaged if in_ledger else ledger))
    results = []
    for number, (what, statement, kind) in enumerate(LOG_SABOTAGES):
        file, audited = directory / f"log-{number}.db", copy.deepcopy(ledger)
        with _copied(sound, file) as database:
            database.execute(statement)
        audit(f"sqlite:///{file}", audited)
        results.append(Result(what, any(found.kind is kind for found in audited.violations), audited.violations))
    found = await _judge(f"sqlite:///{broken}", directory, damaged)
    for sabotage, target in zip(STATE_SABOTAGES, targets, strict=True):
        said = [violation for violation in found if target in violation.what.split()]
        results.append(Result(sabotage.what, any(violation.kind is sabotage.kind for violation in said), said))
    places = {*targets, *SHARED_INBOXES}
    rest = [v for v in found if not places & set(v.what.split()) and not v.what.startswith(_CONSEQUENCES)]
    results.append(Result("nothing else is called wrong", not rest, rest))
    said = await _judge(f"sqlite:///{sound}", directory, ledger)
    results.insert(0, Result("a sound system", not said, said))
    return results + _verdicts(ledger)


def _verdicts(ledger: Ledger) -> list[Result]:
    """Drills that prove nothing must not pass."""
    idle = Report("idle", 0, Counter({"random": 1}), Counter({"random": 1}))
    toothless = Report("toothless", 0, Counter({"random": 1}))
    return [
        Result("a drill without calls is inconclusive", idle.verdict(Ledger())[0] is Verdict.INCONCLUSIVE, []),
        Result("a kill that did not bite is inconclusive", toothless.verdict(ledger)[0] is Verdict.INCONCLUSIVE, []),
    ]


def main(*, as_json: bool) -> int:
    """Run all, print each; 0 if the checker was right every time."""
    with tempfile.TemporaryDirectory(prefix="drill-") as directory:
        results = asyncio.run(run(Path(directory)))
    if as_json:
        print(json.dumps({result.what: result.right for result in results}, indent=2))
    else:
        for what, right, said in results:
            kinds = Counter(violation.kind.value for violation in said)
            shown = ", ".join(f"{number} x {kind}" for kind, number in kinds.items()) or "-"
            print(f"{'right' if right else 'WRONG':6} {what:<55} {shown}")
            if not right:
                print(*(f"       {violation}" for violation in said[:10]), sep="\n")
    return 0 if all(result.right for result in results) else 1
