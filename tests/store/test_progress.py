"""A watchdog asks whether the journal gets on: waiting is progress, a thread that hangs is not."""

import asyncio
import threading
import time

import pytest

from luigi_ha.appliance.store import Journal, JournalState, Store
from luigi_ha.appliance.store.progress import Progress
from tests.store.samples import add, creation, run, until
from tests.support.patience import patient
from tests.support.servers import MEMORY, postgres_server


def test_idle_and_calling_within_its_time_are_not_stuck_anything_else_is() -> None:
    progress = Progress()
    time.sleep(0.03)
    assert progress.stuck_for() > 0.02
    with progress.idle():
        assert progress.stuck_for() == 0.0
    with progress.calling(0.05):
        assert progress.stuck_for() == 0.0
        time.sleep(0.1)
        assert progress.stuck_for() > 0.09
    assert progress.stuck_for() < 0.02


@pytest.mark.postgresql
def test_a_journal_whose_database_is_frozen_is_not_stuck(make_store) -> None:
    async def scenario(store: Store) -> None:
        journal = Journal(store, store.take_leadership("a"))
        journal.start()
        await journal.wait(add(journal, creation(1)), 5)
        await until(lambda: journal.stuck_for() == 0.0)
        server.freeze()
        add(journal, creation(2))
        began = time.monotonic()
        while time.monotonic() - began < 2.5:  # two deadlines: writing, and then trying again
            assert journal.stuck_for() < 1.0
            await asyncio.sleep(0.01)
        assert journal.state is JournalState.WAITING
        server.thaw()
        await until(lambda: journal.state is JournalState.WRITING)
        assert await asyncio.to_thread(journal.close, 5)

    with postgres_server(parent=MEMORY) as server:
        run(scenario(make_store(server.url())))


def test_a_journal_whose_thread_hangs_is_stuck(sqlite_url: str, make_store) -> None:
    store = make_store(sqlite_url)
    release = threading.Event()

    async def scenario() -> None:
        journal = Journal(store, store.take_leadership("a"), on_commit=lambda *_: release.wait(patient(10)) and None)
        journal.start()
        add(journal, creation(1))
        await until(lambda: journal.stuck_for() > 0.3)
        release.set()
        await until(lambda: journal.stuck_for() == 0.0)
        assert await asyncio.to_thread(journal.close, 5)

    run(scenario())
