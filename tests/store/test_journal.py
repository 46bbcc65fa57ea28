"""The journal on each database: order, group commit, waiting, back-pressure, its ends."""

import asyncio
import sqlite3
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
    WorkerPut,
    WorkerRemoved,
)
from luigi_ha.appliance.store import Journal, JournalClosed, JournalState, Poisoned, Store, open_store
from luigi_ha.appliance.store.tables import leadership, metadata
from luigi_ha.appliance.store.text import to_json
from tests.store.samples import (
    Model,
    add,
    change,
    creation,
    definition,
    detail,
    loaded,
    replayed,
    run,
    state,
    until,
    write,
)
from tests.support.patience import allowed


def test_many_calls_share_few_transactions_and_keep_their_order(store: Store) -> None:
    commits: list[int] = []

    async def scenario() -> None:
        journal = Journal(store, store.take_leadership("x"), on_commit=lambda records, _: commits.append(records))
        journal.start()
        woken = []

        async def call(num: int) -> None:
            await journal.wait(add(journal, creation(num), change(num, status="DONE")), 10)
            woken.append(num)

        await asyncio.gather(*(call(num) for num in range(1, 301)))
        assert woken == sorted(woken)
        assert journal.committed == journal.appended == 600
        assert journal.stats.records == sum(commits) == 600
        assert journal.stats.batches == len(commits) < 300
        assert journal.close(5)
        assert journal.state is JournalState.CLOSED

    run(scenario())
    assert loaded(store) == replayed(store)
    assert len(loaded(store).tasks) == 300


def test_a_call_without_changes_has_nothing_to_wait_for(store: Store) -> None:
    async def scenario() -> None:
        journal = Journal(store, store.take_leadership("x"))
        journal.start()
        assert add(journal) == 0
        await journal.wait(0, 0)
        seq = add(journal, creation(1))
        assert add(journal) == seq
        journal.close(5)

    run(scenario())


def test_closing_writes_what_is_queued_and_tells_who_waits(store: Store) -> None:
    states = []

    async def scenario() -> None:
        journal = Journal(store, store.take_leadership("x"), on_state=states.append)
        journal.start()
        waits = [asyncio.ensure_future(journal.wait(add(journal, creation(num)), 5)) for num in range(1, 50)]
        assert await asyncio.to_thread(journal.close, 5)
        await asyncio.gather(*waits)
        with pytest.raises(JournalClosed):
            await journal.wait(add(journal, creation(99)), 5)

    run(scenario())
    assert states == [JournalState.CLOSED]
    assert len(loaded(store).tasks) == 49


def test_a_poisoned_record_ends_the_journal_and_nothing_of_its_batch_is_kept(store: Store) -> None:
    async def scenario() -> None:
        journal = Journal(store, store.take_leadership("x"))
        journal.start()
        await journal.wait(add(journal, creation(1)), 5)
        with pytest.raises(Poisoned):
            await journal.wait(add(journal, creation(2), creation(2**70)), 5)
        assert journal.state is JournalState.POISONED
        with pytest.raises(Poisoned):
            await journal.wait(add(journal, creation(3)), 5)
        journal.close(5)

    run(scenario())
    assert list(loaded(store).tasks) == [1]
    # The engine is discarded and loaded anew; the log goes on.
    again = write(store, store.take_leadership("x"), creation(2))
    assert store.position() == again
    assert loaded(store) == replayed(store)


def test_a_record_that_is_none_poisons_instead_of_hanging(sqlite_url: str, make_store) -> None:
    store = make_store(sqlite_url)

    async def scenario() -> None:
        journal = Journal(store, store.take_leadership("x"))
        journal.start()
        with pytest.raises(Poisoned, match="cannot encode"):
            await journal.wait(add(journal, object()), 5)  # type: ignore[arg-type]
        journal.close(5)

    run(scenario())


def test_a_locked_database_makes_the_journal_wait_and_fill_and_then_go_on(sqlite_url: str, make_store) -> None:
    store = make_store(sqlite_url)

    async def scenario() -> None:
        states = []
        journal = Journal(store, store.take_leadership("x"), on_state=states.append, max_pending_records=10)
        journal.start()
        other = sqlite3.connect(store.target.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        seq = add(journal, creation(1))
        with pytest.raises(TimeoutError):
            await journal.wait(seq, 0.2)
        await until(lambda: journal.state is JournalState.WAITING)
        assert "locked" in journal.reason
        assert not journal.full
        for num in range(2, 11):
            add(journal, creation(num))
        assert journal.full
        other.execute("ROLLBACK")
        other.close()
        await journal.wait(journal.appended, 10)
        assert not journal.full
        await until(lambda: states == [JournalState.WAITING, JournalState.WRITING])
        journal.close(5)

    run(scenario())
    assert loaded(store) == replayed(store)
    assert len(loaded(store).tasks) == 10


def test_large_records_fill_the_journal_by_their_size(sqlite_url: str, make_store) -> None:
    store = make_store(sqlite_url)
    journal = Journal(store, store.take_leadership("x"), max_pending_bytes=1_000_000)
    for num in range(9):
        assert not journal.full
        add(journal, TaskPut(num, f"t{num}", None, None, detail(expl=to_json("x" * 120_000))))
    assert journal.full


def test_closing_while_the_database_is_away_gives_up_in_time(sqlite_url: str, make_store) -> None:
    store = make_store(sqlite_url)

    async def scenario() -> None:
        journal = Journal(store, store.take_leadership("x"))
        journal.start()
        other = sqlite3.connect(store.target.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.ensure_future(journal.wait(add(journal, creation(1)), 30))
        await asyncio.sleep(0.1)
        began = time.monotonic()
        assert await asyncio.to_thread(journal.close, 0.5) is False
        assert time.monotonic() - began < allowed(2, began)
        with pytest.raises(JournalClosed):
            await waiting
        other.close()

    run(scenario())


TEXTS = st.sampled_from(["a", "A", "a'", "\0", "\ud800", "é", "\ue000"])
NUMS = st.integers(1, 4)


def records() -> st.SearchStrategy[Change]:
    groups = st.tuples(
        st.none() | st.builds(lambda text: definition(family=text, deps=(text,), capabilities=(text,)), TEXTS),
        st.none()
        | st.builds(lambda text, priority: state(status=text, worker_id=text, priority=priority), TEXTS, st.floats()),
        st.none() | st.builds(lambda text: detail(expl=to_json(text), tracking_url=text), TEXTS),
    )
    return st.one_of(
        st.builds(lambda num, some: TaskPut(num, f"T{num}", *some), NUMS, groups),
        st.builds(lambda num: TaskRemoved(num, f"T{num}"), NUMS),
        st.builds(
            lambda wid, text, on: WorkerPut(wid, text, 1.0, not on, to_json(text), "[]", on), NUMS, TEXTS, st.booleans()
        ),
        st.builds(lambda wid: WorkerRemoved(wid, "w"), NUMS),
        st.builds(lambda text, number: ResourcePut(text, to_json(number)), TEXTS, st.floats()),
        st.builds(lambda text, family: BatcherPut(text, family, "[]", "Infinity"), TEXTS, TEXTS),
        st.builds(BatcherRemoved, TEXTS, TEXTS),
        st.builds(lambda text: SettingPut(text, to_json(text)), TEXTS),
        st.builds(lambda num, text: AnswerPut(num, text, text, text, 200, text, 1.5), NUMS, TEXTS),
        st.builds(AnswersForgotten, NUMS),
    )


class Writing:
    """Makes arbitrary sequences into ones a scheduler could write: a task is created whole, no number is used again."""

    def __init__(self) -> None:
        self.numbers: dict[int, int] = {}
        self.next = 1

    def sensible(self, record: Change) -> Change | None:
        if isinstance(record, (TaskPut, TaskRemoved)):
            slot = record.num
            if isinstance(record, TaskRemoved):
                num = self.numbers.pop(slot, None)
                return None if num is None else TaskRemoved(num, record.task_id)
            if slot not in self.numbers:
                self.numbers[slot], self.next = self.next, self.next + 1
                return TaskPut(
                    self.numbers[slot], record.task_id, record.definition or definition(), record.state or state(),
                    record.detail or detail(),
                )  # fmt: skip
            return record._replace(num=self.numbers[slot])
        if isinstance(record, AnswerPut):
            self.next += 1
            return record._replace(num=self.next - 1)
        if isinstance(record, AnswersForgotten):
            return AnswersForgotten(min(record.up_to, self.next - 1))
        return record


@pytest.fixture(scope="session")
def stores(tmp_path_factory, postgres, mariadb) -> list[Store]:
    made = []
    for server in (postgres, mariadb):
        server.sql("CREATE DATABASE replays")
        made.append(open_store(server.url("replays")))
    made.append(open_store(f"sqlite:///{tmp_path_factory.mktemp('replays')}/x.db"))
    for store in made:
        store.upgrade()
    return made


def emptied(store: Store) -> None:
    """As after `upgrade`."""
    with store._engine.begin() as connection:
        for table in metadata.sorted_tables:
            if table is not leadership:
                connection.execute(table.delete())
        connection.execute(leadership.update().values(epoch=0, seq=0, hash="0" * 32, last_time=0))


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.lists(records(), max_size=8), max_size=4))
def test_the_tables_are_what_replaying_the_log_gives(stores: list[Store], batches: list[list[Change]]) -> None:
    for store in stores:
        emptied(store)
        position = store.take_leadership("replay")
        model = Model()
        writing = Writing()
        for some in batches:
            sensible = [made for record in some if (made := writing.sensible(record)) is not None]
            for record in sensible:
                model.apply(record)
            if sensible:
                position = write(store, position, *sensible)
        assert loaded(store) == model
        assert replayed(store) == model
