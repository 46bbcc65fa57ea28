"""The old end of the log goes; the state, the position and what follows stay."""

import pytest

from luigi_ha.appliance.store import Corrupt, Store
from tests.store.samples import NOW, change, creation, loaded, write
from tests.support.servers import PostgresServer


def filled(store: Store, events: int) -> None:
    position = store.take_leadership("x")
    for number in range(1, events + 1, 5):
        position = write(store, position, *(creation(number + i) for i in range(5)), at=NOW + number)


def test_old_events_go_and_the_state_stays(store: Store) -> None:
    filled(store, 50)
    before, position = loaded(store), store.position()
    if "postgresql" in repr(store):
        pytest.skip("whole partitions: see below")
    assert store.prune_events() == 0
    assert len(store.log(0)) == 50
    assert store.prune_events(keep_events=20) == 31
    assert [entry.seq for entry in store.log(30)] == list(range(31, 51))
    with pytest.raises(Corrupt, match="were dropped"):
        store.log(0)
    # An event goes only if nothing keeps it.
    store.prune_events(keep_events=5, older_than=NOW + 36)
    assert store.log(35)[0].seq == 36
    store.prune_events(keep_events=0)
    assert [entry.seq for entry in store.log(49)] == [50]
    assert loaded(store) == before
    assert store.position() == position
    write(store, store.take_leadership("x"), change(50, status="DONE"))
    assert [entry.seq for entry in store.log(49)] == [50, 51]


@pytest.mark.postgresql
def test_postgresql_makes_partitions_ahead_and_drops_them_whole(
    postgres: PostgresServer, postgres_url: str, make_store
) -> None:
    store = make_store(postgres_url, partition_events=20)
    filled(store, 100)

    def bounds() -> list[str]:
        listed = postgres.sql(
            "SELECT relid FROM pg_partition_tree('luigi_event') WHERE isleaf ORDER BY length(relid::text), relid::text",
            postgres_url.rpartition("/")[2],
        )
        return [name.removeprefix("luigi_event_p") for name in listed.split()]

    # Room for half a partition more than what is written, always.
    assert bounds() == ["0", "20", "40", "60", "80", "100"]
    assert store.prune_events(keep_events=45) == 40
    assert bounds() == ["40", "60", "80", "100"]
    assert store.prune_events(older_than=NOW + 61) == 60
    assert store.prune_events(keep_events=0) == 100
    assert bounds() == ["100"]
    assert [entry.seq for entry in store.log(99)] == [100]
    assert len(loaded(store).tasks) == 100
    write(store, store.take_leadership("x"), *(creation(num) for num in range(200, 280)))
    assert store.position().seq == 180
    assert bounds()[-1] == "180"
