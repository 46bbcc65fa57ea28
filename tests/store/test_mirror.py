"""A mirror: it follows the log, reads little when there is nothing, and knows when its log is another."""

import asyncio

import pytest
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy import text

from luigi_ha.appliance.engine import Scheduler, Settings
from luigi_ha.appliance.engine.changes import Epoch
from luigi_ha.appliance.store import DatabaseAway, Journal, NotAPrefix, Position, Store, TailReader
from tests.store.samples import NOW, Model, add, change, creation, loaded, run, write
from tests.support.servers import PostgresServer

START = Position(Epoch(0), 0, "0" * 32)


def sql(store: Store, statement: str) -> None:
    with store._engine.begin() as connection:
        connection.execute(text(statement))


@pytest.fixture
def filled(store: Store) -> Store:
    return fill(store)


def fill(store: Store) -> Store:
    """Seven events in three transactions, by two leaders."""
    position = write(store, store.take_leadership("a"), creation(1), creation(2), at=NOW)
    write(store, position, change(1, status="RUNNING"), at=NOW + 1)
    write(store, store.take_leadership("b"), creation(3), change(1, status="DONE"), creation(4), change(4), at=NOW + 2)
    return store


@pytest.mark.parametrize("limit", [1, 2, 3, 5000])
def test_reading_in_steps_of_any_size_gives_the_state_and_the_position(filled: Store, limit: int) -> None:
    model, position, reader = Model(), START, filled.tail_reader()
    while True:
        tail = reader.read(position, limit)
        assert len(tail.records) <= limit
        assert tail.behind == 7 - tail.position.seq
        for record in tail.records:
            model.apply(record)
        position = tail.position
        if not tail.more:
            break
    assert position == filled.position()
    assert tail.last_time == filled.load().last_time == NOW + 2
    assert model == loaded(filled)
    again = reader.read(position)
    assert (again.records, again.position, again.last_time, again.more) == ([], position, NOW + 2, False)
    reader.close()


def test_a_reading_that_stops_early_has_the_time_of_its_last_event(filled: Store) -> None:
    assert filled.tail(START, 2).last_time == NOW
    assert filled.tail(START, 3).last_time == NOW + 1


def test_a_new_leader_shows_without_new_events(filled: Store) -> None:
    before = filled.position()
    filled.take_leadership("c")
    assert filled.tail(before).position == filled.position() == before._replace(epoch=Epoch(before.epoch + 1))


def test_a_mirror_whose_log_is_another_is_told_to_load_anew(filled: Store) -> None:
    end = filled.position()
    good = filled.tail(START, 3).position
    for wrong in (
        end._replace(hash="f" * 32),  # same length, other content
        end._replace(seq=end.seq + 1),  # the database lost what the mirror has
        good._replace(hash="f" * 32),
        good._replace(seq=good.seq - 1),
    ):
        with pytest.raises(NotAPrefix):
            filled.tail(wrong)


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE luigi_event SET data = replace(data, 'RUNNING', 'PENDING') WHERE seq = 3",
        "UPDATE luigi_event SET at = at + 1 WHERE seq = 5",
        "UPDATE luigi_event SET actor = 'somebody' WHERE seq = 5",
        "UPDATE luigi_event SET epoch = 7 WHERE seq = 6",
        "DELETE FROM luigi_event WHERE seq = 3",
        "DELETE FROM luigi_event WHERE seq <= 3",
        "DELETE FROM luigi_event WHERE seq = 7",
        "UPDATE leadership SET hash = 'ffffffffffffffffffffffffffffffff'",
    ],
)
def test_any_entry_changed_or_dropped_is_noticed(sqlite_url: str, make_store, tampering: str) -> None:
    filled = fill(make_store(sqlite_url))
    position = filled.tail(START, 2).position
    sql(filled, tampering)
    with pytest.raises(NotAPrefix):
        filled.tail(position)


def test_what_retention_dropped_before_the_mirrors_position_does_not_matter(filled: Store) -> None:
    position = filled.tail(START, 3).position
    sql(filled, "DELETE FROM luigi_event WHERE seq <= 3")
    assert [record.num for record in filled.tail(position).records] == [3, 1, 4, 4]


def test_a_mirror_follows_a_journal_that_writes(store: Store) -> None:
    async def scenario() -> None:
        journal = Journal(store, store.take_leadership("leader"))
        journal.start()
        reader, scheduler, position, readings = store.tail_reader(), Scheduler(Settings(), clock=lambda: NOW), START, 0
        last = 0
        for num in range(1, 301):
            last = add(journal, creation(num), change(num, status="DONE"))
            if num % 100 == 0:
                await journal.wait(last, 10)  # however slow the database: there is something to read
            if num % 20 == 0:
                await asyncio.sleep(0.005)
                tail = await asyncio.to_thread(reader.read, position, 50)
                readings += bool(tail.records)
                scheduler.restore(tail.records)
                position = tail.position
        await journal.wait(last, 10)
        while position != journal.position:
            tail = reader.read(position, 50)
            scheduler.restore(tail.records)
            position = tail.position
        assert len(scheduler.tasks) == 300
        assert readings > 1
        assert await asyncio.to_thread(journal.close, 5)
        reader.close()

    run(scenario())


@pytest.mark.postgresql
def test_a_lost_connection_is_replaced_and_one_is_kept(postgres: PostgresServer, postgres_url: str, make_store) -> None:
    store = make_store(postgres_url)
    reader: TailReader = store.tail_reader()
    ours = "FROM pg_stat_activity WHERE application_name = 'luigi-ha mirror' AND datname = '{}'".format(
        postgres_url.rpartition("/")[2]
    )
    for _ in range(3):
        reader.read(START)
    first = postgres.sql(f"SELECT pid {ours}")
    assert first.isdigit()  # one, and no more
    postgres.sql(f"SELECT pg_terminate_backend(pid) {ours}")
    with pytest.raises(DatabaseAway):
        reader.read(START)
    reader.read(START)
    second = postgres.sql(f"SELECT pid {ours}")
    assert second.isdigit()
    assert second != first
    reader.close()


@pytest.mark.postgresql
def test_with_nothing_new_one_query_is_all(postgres: PostgresServer, postgres_url: str, make_store) -> None:
    store = make_store(postgres_url)
    position = write(store, store.take_leadership("a"), creation(1))
    reader = store.tail_reader()
    connections = []
    sqlalchemy_event.listen(store._engine, "connect", lambda *_: connections.append(1))
    reader.read(position)
    postgres.sql("ALTER SYSTEM SET log_statement = 'all'; ")
    try:
        postgres.sql("SELECT pg_reload_conf()")
        postgres.sql("SELECT pg_sleep(0.2)")
        before = postgres.log.read_text().count("LOG:  statement: SELECT epoch, seq, hash, last_time")
        size = len(postgres.log.read_text())
        for _ in range(5):
            reader.read(position)
        said = postgres.log.read_text()
        assert said.count("LOG:  statement: SELECT epoch, seq, hash, last_time") == before + 5
        assert said[size:].count("LOG:  statement:") == 5
    finally:
        postgres.sql("ALTER SYSTEM RESET log_statement")
        postgres.sql("SELECT pg_reload_conf()")
        reader.close()
    assert connections == []
