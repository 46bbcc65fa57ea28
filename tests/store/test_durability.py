"""Strict: nothing is acknowledged that is not on a synchronous standby, and everybody is told why. Real servers."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from luigi_ha.appliance.engine.changes import Epoch
from luigi_ha.appliance.store import DatabaseAway, Durability, Journal, JournalState, Store, Unusable, open_store
from tests.store.load import under_load
from tests.store.samples import add, batch, creation, loaded, replayed, run, until
from tests.support.patience import patient
from tests.support.servers import MEMORY, PostgresServer, postgres_server, postgres_standby

WAITING_COMMITS = "FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


class Pair:
    """A primary and a standby that commits wait for."""

    def __init__(self, one: PostgresServer, two: PostgresServer) -> None:
        self.one = one
        self.two = two

    def heal(self) -> None:
        self.two.thaw()
        if self.two.process is None:
            self.two.start()
        self.one.synchronous("two")

    def waiting(self) -> bool:
        return self.one.sql(f"SELECT count(*) {WAITING_COMMITS}") != "0"


@pytest.fixture(scope="module")
def servers() -> Iterator[Pair]:
    with postgres_server(parent=MEMORY) as one, postgres_standby(one, "two") as two:
        yield Pair(one, two)


@pytest.fixture
def pair(servers: Pair) -> Iterator[Pair]:
    servers.one.synchronous()
    servers.one.sql("DROP DATABASE IF EXISTS luigi WITH (FORCE)")
    servers.one.sql("CREATE DATABASE luigi")
    servers.heal()
    yield servers
    servers.heal()


@pytest.mark.postgresql
def test_strict_commits_are_on_the_standby_when_they_are_acknowledged(
    pair: Pair, make_store: Callable[..., Store]
) -> None:
    store = make_store(pair.one.url(), durability="strict")

    async def scenario() -> None:
        journal = Journal(store, store.take_leadership("a"))
        journal.start()
        for num in range(1, 30):
            await journal.wait(add(journal, creation(num)), 5)
        pair.one.kill()  # the standby is on its own now
        assert pair.two.sql("SELECT pg_last_wal_receive_lsn() IS NOT NULL") == "t"
        await until(lambda: pair.two.sql("SELECT seq FROM leadership", "luigi") == "29")
        journal.close(0)

    run(scenario())
    pair.one.start()
    pair.heal()
    state = store.replication()
    assert (state.durability, state.synchronous, state.degraded) == (Durability.STRICT, True, None)
    assert state.primary == f"127.0.0.1:{pair.one.port}"


@pytest.mark.postgresql
def test_what_replication_shows(pair: Pair, make_store: Callable[..., Store]) -> None:
    strict = make_store(pair.one.url(), durability="strict")
    available = make_store(pair.one.url())
    (standby,) = available.replication().standbys
    assert (standby.name, standby.state, standby.sync_state) == ("two", "streaming", "sync")
    assert standby.synchronous
    assert standby.lag_bytes is not None
    assert standby.lag_bytes < 1 << 20
    pair.one.synchronous()
    for store, words in (
        (available, "no commit waits for a standby: synchronous_standby_names is empty"),
        (strict, "durability = strict, but no commit waits for a standby"),
    ):
        state = store.replication()
        assert not state.synchronous
        assert state.degraded is not None
        assert state.degraded.startswith(words)
    pair.one.synchronous("two")
    pair.two.kill()
    found = available.replication()
    assert found.standbys == ()
    assert found.degraded == "no synchronous standby is attached (synchronous_standby_names = two)"


@pytest.mark.postgresql
def test_strict_does_not_lead_without_a_synchronous_standby(pair: Pair, make_store: Callable[..., Store]) -> None:
    store = make_store(pair.one.url(), durability="strict")
    pair.one.synchronous()
    with pytest.raises(DatabaseAway, match="strict, but no commit waits for a standby: synchronous_standby_names is"):
        store.take_leadership("a")
    assert store.position().epoch == 0
    pair.one.synchronous("two")
    pair.two.kill()
    with pytest.raises(DatabaseAway, match=r"no synchronous standby is attached \(synchronous_standby_names = two"):
        store.take_leadership("a")
    pair.heal()
    assert store.take_leadership("a").epoch == 1


@pytest.mark.postgresql
@pytest.mark.parametrize("trouble", ["the standby dies", "synchronous_standby_names is emptied"])
def test_strict_waits_with_its_reason_while_there_is_no_synchronous_standby(
    pair: Pair, make_store: Callable[..., Store], trouble: str
) -> None:
    store = make_store(pair.one.url(), durability="strict")

    async def degrade(journal: Journal) -> None:
        if trouble == "the standby dies":
            pair.two.kill()
            words = "no synchronous standby is attached"
        else:
            await asyncio.to_thread(pair.one.synchronous)
            words = "synchronous_standby_names is empty"
        await until(lambda: words in journal.reason)
        assert journal.state is JournalState.WAITING
        assert "durability = strict" in journal.reason
        acknowledged = journal.committed
        await asyncio.sleep(0.7)
        assert journal.committed == acknowledged
        await asyncio.to_thread(pair.heal)

    under_load(store, degrade)


@pytest.mark.postgresql
@pytest.mark.parametrize("durability", ["available", "strict"])
def test_a_commit_released_because_the_standby_was_given_up_is_acknowledged_only_if_that_is_allowed(
    pair: Pair, make_store: Callable[..., Store], durability: str
) -> None:
    """Patroni without strict mode does this: the standby is away, so it empties synchronous_standby_names."""
    store = make_store(pair.one.url(), call_timeout=20.0, durability=durability)

    async def scenario() -> None:
        journal = Journal(store, store.take_leadership("a"))
        journal.start()
        await journal.wait(add(journal, creation(1)), 5)
        pair.two.freeze()
        seq = add(journal, creation(2))
        waiting = asyncio.ensure_future(journal.wait(seq, 30))
        await until(pair.waiting)
        pair.one.sql("ALTER SYSTEM SET synchronous_standby_names = ''")
        pair.one.sql("SELECT pg_reload_conf()")
        await until(lambda: not pair.waiting())
        if durability == "available":
            await asyncio.wait_for(waiting, patient(5))
        else:
            await until(lambda: journal.state is JournalState.WAITING)
            assert store.position().seq == seq  # it is there, and yet nobody was told
            await asyncio.sleep(0.5)
            assert not waiting.done()
            assert "durability = strict, but" in journal.reason
            await asyncio.to_thread(pair.heal)
            await asyncio.wait_for(waiting, patient(10))
        assert await asyncio.to_thread(journal.close, 5)

    run(scenario())
    assert sorted(loaded(store).tasks) == [1, 2]
    assert loaded(store) == replayed(store)


@pytest.mark.postgresql
@pytest.mark.parametrize("durability", ["available", "strict"])
def test_a_cancelled_wait_for_the_standby_is_unknown_and_its_change_survives_the_promotion(
    make_store: Callable[..., Store], durability: str
) -> None:
    with (
        postgres_server(parent=MEMORY) as one,
        postgres_standby(one, "two") as two,
        postgres_standby(one, "three") as three,
    ):
        pair = Pair(one, two)
        one.synchronous("two")
        url = f"postgresql://luigi@127.0.0.1:{one.port},127.0.0.1:{two.port}/luigi"
        store = make_store(url, call_timeout=20.0, durability=durability)

        async def scenario() -> None:
            journal = Journal(store, store.take_leadership("a"))
            journal.start()
            await journal.wait(add(journal, creation(1)), 5)
            two.sql("ALTER SYSTEM SET primary_conninfo = ''")
            two.freeze()
            waiting = asyncio.ensure_future(journal.wait(add(journal, creation(2)), 60))
            await until(pair.waiting)
            one.sql(f"SELECT pg_cancel_backend(pid) {WAITING_COMMITS}")
            await until(lambda: journal.state is JournalState.WAITING)
            assert "warning" in journal.reason
            assert one.sql("SELECT seq FROM leadership", "luigi") == "2"
            assert not waiting.done()
            one.kill()
            two.thaw()
            two.promote()
            if durability == "strict":
                await until(lambda: "durability = strict" in journal.reason)
                assert not waiting.done()
                place = f"host=127.0.0.1 port={two.port} user=luigi application_name=three"
                three.sql(f"ALTER SYSTEM SET primary_conninfo = '{place}'")
                three.sql("SELECT pg_reload_conf()")
                await asyncio.to_thread(two.synchronous, "three")
            await asyncio.wait_for(waiting, patient(20))
            await journal.wait(add(journal, creation(3)), 10)
            assert await asyncio.to_thread(journal.close, 5)

        run(scenario())
        assert store.primary == f"127.0.0.1:{two.port}"
        assert sorted(loaded(store).tasks) == [1, 2, 3]
        assert loaded(store) == replayed(store)


@pytest.mark.postgresql
@pytest.mark.parametrize(
    ("durability", "trouble", "outcome"),
    [
        ("available", "cancelled", "warning"),
        ("available", "released", None),
        ("strict", "cancelled", "warning"),
        ("strict", "released", "durability = strict, but no synchronous standby confirmed"),
    ],
)
def test_leadership_is_not_taken_while_its_epoch_may_be_on_one_machine_only(
    pair: Pair, make_store: Callable[..., Store], durability: str, trouble: str, outcome: str | None
) -> None:
    store = make_store(pair.one.url(), call_timeout=20.0, durability=durability)

    async def scenario() -> None:
        pair.two.freeze()
        taking = asyncio.ensure_future(asyncio.to_thread(store.take_leadership, "a", Epoch(5)))
        await until(pair.waiting)
        if trouble == "cancelled":
            pair.one.sql(f"SELECT pg_cancel_backend(pid) {WAITING_COMMITS}")
        else:
            pair.one.sql("ALTER SYSTEM SET synchronous_standby_names = ''")
            pair.one.sql("SELECT pg_reload_conf()")
        if outcome is None:
            assert (await taking).epoch == 5
        else:
            with pytest.raises(DatabaseAway, match=outcome):
                await taking
        assert store.position().epoch == 5  # written, in any case
        await asyncio.to_thread(pair.heal)
        assert store.take_leadership("a", Epoch(5)).epoch == 5

    run(scenario())


@pytest.mark.postgresql
def test_a_role_that_may_not_see_the_standbys_is_told_what_to_grant(
    pair: Pair, make_store: Callable[..., Store]
) -> None:
    make_store(pair.one.url())
    pair.one.sql("DROP ROLE IF EXISTS plain")
    pair.one.sql("CREATE ROLE plain LOGIN")
    pair.one.sql("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO plain", "luigi")
    store = open_store(pair.one.url().replace("luigi@", "plain@"), durability="strict")
    with pytest.raises(DatabaseAway, match="GRANT pg_read_all_stats TO plain"):
        store.take_leadership("a")
    assert "GRANT pg_read_all_stats" in (store.replication().degraded or "")
    pair.one.sql("GRANT pg_read_all_stats TO plain")
    assert store.take_leadership("a").epoch == 1
    assert store.replication().synchronous
    pair.one.sql("DROP OWNED BY plain; DROP ROLE plain", "luigi")


@pytest.mark.postgresql
def test_a_fenced_strict_session_can_go_on(pair: Pair, make_store: Callable[..., Store]) -> None:
    from luigi_ha.appliance.store.errors import FenceRefused

    store = make_store(pair.one.url(), durability="strict")
    position = store.take_leadership("a")
    with closing(store.writer()) as writer:
        made = batch(position, creation(1))
        writer.write(made)
        with pytest.raises(FenceRefused):
            writer.write(made)
        assert writer.position() == made.last
        writer.confirm(made.last, 0)


@pytest.mark.parametrize("kind", ["sqlite_url", "mariadb_url"])
def test_strict_needs_a_database_that_can_tell(request: pytest.FixtureRequest, kind: str) -> None:
    url = request.getfixturevalue(kind)
    with pytest.raises(Unusable, match="use a postgresql:// URL, or durability = available"):
        open_store(url, durability="strict")
    with pytest.raises(ValueError, match="lazy"):
        open_store(url, durability="lazy")
    state = open_store(url).replication()
    assert (state.synchronous, state.standbys, state.primary) == (False, (), None)
