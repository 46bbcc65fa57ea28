"""A database that dies, freezes or lies: nothing acknowledged is lost, nothing is applied twice, nothing hangs."""

import asyncio
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from luigi_ha.appliance.store import Journal, JournalState
from luigi_ha.appliance.store.text import to_json
from tests.store.load import Load, under_load
from tests.store.samples import add, batch, creation, detail, loaded, replayed, run, until
from tests.support.patience import allowed
from tests.support.proxy import Relay
from tests.support.servers import MariadbServer, PostgresServer, mariadb_server, postgres_server


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[PostgresServer]:
    """A server that these tests may kill."""
    with postgres_server() as server:
        yield server


@pytest.fixture
def own_url(own_postgres: PostgresServer, request: pytest.FixtureRequest) -> str:
    own_postgres.sql("DROP DATABASE IF EXISTS luigi WITH (FORCE)")
    own_postgres.sql("CREATE DATABASE luigi")
    return own_postgres.url()


@pytest.mark.postgresql
def test_postgresql_killed_and_started_again_under_load(own_postgres: PostgresServer, own_url: str, make_store) -> None:
    async def trouble(journal: Journal) -> None:
        for _ in range(2):
            own_postgres.kill()
            await until(lambda: journal.state is JournalState.WAITING)
            await asyncio.to_thread(own_postgres.start)
            await until(lambda: journal.state is JournalState.WRITING)
            await asyncio.sleep(0.1)

    journal = under_load(make_store(own_url), trouble)
    assert journal.stats.retries >= 2


@pytest.mark.postgresql
def test_a_frozen_postgresql_costs_a_deadline_and_its_late_work_is_applied_at_most_once(
    own_postgres: PostgresServer, own_url: str, make_store
) -> None:
    async def trouble(journal: Journal) -> None:
        own_postgres.freeze()
        frozen = time.monotonic()
        await until(lambda: journal.state is JournalState.WAITING)
        assert time.monotonic() - frozen < allowed(3.0, frozen)  # the deadline is 1 s
        await asyncio.sleep(1.5)
        assert journal.state is JournalState.WAITING
        own_postgres.thaw()
        await until(lambda: journal.state is JournalState.WRITING)

    under_load(make_store(own_url), trouble)


@pytest.mark.postgresql
def test_sessions_cut_off_by_the_server_are_replaced(own_postgres: PostgresServer, own_url: str, make_store) -> None:
    async def trouble(journal: Journal) -> None:
        for _ in range(5):
            own_postgres.sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name ~ 'journal'"
            )
            await asyncio.sleep(0.05)

    under_load(make_store(own_url), trouble)


@pytest.mark.postgresql
@pytest.mark.parametrize("end_old_session", [True, False])
def test_a_batch_held_up_by_the_network_arrives_late_and_is_refused(
    postgres: PostgresServer, postgres_url: str, make_store, monkeypatch, end_old_session: bool
) -> None:
    if not end_old_session:
        # The old session is normally ended on the new one; without that, the fence alone must hold.
        writer = "luigi_ha.appliance.store.postgres_writer.PostgresWriter"
        monkeypatch.setattr(f"{writer}.end_session", lambda self, pid: None)
    with Relay(postgres.port) as relay:
        store = make_store(postgres_url.replace(str(postgres.port), str(relay.port)))

        async def trouble(journal: Journal) -> None:
            relay.stall()
            await until(lambda: journal.state is JournalState.WAITING)
            await until(lambda: journal.state is JournalState.WRITING)
            await asyncio.sleep(0.1)
            before = postgres.log.read_text().count("luigi-ha: fenced")
            relay.release()
            await asyncio.sleep(0.3)
            refused.append(postgres.log.read_text().count("luigi-ha: fenced") - before)

        refused: list[int] = []
        under_load(store, trouble)
        # The held batch did reach the server, and the fence refused it; an ended session could not even try.
        assert refused == [0 if end_old_session else 1]


@pytest.mark.postgresql
def test_a_commit_with_a_replication_warning_is_not_done(
    own_postgres: PostgresServer, own_url: str, make_store
) -> None:
    store = make_store(own_url, call_timeout=3.0)

    async def scenario() -> None:
        journal = Journal(store, store.take_leadership("leader"))
        journal.start()
        await journal.wait(add(journal, creation(1)), 5)
        own_postgres.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        own_postgres.sql("SELECT pg_reload_conf()")
        await asyncio.sleep(0.3)
        seq = add(journal, creation(2))
        waiting = asyncio.ensure_future(journal.wait(seq, 20))
        cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        await until(lambda: own_postgres.sql(cancel) != "")
        await until(lambda: journal.state is JournalState.WAITING)
        assert "warning" in journal.reason
        assert store.position().seq == seq  # it is there, and yet nobody was told
        assert not waiting.done()
        await asyncio.sleep(0.5)
        assert not waiting.done()
        own_postgres.sql("ALTER SYSTEM RESET synchronous_standby_names")
        own_postgres.sql("SELECT pg_reload_conf()")
        await waiting
        journal.close(5)

    try:
        run(scenario())
    finally:
        own_postgres.sql("ALTER SYSTEM RESET synchronous_standby_names")
        own_postgres.sql("SELECT pg_reload_conf()")
    assert loaded(store) == replayed(store)


@pytest.mark.postgresql
def test_a_database_that_lost_its_last_commits_gets_them_again(
    postgres: PostgresServer, postgres_url: str, make_store
) -> None:
    store = make_store(postgres_url)
    name = postgres_url.rpartition("/")[2]

    async def scenario() -> None:
        journal = Journal(store, store.take_leadership("leader"))
        journal.start()
        for num in range(1, 6):
            await journal.wait(add(journal, creation(num)), 5)
        # As a promoted asynchronous standby would be: at an earlier commit of the same epoch.
        kept = store.log(0, 2)
        chain = kept[1].after(kept[0].after("0" * 32))
        postgres.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name ~ 'journal'; "
            f"DELETE FROM luigi_event WHERE seq > 2; DELETE FROM luigi_task WHERE num > 2; "
            f"UPDATE leadership SET seq = 2, hash = '{chain}'",
            name,
        )
        await journal.wait(add(journal, creation(6)), 10)
        assert journal.stats.rewritten == 3
        journal.close(5)

    run(scenario())
    assert sorted(loaded(store).tasks) == [1, 2, 3, 4, 5, 6]
    assert loaded(store) == replayed(store)


@pytest.mark.postgresql
def test_a_log_that_is_not_ours_stops_the_leader(postgres: PostgresServer, postgres_url: str, make_store) -> None:
    store = make_store(postgres_url)

    async def scenario() -> None:
        journal = Journal(store, store.take_leadership("leader"))
        journal.start()
        await journal.wait(add(journal, creation(1)), 5)
        postgres.sql(f"UPDATE leadership SET hash = '{'f' * 32}'", postgres_url.rpartition("/")[2])
        add(journal, creation(2))
        await until(lambda: journal.state is JournalState.FENCED)
        assert "not ours" in journal.reason
        journal.close(5)

    run(scenario())


@pytest.fixture(scope="module")
def own_mariadb() -> Iterator[MariadbServer]:
    with mariadb_server() as server:
        yield server


@pytest.mark.mariadb
def test_mariadb_killed_and_frozen_under_load(own_mariadb: MariadbServer, make_store) -> None:
    async def trouble(journal: Journal) -> None:
        own_mariadb.kill()
        await until(lambda: journal.state is JournalState.WAITING)
        await asyncio.to_thread(own_mariadb.start)
        await until(lambda: journal.state is JournalState.WRITING)
        own_mariadb.freeze()
        await until(lambda: journal.state is JournalState.WAITING)
        own_mariadb.thaw()
        await until(lambda: journal.state is JournalState.WRITING)

    under_load(make_store(own_mariadb.url()), trouble)


@contextmanager
def small_disk(path: Path) -> Iterator[Path]:
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2M", "tmpfs", str(path)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system here: {mounted.stderr.decode().strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_full_disk_makes_sqlite_wait_until_there_is_room(tmp_path: Path, make_store) -> None:
    with small_disk(tmp_path / "small") as disk:
        store = make_store(f"sqlite:///{disk}/luigi.db")

        async def scenario() -> Load:
            journal = Journal(store, store.take_leadership("leader"))
            journal.start()
            load = Load(journal)

            async def trouble() -> None:
                filler = disk / "filler"
                with filler.open("wb", buffering=0) as out, suppress(OSError):
                    while True:
                        out.write(b"x" * 4096)
                await until(lambda: journal.state is JournalState.WAITING)
                assert "full" in journal.reason or "I/O" in journal.reason
                filler.unlink()
                await until(lambda: journal.state is JournalState.WRITING)

            await load.run(trouble)
            assert await asyncio.to_thread(journal.close, 5)
            return load

        load = run(scenario())
        load.check(store)


def test_a_batch_larger_than_mariadbs_packet_is_poison_not_an_endless_retry(mariadb_url: str, make_store) -> None:
    store = make_store(mariadb_url)
    from luigi_ha.appliance.engine.changes import TaskPut
    from luigi_ha.appliance.store import Poisoned

    position = store.take_leadership("leader")
    writer = store.writer()
    with pytest.raises(Poisoned, match="max_allowed_packet"):
        writer.write(batch(position, TaskPut(1, "x", None, None, detail(expl=to_json("x" * (17 << 20))))))
    writer.close()


def test_sqlite_says_when_a_file_is_no_database(tmp_path: Path) -> None:
    from luigi_ha.appliance.store import Unusable, open_store

    path = tmp_path / "text.db"
    path.write_text("this is not a database, it is a text of some length" * 100)
    with pytest.raises(Unusable, match="not a database"):
        open_store(f"sqlite:///{path}")
    assert sqlite3.sqlite_version_info >= (3, 35)
