"""`serve` in a process that kills itself, with SIGKILL, at a chosen moment.

    python -m drills.launcher WHERE COUNT ARMED WITNESS serve --database ...

WHERE is one of
    before-reply   after the COUNTth commit of the journal, before anybody hears of it
    in-batch       SQLite: in the middle of a transaction, at its COUNTth statement after the fence (or at its COMMIT)
    after-lead     during the start, after the epoch was raised
    in-load        during the start, after COUNT records of the state were read

The first two wait until the file ARMED exists. What happened is written to WITNESS, then the process dies. Where the
scheduler's own parts meet (`Store` and its `Writer`, the SQLite connection), ours are put between; nothing of the
scheduler is changed.
"""

import dataclasses
import json
import os
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from luigi_ha.appliance.cli import main
from luigi_ha.appliance.engine.changes import Change, Epoch
from luigi_ha.appliance.store import Position, Snapshot, Store, sqlite_connection
from luigi_ha.appliance.store.batch import Batch
from luigi_ha.appliance.store.writer import Writer

WHERE = ("before-reply", "in-batch", "after-lead", "in-load")


class Trap:
    """Counts; dies when it has counted to the end."""

    def __init__(self, where: str, count: int, armed: Path, witness: Path) -> None:
        self.where = where
        self.left = count
        self._armed = armed
        self._witness = witness

    @property
    def armed(self) -> bool:
        """Whether the drill has said: now."""
        return self._armed.exists()

    def step(self, **facts: object) -> None:
        """One of the moments that are counted."""
        self.left -= 1
        if self.left <= 0:
            self.spring(**facts)

    def spring(self, **facts: object) -> NoReturn:
        """Write the witness and die."""
        part = self._witness.with_suffix(".part")
        part.write_text(json.dumps({"where": self.where, "pid": os.getpid(), **facts}))
        part.rename(self._witness)
        os.kill(os.getpid(), signal.SIGKILL)
        raise SystemExit("unreachable")


class TrappedWriter:
    """A journal's session; dies between the database's commit and the journal's knowledge of it."""

    def __init__(self, writer: Writer, trap: Trap) -> None:
        self._writer = writer
        self._trap = trap

    def write(self, batch: Batch) -> None:
        """As the session's own."""
        self._writer.write(batch)
        if self._trap.armed:
            self._trap.step(seq=batch.last.seq, records=batch.records)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)


def trap_commit(trap: Trap) -> None:
    """Put a TrappedWriter between store and journal."""
    original = Store.writer

    def writer(store: Store) -> Any:
        return TrappedWriter(original(store), trap)

    Store.writer = writer  # type: ignore[method-assign,assignment]


def trap_batch(trap: Trap) -> None:
    """Watch the statements of SQLite's transactions; die at one of them, before it runs."""
    connect: Callable[[Path], sqlite3.Connection] = sqlite_connection.connect

    def traced(path: Path) -> sqlite3.Connection:
        connection = connect(path)
        inside = False

        def statement(sql: str) -> None:
            nonlocal inside
            if sql.startswith("UPDATE leadership SET seq"):
                inside = trap.armed
            elif inside and sql.startswith("COMMIT"):
                trap.spring(statement=sql[:60])
            elif inside:
                trap.step(statement=sql[:60])

        connection.set_trace_callback(statement)
        return connection

    sqlite_connection.connect = traced


def trap_lead(trap: Trap) -> None:
    """Die as a leader that has not loaded anything yet."""
    original = Store.take_leadership

    def take(store: Store, holder: str, epoch: Epoch | None = None) -> Position:
        position = original(store, holder, epoch)
        trap.step(epoch=position.epoch)
        return position

    Store.take_leadership = take  # type: ignore[method-assign,assignment]


def trap_load(trap: Trap) -> None:
    """Die while the state is being read."""
    original = Store.load

    def load(store: Store) -> Snapshot:
        snapshot = original(store)

        def some() -> Iterator[Change]:
            for read, record in enumerate(snapshot.records):
                trap.step(read=read)
                yield record
            trap.spring(read=snapshot.count)

        return dataclasses.replace(snapshot, records=some())

    Store.load = load  # type: ignore[method-assign,assignment]


def run(arguments: list[str]) -> None:
    """Set the trap and serve."""
    where, count, armed, witness, *serve = arguments
    trap = Trap(where, int(count), Path(armed), Path(witness))
    {"before-reply": trap_commit, "in-batch": trap_batch, "after-lead": trap_lead, "in-load": trap_load}[where](trap)
    main(serve)


if __name__ == "__main__":
    run(sys.argv[1:])
