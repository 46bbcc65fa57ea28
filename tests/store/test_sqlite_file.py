"""A SQLite file is known by what it is; and what was seen of it is remembered."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from luigi_ha.appliance.places import leadership_directory
from luigi_ha.appliance.store import DatabaseAway, Journal, JournalState, Store, accept, behind, open_store
from luigi_ha.appliance.store.sqlite_file import Back, SqliteFile
from tests.store.samples import add, change, creation, run, until

PAGE = 4096


def path_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def test_a_checkpoint_cut_off_after_any_page_is_no_older_file(
    sqlite_url: str, make_store: Callable[..., Store]
) -> None:
    path = path_of(sqlite_url)
    store = make_store(sqlite_url)

    def write(count: int) -> bytes:
        async def scenario() -> None:
            journal = Journal(store, store.take_leadership("leader"))
            journal.start()
            for num in range(count):
                await journal.wait(add(journal, creation(num + 1), change(num + 1, status="RUNNING")), 60)
            assert await asyncio.to_thread(journal.close, 5)

        run(scenario())
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return path.read_bytes()

    old = write(20)
    seen = SqliteFile(path).look_inside()
    new = write(200)
    assert len(new) > len(old) + 10 * PAGE
    cut = path.with_name("cut.db")
    for pages in range(len(new) // PAGE + 1):
        cut.write_bytes(new[: pages * PAGE] + old[pages * PAGE :])
        assert SqliteFile(cut).compare(seen) is Back.NO, pages
    cut.write_bytes(old)
    assert SqliteFile(cut).compare(SqliteFile(path).look_inside()) is Back.WHOLE


def test_a_journal_that_is_doubted_looks_and_waits_although_nothing_is_to_be_written(
    sqlite_url: str, make_store: Callable[..., Store]
) -> None:
    store = make_store(sqlite_url)
    path = path_of(sqlite_url)

    async def scenario() -> None:
        journal = Journal(store, store.take_leadership("leader"))
        journal.start()
        await until(lambda: journal.stuck_for() == 0.0)
        elsewhere = path.with_name("elsewhere")
        path.rename(elsewhere)
        with pytest.raises(DatabaseAway, match="is gone"):
            store.position()
        journal.doubt()
        await until(lambda: journal.state is JournalState.WAITING)
        assert "Put it back" in journal.reason
        elsewhere.rename(path)
        await until(lambda: journal.state is JournalState.WRITING)
        assert await asyncio.to_thread(journal.close, 5)

    run(scenario())


def test_what_was_committed_is_remembered_and_less_is_refused_until_accepted(
    sqlite_url: str, make_store: Callable[..., Store]
) -> None:
    path = path_of(sqlite_url)
    store = make_store(sqlite_url)
    first = store.take_leadership("leader")
    copy = path.read_bytes()
    assert behind(store) is None
    assert store.memory is not None
    store.memory.remember(first)
    second = store.take_leadership("leader")
    store.memory.remember(second)
    store.memory.remember(first)  # of a leader that was deposed, late
    assert behind(store) is None
    store.close()

    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    path.write_bytes(copy)
    again = make_store(sqlite_url)
    reason = behind(again)
    assert reason is not None
    assert f"has been at epoch {second.epoch}" in reason
    assert "luigi-ha db accept" in reason
    accept(again)
    assert behind(again) is None

    path.unlink()
    fresh = open_store(sqlite_url)
    assert behind(fresh) is None  # nothing is remembered
    assert not path.exists()


def test_an_epoch_that_has_served_elsewhere_counts_too(sqlite_url: str, make_store: Callable[..., Store]) -> None:
    store = make_store(sqlite_url)
    epoch = store.take_leadership("leader").epoch
    assert behind(store, epoch) is None
    assert "is at epoch 1" in str(behind(store, epoch + 1))


def test_a_memory_that_cannot_be_read_is_none(sqlite_url: str, make_store: Callable[..., Store]) -> None:
    store = make_store(sqlite_url)
    assert store.memory is not None
    store.memory.remember(store.take_leadership("leader"))
    place = leadership_directory(path_of(sqlite_url)) / "seen.json"
    for content in (
        "",
        "{",
        "[]",
        '{"epoch": "x"}',
        '{"epoch": 1, "seq": 1, "hash": "", "inside": [1], "file": [1, 2]}',
    ):
        place.write_text(content)
        assert behind(make_store(sqlite_url)) is None
