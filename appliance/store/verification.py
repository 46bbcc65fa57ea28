"""Checking a whole log after the fact: what can be said of a history from the database alone.

Each check has a name, and finds what it is for in a log in which one entry was removed, moved, forged or written by a
leader that had been replaced:

    dense        the numbers of the entries have no gap, up to the one that the leadership row names
    chain        the hash of all entries, from the first ever, is the one in the leadership row
    epochs       no entry follows one of a newer epoch; no leader, and none on record, is of a newer one than the last
    time         scheduler time never falls
    columns      what an entry's columns say (for people and their queries) is what its data says
    transitions  a run begins once, under a number and an id of its own; no task runs twice at once, or again once done

Reads in pages, so a log of any length fits; it keeps a line for each task that is there. May be run while nodes run:
entries that come later are not looked at.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, select

from luigi_ha.appliance.engine.changes import Epoch, JsonText, TaskPut, TaskRemoved, TaskState
from luigi_ha.appliance.store import tables
from luigi_ha.appliance.store.errors import Corrupt
from luigi_ha.appliance.store.loading import read_position
from luigi_ha.appliance.store.position import HASH_BYTES, Position, call_bytes, chained, event_bytes
from luigi_ha.appliance.store.records import decode
from luigi_ha.appliance.store.text import unescape

PAGE = 5000  # entries
SHOWN = 20  # findings of each check that are kept; the others are counted
CHECKS = ("dense", "chain", "epochs", "time", "columns", "transitions")
_RUNNING, _DONE = "RUNNING", "DONE"
CLAIM = "add_task"  # a client says itself that a task runs: it was not handed out


class Finding(NamedTuple):
    """One thing that is wrong."""

    check: str
    seq: int
    text: str


@dataclass(slots=True)
class Verification:
    """What was found. `undecided`: what could not be checked, and why."""

    first: int = 0
    last: int = 0
    entries: int = 0
    epochs: int = 0
    tasks: int = 0
    findings: list[Finding] = field(default_factory=list)
    wrong: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CHECKS, 0))
    undecided: list[str] = field(default_factory=list)

    def add(self, check: str, seq: int, text: str) -> None:
        self.wrong[check] += 1
        if self.wrong[check] <= SHOWN:
            self.findings.append(Finding(check, seq, text))


class _Task(NamedTuple):
    status: str
    attempt: int
    run_id: str | None


class Entry(NamedTuple):
    """A row of `luigi_event`, text as it is stored."""

    seq: int
    epoch: int
    at: float
    method: str
    actor: str | None
    kind: str
    task_num: int | None
    task_id: str | None
    status: str | None
    worker_id: str | None
    run_id: str | None
    attempt: int | None
    data: str


BEGINNING = Position(Epoch(0), 0, "0" * 2 * HASH_BYTES)


def check(entries: Iterable[Entry], start: Position, end: Position, last_time: float) -> Verification:
    """Check a part of a log: the entries between two positions of it. Scheduler time stands at `last_time` at its end.
    What is known of tasks begins with it, too."""
    found = Verification(last=end.seq)
    log = _Log(found, start)
    for entry in entries:
        log.take(entry)
    log.finish(end, last_time)
    return found


def verify(connection: Connection, progress: Callable[[int, int], object]) -> Verification:
    """Check the log as it is now. `progress` is told how many entries were read, and of how many."""
    end, last_time = read_position(connection)
    found = Verification(last=end.seq)
    log = _Log(found, BEGINNING)
    for row in _entries(connection, end.seq, log.forgot):
        log.take(row)
        if found.entries % PAGE == 0:
            progress(row.seq, end.seq)
    log.finish(end, last_time)
    _failovers(connection, found)
    progress(end.seq, end.seq)
    return found


def _entries(connection: Connection, last: int, dropped: Callable[[int], object]) -> Iterator[Entry]:
    """In pages. `dropped` is told the first entry that is left, if retention drops some in the middle of this."""
    t = tables.event.c
    after: int | None = None
    while True:
        query = select(*(t[name] for name in Entry._fields)).where(t.seq <= last).order_by(t.seq).limit(PAGE)
        rows = connection.execute(query if after is None else query.where(t.seq > after)).all()
        if after is not None and rows and rows[0].seq != after + 1:
            first = connection.execute(select(func.min(t.seq))).scalar()
            if first is not None and first > after + 1:
                dropped(int(first))
        connection.rollback()  # no transaction stays open on the primary while this works
        yield from map(Entry._make, rows)
        if len(rows) < PAGE:
            return
        after = rows[-1].seq


class _Log:
    """The entries one after the other."""

    def __init__(self, found: Verification, start: Position) -> None:
        self._found = found
        self._start = start
        self._chain: bytes | None = bytes.fromhex(start.hash)
        self._before: Entry | None = None
        self._tasks: dict[int, _Task] = {}
        self._runs: dict[str, int] = {}  # run id -> the task that it is of

    def take(self, row: Entry) -> None:
        self._found.entries += 1
        if self._before is None:
            self._begin(row)
        else:
            self._follows(row, self._before)
        self._before = row
        if self._chain is not None:
            call = call_bytes(row.epoch, row.at, row.method, row.actor)
            self._chain = chained(self._chain, event_bytes(row.seq, call, row.kind, row.data))
        try:
            record = decode(row.kind, JsonText(row.data))
        except Corrupt as error:
            self._found.add("columns", row.seq, str(error))
            return
        if isinstance(record, TaskPut):
            self._compare(row, _columns(record))
            if record.state is not None:
                self._state(row, record.num, record.state)
        elif isinstance(record, TaskRemoved):
            self._compare(row, (record.num, record.task_id, None, None, None, None))
            self._tasks.pop(record.num, None)

    def forgot(self, first: int) -> None:
        """What comes before `first` is gone by now, and was not looked at."""
        self._before, self._start, self._chain = None, BEGINNING, None
        self._found.undecided.append(f"the entries before {first} were dropped by retention meanwhile")

    def _begin(self, row: Entry) -> None:
        """The first entry that is there."""
        found, start = self._found, self._start
        found.first, found.epochs = found.first or row.seq, max(found.epochs, 1)
        if row.seq != start.seq + 1 and start == BEGINNING:
            self._chain = None
            found.undecided.append(f"chain: the entries before {row.seq} are gone, and the hash there with them")
        elif row.seq != start.seq + 1:
            found.add("dense", row.seq, f"the entries {start.seq + 1} to {row.seq - 1} are missing")

    def _follows(self, row: Entry, before: Entry) -> None:
        """Whether this entry may come after that one."""
        found = self._found
        if row.seq != before.seq + 1:
            found.add("dense", row.seq, f"the entries {before.seq + 1} to {row.seq - 1} are missing")
        if row.epoch < before.epoch:
            found.add("epochs", row.seq, f"written under epoch {row.epoch}, after one of epoch {before.epoch}")
        if row.at < before.at:
            found.add("time", row.seq, f"at {row.at!r}, after one at {before.at!r}")
        found.epochs += row.epoch != before.epoch

    def finish(self, end: Position, last_time: float) -> None:
        """Compare the end with the leadership row."""
        found, last, seq, epoch = self._found, self._before, end.seq, int(end.epoch)
        found.tasks = len(self._tasks)
        if last is None:
            if seq != self._start.seq:
                found.add("dense", seq, f"the log is empty; its last entry should be {seq}")
            else:
                found.undecided.append("the log is empty: nothing to check")
            return
        if last.seq != seq:
            found.add("dense", last.seq, f"the log ends here; its last entry should be {seq}")
        if last.epoch > epoch:
            found.add("epochs", last.seq, f"written under epoch {last.epoch}, and the leadership is at {epoch}")
        if last.at > last_time:
            found.add("time", last.seq, f"at {last.at!r}, and the leadership is at {last_time!r}")
        if self._chain is not None and self._chain.hex() != end.hash:
            text = f"the entries up to here have the hash {self._chain.hex()}, the leadership has {end.hash}"
            found.add("chain", last.seq, f"{text}: an entry was changed, moved, added or removed")

    def _compare(self, row: Entry, said: tuple[Any, ...]) -> None:
        texts = (unescape(each) for each in (row.task_id, row.status, row.worker_id, row.run_id))
        for name, column, data in zip(Entry._fields[6:12], (row.task_num, *texts, row.attempt), said, strict=True):
            if column != data:
                self._found.add("columns", row.seq, f"{name} is {column!r}, and its data says {data!r}")

    def _state(self, row: Entry, num: int, state: TaskState) -> None:
        before = self._tasks.get(num)
        self._tasks[num] = _Task(state.status, state.attempt, state.run_id)
        for wrong in self._wrong(num, before, state, handed_out=row.method != CLAIM):
            self._found.add("transitions", row.seq, f"{unescape(row.task_id)}: {wrong}")

    def _wrong(self, num: int, before: _Task | None, state: TaskState, *, handed_out: bool) -> Iterator[str]:
        """What no run of a scheduler does to a task. (The first of a batch goes by its members' runs.)"""
        begins = before is None or state.attempt != before.attempt
        if state.batch_id is not None:
            return
        run = state.run_id if begins and state.attempt else None
        if run is not None and self._runs.setdefault(run, num) != num:
            yield f"run id {run} is of another task too"
        if before is None:
            return
        if not begins and state.run_id != before.run_id:
            yield f"attempt {state.attempt} has another run id"
        if state.attempt < before.attempt:
            yield f"attempt {state.attempt}, after attempt {before.attempt}"
        if state.attempt > before.attempt + 1:
            yield f"attempt {state.attempt}, after attempt {before.attempt}: some are missing"
        if begins and handed_out and before.status in (_DONE, _RUNNING):
            what = "it is done" if before.status == _DONE else f"attempt {before.attempt} runs"
            yield f"attempt {state.attempt} begins, and {what}"


def _columns(record: TaskPut) -> tuple[Any, ...]:
    state = record.state
    if state is None:
        return (record.num, record.task_id, None, None, None, None)
    return (record.num, record.task_id, state.status, state.worker_id, state.run_id, state.attempt)


def _failovers(connection: Connection, found: Verification) -> None:
    """Leaders on record of whom the leadership knows nothing. It is read after them: another one may have taken it
    while the log was read."""
    t = tables.failover.c
    records = connection.execute(select(t.epoch, t.holder).order_by(t.epoch)).all()
    epoch = int(read_position(connection)[0].epoch)
    for later, holder in records:
        if later > epoch:
            text = f"{unescape(holder)} is on record as the leader of epoch {later}, and the leadership is at {epoch}"
            found.add("epochs", found.last, text)
