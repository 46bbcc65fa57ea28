"""The schema: made once, by one of many, never downgraded; and the tables are the ones the program thinks they are."""

import json
import os
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from luigi_ha.appliance.engine.changes import TaskPut, WorkerPut
from luigi_ha.appliance.lab.ports import free_port
from luigi_ha.appliance.store import (
    BadUrl,
    DatabaseAway,
    SchemaMissing,
    SchemaState,
    SchemaTooNew,
    Store,
    StoreError,
    Unusable,
    open_store,
    schema,
    tables,
)
from luigi_ha.appliance.store.position import Position, call_bytes, chained, event_bytes
from luigi_ha.appliance.store.statements import EVENT_COLUMNS, WORKER_COLUMNS, task_columns
from luigi_ha.appliance.store.tables import metadata
from luigi_ha.appliance.store.target import Kind, parse
from tests.store.samples import Model, batch, change, creation, loaded, replayed, write
from tests.support.patience import allowed, patient
from tests.support.servers import MariadbServer, PostgresServer


def test_upgrading_makes_the_tables_and_again_changes_nothing(url: str) -> None:
    store = open_store(url)
    assert store.check().state is SchemaState.MISSING
    for call in (store.load, lambda: store.take_leadership("x")):
        with pytest.raises(SchemaMissing, match="luigi-ha db upgrade"):
            call()
    assert store.upgrade().state is SchemaState.CURRENT
    position = store.take_leadership("x")
    assert store.upgrade() == store.check()
    assert store.position() == position


def test_the_versions_are_those_of_the_migrations() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    scripts = ScriptDirectory.from_config(config)
    assert [script.revision for script in scripts.walk_revisions()] == list(reversed(schema.revisions()))


def test_the_tables_are_those_the_program_describes(store: Store) -> None:
    with store._engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": "luigi_schema"})
        differences = [
            difference for difference in compare_metadata(context, metadata) if "luigi_event_p" not in str(difference)
        ]
    assert differences == []


def test_a_database_of_a_newer_program_is_left_alone(store: Store) -> None:
    with store._engine.begin() as connection:
        connection.execute(text("UPDATE luigi_schema SET version_num = '9999'"))
    assert store.check().state is SchemaState.TOO_NEW
    calls: list[Callable[[], object]] = [store.upgrade, store.load, lambda: store.take_leadership("x")]
    for call in calls:
        with pytest.raises(SchemaTooNew, match="9999, newer than 0005"):
            call()
    assert store.check().found == "9999"


def upgraded_to(store: Store, revision: str) -> None:
    """The schema as an earlier program left it."""
    if store.file is not None:
        store.file.create()
    with store._engine.connect() as connection:
        schema.migrate(connection, revision)
        connection.commit()


def written_by_an_earlier_program(store: Store, *records: TaskPut | WorkerPut) -> Position:
    """Records in the log and in the tables as they were written before version 0003: with fewer fields and columns."""
    previous = store.position()
    after = batch(previous, *records)
    chain = bytes.fromhex(previous.hash)
    with store._engine.begin() as connection:
        for row in after.events:
            event = dict(zip(EVENT_COLUMNS, row, strict=True))
            values = json.loads(event["data"])
            if event["kind"] == "task":
                values[2], values[3] = values[2][:-1], values[3][:-1]  # without capabilities, without cancelled
            else:
                values = values[:-1]  # without draining
            event["data"] = json.dumps(values)
            call = call_bytes(event["epoch"], event["at"], event["method"], event["actor"])
            chain = chained(chain, event_bytes(event["seq"], call, event["kind"], event["data"]))
            connection.execute(tables.event.insert(), event)
        for row in after.tasks[7]:
            task = dict(zip(task_columns(7), row, strict=True))
            del task["capabilities"]
            task["state"] = json.dumps(json.loads(task["state"])[:-1])
            for name in ("updated_at", "run_time", "retry_at"):
                task[name] = task[name] and datetime.fromisoformat(task[name])
            connection.execute(tables.task.insert(), task)
        for row in after.workers.values():
            worker = dict(zip(WORKER_COLUMNS, row, strict=True))
            del worker["draining"]
            connection.execute(tables.worker.insert(), worker)
        position = after.last._replace(hash=chain.hex())
        connection.execute(tables.leadership.update(), {"seq": position.seq, "hash": position.hash})
    return position


@pytest.mark.parametrize("revision", ["0001", "0002", "0003"])
def test_an_older_schema_is_refused_and_upgraded_with_everything_in_it(url: str, revision: str) -> None:
    store = open_store(url)
    upgraded_to(store, revision)
    with store._engine.begin() as connection:
        connection.execute(text("UPDATE leadership SET epoch = 1, holder = 'earlier'"))
        if store.target.kind is Kind.POSTGRESQL:
            connection.execute(
                text("CREATE TABLE luigi_event_p0 PARTITION OF luigi_event FOR VALUES FROM (0) TO (1000)")
            )
    records = (creation(1), creation(2, attempt=1, run_id="r"), WorkerPut(1, "w", 1.5, False, "{}", "[]"))
    position = written_by_an_earlier_program(store, *records)
    status = store.check()
    assert (status.found, status.wanted, status.state) == (revision, "0005", SchemaState.OLD)
    calls: list[Callable[[], object]] = [store.load, lambda: store.take_leadership("x")]
    for call in calls:
        with pytest.raises(SchemaMissing, match=f"is {revision}, this program needs 0005; run: luigi-ha db upgrade"):
            call()
    assert store.upgrade() == store.check()
    assert store.check().state is SchemaState.CURRENT
    assert store.position() == position
    assert loaded(store) == Model(records)
    assert loaded(store) == replayed(store)
    assert store.failovers() == store.tokens() == []
    taken = store.take_leadership("x")
    assert taken.epoch == 2
    write(store, taken, change(1, status="DONE"), WorkerPut(1, "w", 1.5, False, "{}", "[]", True))
    assert loaded(store).workers[1].draining
    assert loaded(store) == replayed(store)


def test_an_upgrade_cut_off_between_its_statements_is_repeated(url: str) -> None:
    store = open_store(url)
    store.upgrade()
    with store._engine.begin() as connection:
        # Where DDL commits by itself, the tables can be there without the version.
        connection.execute(text("UPDATE luigi_schema SET version_num = '0001'"))
    assert store.upgrade().state is SchemaState.CURRENT


def test_several_processes_may_upgrade_at_once(url: str) -> None:
    stores = [open_store(url) for _ in range(4)]
    problems: list[BaseException] = []

    def upgrade(store: Store) -> None:
        try:
            store.upgrade()
        except StoreError as error:
            problems.append(error)

    threads = [threading.Thread(target=upgrade, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(patient(30))
    # SQLite's writers wait only a moment for each other; then they say so and can be run again.
    if not url.startswith("sqlite"):
        assert problems == []
    assert stores[0].upgrade().state is SchemaState.CURRENT
    assert stores[0].take_leadership("x").epoch == 1


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "is no kind of database"),
        ("oracle://host/x", "'oracle' is no kind of database"),
        ("/var/lib/luigi.db", "sqlite:///"),
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        ("sqlite:///x.db?mode=ro", "takes no options"),
        ("postgresql://user:secret@host:port/db", "is no port"),
        ("postgresql://user:secret@host:99999/db", "is no port"),
        ("postgresql://user:secret@a,,b/db", "name is missing"),
        ("postgresql://user:secret@host/db?nonsense=1", "nonsense"),
        ("mysql://user:secret@host", "name is missing"),
        ("mysql://user:secret@host/db?nonsense=1", "unknown option nonsense"),
    ],
)
def test_a_url_that_cannot_be_understood_is_explained(url: str, words: str) -> None:
    with pytest.raises(BadUrl) as caught:
        open_store(url)
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)


def test_urls_of_every_form() -> None:
    assert parse("sqlite:///rel.db").path == Path("rel.db")
    assert parse("sqlite:////abs/x.db").path == Path("/abs/x.db")
    two = parse("postgresql://u:p%40ss@h1,h2:5433/db?sslmode=disable")
    assert (two.hosts, two.user, two.password, two.database) == ((("h1", 5432), ("h2", 5433)), "u", "p@ss", "db")
    assert two.shown == "postgresql://u@h1:5432,h2:5433/db"
    assert "p@ss" not in repr(two)
    assert parse("postgresql://u@[::1]:6000/db").hosts == (("::1", 6000),)
    assert parse("postgresql:///db?host=/run/postgresql").hosts == (("/run/postgresql", 5432),)
    assert parse("postgresql://u@h").database == "u"
    assert parse("mariadb://u@h/db").hosts == (("h", 3306),)


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
def test_a_server_that_is_not_there_is_named(scheme: str) -> None:
    port = free_port()
    with pytest.raises(DatabaseAway) as caught:
        open_store(f"{scheme}://luigi:secret@127.0.0.1:{port}/luigi", connect_timeout=1.0)
    assert f"127.0.0.1:{port}" in str(caught.value)
    assert "refused" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.postgresql
def test_a_host_that_does_not_answer_costs_its_deadline_and_the_next_is_asked(
    postgres: PostgresServer, postgres_url: str
) -> None:
    import socket
    import time

    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent_port = silent.getsockname()[1]
        began = time.monotonic()
        with pytest.raises(DatabaseAway, match="no answer within"):
            open_store(f"postgresql://luigi@127.0.0.1:{silent_port}/luigi", connect_timeout=0.5)
        database = postgres_url.rpartition("/")[2]
        two = f"postgresql://luigi@127.0.0.1:{silent_port},127.0.0.1:{postgres.port}/{database}"
        store = open_store(two, connect_timeout=0.5)
        assert time.monotonic() - began < allowed(5, began)
        store.upgrade()


@pytest.mark.postgresql
@pytest.mark.mariadb
def test_what_waiting_will_not_cure_is_unusable(postgres: PostgresServer, mariadb: MariadbServer) -> None:
    with pytest.raises(Unusable, match="does not exist"):
        open_store(postgres.url("nowhere"))
    with pytest.raises(Unusable, match="Unknown database"):
        open_store(mariadb.url("nowhere"))
    with pytest.raises(Unusable, match="Access denied"):
        open_store(mariadb.url().replace("luigi@", "luigi:wrong@"))


def test_sqlite_directories_that_cannot_be_written_are_explained(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="does not exist"):
        open_store(f"sqlite:///{tmp_path}/missing/x.db")
    with pytest.raises(Unusable, match="is a directory"):
        open_store(f"sqlite:///{tmp_path}")
    place = Path(tempfile.mkdtemp())  # not below tmp_path, which only its owner may enter
    place.chmod(0o755)
    closed = place / "closed"
    closed.mkdir(mode=0o555)
    was_root = os.geteuid() == 0
    if was_root:
        os.seteuid(65534)
    try:
        with pytest.raises(Unusable, match="is not writable"):
            open_store(f"sqlite:///{closed}/x.db")
    finally:
        if was_root:
            os.seteuid(0)
        shutil.rmtree(place)


def test_a_new_file_that_another_process_is_making_is_waited_for(sqlite_url: str) -> None:
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    stores = [open_store(sqlite_url) for _ in range(3)]
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("CREATE TABLE other (x)")
        other.execute("BEGIN EXCLUSIVE")
        release = threading.Timer(2.0, lambda: other.execute("COMMIT"))
        release.start()
        with ThreadPoolExecutor(3) as pool:
            found = [each.result() for each in [pool.submit(store.upgrade) for store in stores]]
        release.join()
    assert {status.state for status in found} == {SchemaState.CURRENT}


@pytest.mark.postgresql
def test_a_slow_upgrade_is_not_ended_by_our_own_limit(postgres_url: str) -> None:
    store = open_store(postgres_url, call_timeout=0.5)  # a transaction may be idle for a second
    with store._connection("upgrading", write=True) as connection, schema._alone(connection, Kind.POSTGRESQL):
        time.sleep(1.6)
        connection.execute(text("SELECT 1"))
    assert store.upgrade().state is SchemaState.CURRENT
