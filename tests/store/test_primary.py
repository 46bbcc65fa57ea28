"""Finding the primary: dead, frozen and deposed servers in the list delay nobody and deceive nobody. Real servers."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from luigi_ha.appliance.engine.changes import Epoch
from luigi_ha.appliance.lab.ports import free_port
from luigi_ha.appliance.store import DatabaseAway, Journal, JournalState, NotAPrefix, Position, Store, open_store
from tests.store.load import under_load
from tests.store.samples import add, batch, creation, loaded, replayed, run, until, write
from tests.support.patience import allowed
from tests.support.proxy import Relay
from tests.support.servers import MEMORY, PostgresServer, postgres_server, postgres_standby

pytestmark = pytest.mark.postgresql


class Pair:
    """A primary and a standby of it."""

    def __init__(self, one: PostgresServer, two: PostgresServer) -> None:
        self.one = one
        self.two = two

    def url(self, *ports: int) -> str:
        """Hosts in this order; without any, the first primary and then the standby."""
        places = ",".join(f"127.0.0.1:{port}" for port in ports or (self.one.port, self.two.port))
        return f"postgresql://luigi@{places}/luigi"


@pytest.fixture(scope="module")
def calm() -> Iterator[Pair]:
    """A pair to which nothing happens."""
    with postgres_server(parent=MEMORY) as one, postgres_standby(one, "two") as two:
        yield Pair(one, two)


@pytest.fixture
def pair() -> Iterator[Pair]:
    with postgres_server(parent=MEMORY) as one, postgres_standby(one, "two") as two:
        yield Pair(one, two)


def place(server: PostgresServer) -> str:
    return f"127.0.0.1:{server.port}"


def quickest(store: Store, times: int = 3) -> float:
    """Seconds that finding the primary and asking it something took, at best: the machine may be busy."""
    took = []
    for _ in range(times):
        began = time.monotonic()
        store.position()
        took.append(time.monotonic() - began)
    return min(took)


@pytest.mark.parametrize("first", ["primary", "standby"])
def test_the_primary_is_found_wherever_it_stands_in_the_list(
    calm: Pair, make_store: Callable[..., Store], first: str
) -> None:
    ports = [calm.one.port, calm.two.port]
    store = make_store(calm.url(*(ports if first == "primary" else reversed(ports))))
    assert store.take_leadership("a").epoch >= 1
    assert store.primary == place(calm.one)
    assert store.replication().timeline == 1
    assert quickest(store) < 0.2  # the standby said at once what it is: nobody is waited for


def test_hosts_that_do_not_answer_cost_a_moment_once_and_then_nothing(
    calm: Pair, make_store: Callable[..., Store]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = make_store(calm.url(silent.getsockname()[1], free_port(), calm.one.port), connect_timeout=2.0)
        began = time.monotonic()
        fresh = make_store(calm.url(silent.getsockname()[1], calm.one.port), connect_timeout=2.0)
        assert time.monotonic() - began < allowed(1.5, began)  # 0.3 s for the first look
        for known in (store, fresh):
            assert quickest(known) < 0.25


def test_while_a_standbys_host_is_silent_the_known_primary_is_used_almost_at_once(
    pair: Pair, make_store: Callable[..., Store]
) -> None:
    store = make_store(pair.url())
    took = []
    for _ in range(3):
        pair.two.thaw()
        store.position()  # the standby answers, so it is not known as silent
        time.sleep(0.1)
        pair.two.freeze()
        took.append(quickest(store, 1))
    assert min(took) < 0.25
    assert quickest(store) < 0.25


def test_a_standby_promoted_while_another_host_is_waited_for_is_found(
    pair: Pair, make_store: Callable[..., Store]
) -> None:
    store = make_store(pair.url(), connect_timeout=8.0)
    pair.two.catch_up(pair.one)
    pair.one.freeze()
    promotion = threading.Timer(0.3, pair.two.promote)
    promotion.start()
    began = time.monotonic()
    store.position()  # when it began, one host had not answered, and the other was no primary
    assert time.monotonic() - began < allowed(4.0, began)
    assert store.primary == place(pair.two)
    promotion.join()


def test_a_kept_session_looks_again_who_is_the_primary(
    pair: Pair, make_store: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody told us: the old primary answers, and its log stands still."""
    store = make_store(pair.url())
    reader = store.tail_reader()
    start = store.take_leadership("a")
    assert reader.read(start).position == start
    pair.two.catch_up(pair.one)
    pair.two.promote()
    later = write(make_store(pair.url()), start, creation(1))
    assert reader.read(start).position == start
    monkeypatch.setattr("luigi_ha.appliance.store.dialects.LOOK_AGAIN", 0.1)
    time.sleep(0.15)
    assert reader.read(start).position == later
    reader.close()


def test_with_two_servers_that_accept_writes_the_higher_timeline_wins(
    pair: Pair, make_store: Callable[..., Store]
) -> None:
    make_store(pair.url())
    pair.two.catch_up(pair.one)
    pair.two.promote()
    for ports in ((pair.one.port, pair.two.port), (pair.two.port, pair.one.port)):
        store = make_store(pair.url(*ports))
        for _ in range(3):
            store.position()
            assert store.primary == place(pair.two)
        assert store.replication().timeline == 2


class Slow(Relay):
    """A server that answers a moment later than the others."""

    def _accept(self) -> None:
        time.sleep(0.1)
        super()._accept()


def test_an_old_primary_that_answers_first_does_not_win(pair: Pair, make_store: Callable[..., Store]) -> None:
    make_store(pair.url())
    pair.two.catch_up(pair.one)
    pair.two.promote()
    for _ in range(3):
        with Slow(pair.two.port) as slow:
            store = open_store(pair.url(pair.one.port, slow.port))
            assert store.primary == f"127.0.0.1:{slow.port}"


def test_an_old_primary_is_refused_by_who_has_seen_the_new_one(pair: Pair, make_store: Callable[..., Store]) -> None:
    store = make_store(pair.url())
    start = store.take_leadership("a")
    position = write(store, start, creation(1))
    reader, writer = store.tail_reader(), store.writer()
    assert reader.read(start).position == position
    pair.two.catch_up(pair.one)
    pair.two.promote()
    assert store.position() == position  # from now on the new timeline is known
    assert store.primary == place(pair.two)
    # Sessions with the old one, which would still take what it is given:
    with pytest.raises(DatabaseAway, match="newer primary"):
        writer.write(batch(position, creation(2)))
    writer.close()
    later = write(store, position, creation(3))
    assert reader.read(position).position == later
    assert pair.one.sql("SELECT seq FROM leadership", "luigi") == "1"
    # And new ones, when only the old one is left:
    pair.two.kill()
    for _ in range(2):
        with pytest.raises(DatabaseAway, match="an old primary: it writes timeline 1, and timeline 2 has been seen"):
            store.position()
    with pytest.raises(DatabaseAway):  # the connection it had
        reader.read(later)
    with pytest.raises(DatabaseAway, match="an old primary"):
        reader.read(later)
    pair.two.start()
    assert reader.read(later).position == later
    reader.close()


def test_a_frozen_primary_is_replaced_and_nothing_acknowledged_is_lost(
    pair: Pair, make_store: Callable[..., Store]
) -> None:
    pair.one.synchronous("two")
    store = make_store(pair.url())
    gaps = []

    async def trouble(journal: Journal) -> None:
        pair.one.freeze()
        frozen = time.monotonic()
        await until(lambda: journal.state is JournalState.WAITING)
        await asyncio.to_thread(pair.two.promote)
        promoted = time.monotonic()
        await until(lambda: journal.state is JournalState.WRITING)
        gaps.append((time.monotonic() - frozen, time.monotonic() - promoted))
        pair.one.thaw()  # it accepts writes, and is first in the list

    try:
        under_load(store, trouble)
    finally:
        pair.one.thaw()
    assert gaps[0][1] < 3.0
    assert store.primary == place(pair.two)
    assert int(pair.one.sql("SELECT seq FROM leadership", "luigi")) < store.position().seq


def test_a_killed_primary_is_replaced_under_load(pair: Pair, make_store: Callable[..., Store]) -> None:
    pair.one.synchronous("two")
    store = make_store(pair.url())

    async def trouble(journal: Journal) -> None:
        pair.one.kill()
        await until(lambda: journal.state is JournalState.WAITING)
        await asyncio.to_thread(pair.two.promote)

    journal = under_load(store, trouble)
    assert journal.stats.rewritten == 0


def test_an_asynchronous_standby_gets_again_what_it_missed(pair: Pair, make_store: Callable[..., Store]) -> None:
    store = make_store(pair.url())

    async def scenario() -> None:
        journal = Journal(store, store.take_leadership("a"))
        journal.start()
        await journal.wait(add(journal, creation(1)), 5)
        await until(lambda: pair.two.sql("SELECT seq FROM leadership", "luigi") == "1")
        pair.two.sql("ALTER SYSTEM SET primary_conninfo = ''")
        pair.two.sql("SELECT pg_reload_conf()")
        await until(lambda: pair.one.sql("SELECT count(*) FROM pg_stat_replication") == "0")
        await journal.wait(add(journal, creation(2)), 5)
        reader = store.tail_reader()
        mirror = reader.read(Position(Epoch(0), 0, "0" * 32)).position
        assert mirror == journal.position
        pair.one.kill()
        pair.two.promote()
        with pytest.raises(DatabaseAway):  # the connection it had
            reader.read(mirror)
        with pytest.raises(NotAPrefix, match="the log ends at 1 "):
            reader.read(mirror)
        await journal.wait(add(journal, creation(3)), 10)
        assert journal.stats.rewritten == 1
        # The journal wrote the same events again: the mirror was right after all.
        assert [record.num for record in reader.read(mirror).records] == [3]
        reader.close()
        assert await asyncio.to_thread(journal.close, 5)

    run(scenario())
    assert sorted(loaded(store).tasks) == [1, 2, 3]
    assert loaded(store) == replayed(store)
