"""What processes that are about to be killed run."""

import asyncio
import os
import signal
from multiprocessing.connection import Connection
from typing import Any

from luigi_ha.appliance.store import Journal, open_store
from tests.store.samples import add, batch, change, creation


def write_until_killed(url: str, first: int, acknowledged: Connection) -> None:
    """Write through a journal; send the number of each call once it is acknowledged."""
    asyncio.run(_write(url, first, acknowledged))


async def _write(url: str, first: int, acknowledged: Connection) -> None:
    store = open_store(url)
    journal = Journal(store, store.take_leadership("child"))
    journal.start()
    number = first

    async def caller() -> None:
        nonlocal number
        while True:
            number += 1
            mine = number
            seq = add(journal, creation(mine), change(mine, status="RUNNING"), change(mine, status="DONE"))
            await journal.wait(seq, 30)
            acknowledged.send(mine)

    await asyncio.gather(*(caller() for _ in range(8)))


class Dying:
    """A database connection whose process is killed just before one of its next statements."""

    def __init__(self, connection: Any, statements: int) -> None:
        self._connection = connection
        self._left = statements

    def _count(self) -> None:
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self._left -= 1

    def execute(self, *arguments: Any) -> Any:
        self._count()
        return self._connection.execute(*arguments)

    def executemany(self, *arguments: Any) -> Any:
        self._count()
        return self._connection.executemany(*arguments)


def die_before_statement(url: str, number: int) -> None:
    """Write one batch, and be killed before the nth statement of the second; returns if it has fewer."""
    store = open_store(url)
    writer = store.writer()
    first = batch(store.take_leadership("x"), creation(1), creation(2))
    writer.write(first)
    writer._connection = Dying(writer._connection, number)  # type: ignore[attr-defined]
    writer.write(batch(first.last, change(1, status="DONE"), creation(3)))
