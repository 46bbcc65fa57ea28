"""The primary's machine vanishes: nothing is reset, nobody answers. Real servers on hosts of their own."""

import asyncio
import time
from collections.abc import Callable, Iterator

import pytest

from luigi_ha.appliance.store import Journal, JournalState, Store
from tests.store.load import under_load
from tests.store.namespaces import SWITCH, Lan, available, lan
from tests.store.samples import add, creation, loaded, replayed, run, until
from tests.store.test_primary import quickest
from tests.support.patience import allowed, patient
from tests.support.servers import MEMORY, PostgresServer, postgres_server, postgres_standby

pytestmark = [
    pytest.mark.postgresql,
    pytest.mark.skipif(not available(), reason="needs root and ip: the hosts are network namespaces"),
]
CALL_TIMEOUT = 15.0  # what notices within 2 s is not this


class Machines:
    """A primary on host a, its synchronous standby on host b, and us at the switch."""

    def __init__(self, net: Lan, one: PostgresServer, two: PostgresServer) -> None:
        self.net, self.one, self.two = net, one, two

    def url(self) -> str:
        places = ",".join(f"{server.host}:{server.port}" for server in (self.one, self.two))
        return f"postgresql://luigi@{places}/luigi"


@pytest.fixture
def machines() -> Iterator[Machines]:
    with (
        lan("a", "b") as net,
        postgres_server(parent=MEMORY) as one,
        postgres_standby(one, "two") as two,
    ):
        # Both were made on this machine; now each moves to its host.
        for server, host in ((two, "b"), (one, "a")):
            server.stop()
            server.host = net.address(host)
            with (server.data / "pg_hba.conf").open("a") as rules:
                rules.write("host all,replication all 10.77.0.0/24 trust\n")
        net.on("a", one.start)
        net.on("b", two.start)
        two.sql(
            f"ALTER SYSTEM SET primary_conninfo = 'host={one.host} port={one.port} user=luigi application_name=two'"
        )
        two.sql("SELECT pg_reload_conf()")
        one.synchronous("two")
        yield Machines(net, one, two)


def test_it_is_noticed_within_two_seconds_and_the_next_primary_is_used(
    machines: Machines, make_store: Callable[..., Store]
) -> None:
    noticed, resumed = [], []

    async def trouble(journal: Journal) -> None:
        machines.net.unplug("a")
        began = time.monotonic()
        await until(lambda: journal.state is JournalState.WAITING)
        noticed.append(time.monotonic() - began)
        await asyncio.to_thread(machines.two.promote)
        began = time.monotonic()
        await until(lambda: journal.state is JournalState.WRITING)
        resumed.append(time.monotonic() - began)

    def scenario() -> None:
        store = make_store(machines.url(), call_timeout=CALL_TIMEOUT, connect_timeout=2.0)
        under_load(store, trouble)
        # It comes back, first in the list, and still accepts writes.
        machines.net.plug("a")
        assert machines.one.sql("SELECT pg_is_in_recovery()") == "f"
        for _ in range(3):
            store.position()
            assert store.primary == f"{machines.two.host}:{machines.two.port}"
            time.sleep(0.2)

    machines.net.on(SWITCH, scenario)
    assert noticed[0] < 2.5, noticed
    assert resumed[0] < 3.5, resumed


def test_a_commit_that_waits_for_its_standby_notices_too(machines: Machines, make_store: Callable[..., Store]) -> None:
    """Everything was sent and acknowledged; only asking whether the other is there can tell."""

    async def scenario(store: Store) -> None:
        journal = Journal(store, store.take_leadership("a"))
        journal.start()
        await journal.wait(add(journal, creation(1)), 5)
        machines.two.freeze()
        waiting = asyncio.ensure_future(journal.wait(add(journal, creation(2)), 60))
        await until(
            lambda: machines.one.sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'") > "0"
        )
        await asyncio.sleep(0.3)
        machines.net.unplug("a")
        began = time.monotonic()
        await until(lambda: journal.state is JournalState.WAITING)
        assert time.monotonic() - began < allowed(3.0, began)
        machines.two.thaw()
        machines.two.promote()
        await asyncio.wait_for(waiting, patient(20))
        assert await asyncio.to_thread(journal.close, 5)

    def here() -> None:
        store = make_store(machines.url(), call_timeout=CALL_TIMEOUT, connect_timeout=2.0)
        run(scenario(store))
        assert sorted(loaded(store).tasks) == [1, 2]
        assert loaded(store) == replayed(store)

    machines.net.on(SWITCH, here)


def test_a_vanished_host_first_in_the_list_does_not_delay_finding_the_primary(
    machines: Machines, make_store: Callable[..., Store]
) -> None:
    def here() -> None:
        make_store(machines.url())
        machines.two.catch_up(machines.one)
        machines.net.unplug("a")
        machines.two.promote()
        began = time.monotonic()
        store = make_store(machines.url(), connect_timeout=2.0)  # knows nothing: waits a moment for the other
        assert time.monotonic() - began < allowed(1.5, began)
        assert quickest(store) < 0.25  # knows who is silent

    machines.net.on(SWITCH, here)
