"""Backups: of a SQLite file while a node writes, of PostgreSQL by its own tools; restored as a whole or not at all."""

import json
import os
import sqlite3
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from luigi_ha.appliance.store.sqlite_backup import in_use
from tests.api.test_life import process
from tests.cli.running import Done, luigi_ha
from tests.pair.running import pair
from tests.support.node_process import NodeProcess, node_process
from tests.support.servers import PostgresServer, available, postgres_server

NAMED = ("--database", "sqlite:///luigi.db")
needs_postgres = pytest.mark.skipif(not available("postgres"), reason="PostgreSQL is not installed")


def db(directory: Path, *arguments: str) -> Done:
    return luigi_ha("db", *arguments, *NAMED, directory=directory)


def tasks(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute("SELECT task_id FROM luigi_task ORDER BY num")]


def ids(node: NodeProcess) -> list[str]:
    return [each["task_id"] for each in node.get("/api/task?limit=1000")["tasks"]]


def test_a_backup_while_a_node_writes_is_one_moment_and_the_node_goes_on(tmp_path: Path) -> None:
    with node_process(tmp_path) as node:
        stop = threading.Event()
        written = 0

        def write() -> None:
            nonlocal written
            while not stop.is_set():
                node.send("PUT", f"/api/task/T_{written}", {"family": "T"})
                written += 1

        writing = threading.Thread(target=write)
        writing.start()
        try:
            for number in range(5):
                before = written
                done = db(tmp_path, "backup", f"copy-{number}", "--json")
                assert done.returncode == 0, done.stderr
                found = tasks(tmp_path / f"copy-{number}")
                assert found == [f"T_{n}" for n in range(len(found))], "a beginning of what was written, without a gap"
                assert before <= len(found) <= written + 1
                told = json.loads(done.stdout)
                assert told["bytes"] == (tmp_path / f"copy-{number}").stat().st_size
                assert told["seq"] >= len(found)
        finally:
            stop.set()
            writing.join()
        assert len(ids(node)) == min(written, 1000)
        assert "sqlite_files_changed" not in node.log.read_text()
    copy = tmp_path / "copy-4"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600, "digests of tokens are in it"
    assert {path.name for path in tmp_path.glob("*copy-4*")} == {"copy-4"}, "one file, and nothing half done"


def test_what_is_only_in_the_log_is_in_the_backup(tmp_path: Path) -> None:
    with node_process(tmp_path) as node:
        node.send("PUT", "/api/task/Late_1", {"family": "Late"})
        bare = tmp_path / "bare.db"
        bare.write_bytes((tmp_path / "luigi.db").read_bytes())
        try:
            without_log = tasks(bare)
        except sqlite3.DatabaseError:
            without_log = []
        assert without_log == [], "else this shows nothing"
        assert db(tmp_path, "backup", "copy").returncode == 0
        assert tasks(tmp_path / "copy") == ["Late_1"]


def test_restore_with_the_next_steps_that_it_tells(tmp_path: Path) -> None:
    with node_process(tmp_path) as node:
        node.send("PUT", "/api/task/Kept_1", {"family": "Kept"})
        assert db(tmp_path, "backup", "copy").returncode == 0
        node.send("PUT", "/api/task/Later_1", {"family": "Later"})
        running = db(tmp_path, "restore", "copy", "--replace")
        assert (running.returncode, running.stdout) == (1, "")
        assert "nodes run on sqlite:///luigi.db" in running.stderr
        assert ids(node) == ["Kept_1", "Later_1"]
        node.stop()
        full = db(tmp_path, "restore", "copy")
        assert full.returncode == 1
        assert "is not empty; expected an empty database, or --replace" in full.stderr
        assert tasks(tmp_path / "luigi.db") == ["Kept_1", "Later_1"]
        done = db(tmp_path, "restore", "copy", "--replace")
        assert done.returncode == 0, done.stderr
        assert done.stdout.endswith("next: luigi-ha db accept --database sqlite:///luigi.db, then start the nodes\n")
        [aside] = tmp_path.glob("luigi.db.before-*Z")
        assert tasks(aside) == ["Kept_1", "Later_1"], "nothing is destroyed"
        with pytest.raises(AssertionError, match="database_is_older"):
            node.start()
        accepted = db(tmp_path, "accept")
        assert accepted.returncode == 0, accepted.stderr
        node.start()
        assert ids(node) == ["Kept_1"]


def test_restore_where_nothing_is(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    with node_process(tmp_path / "one") as node:
        node.send("PUT", "/api/task/Kept_1", {"family": "Kept"})
        assert db(tmp_path / "one", "backup", str(tmp_path / "copy")).returncode == 0
    (tmp_path / "two").mkdir()
    done = db(tmp_path / "two", "restore", str(tmp_path / "copy"), "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["put_aside"] == []
    assert told["next"] == ["luigi-ha db accept --database sqlite:///luigi.db"]
    with node_process(tmp_path / "two") as node:
        assert ids(node) == ["Kept_1"]


def test_both_nodes_of_a_pair_must_be_stopped(tmp_path: Path) -> None:
    with pair(tmp_path) as two:
        assert db(tmp_path, "backup", "copy").returncode == 0
        leader = two.leader()
        leader.end()
        refused = db(tmp_path, "restore", "copy", "--replace")
        assert (refused.returncode, "nodes run on" in refused.stderr) == (1, True), refused


@pytest.mark.parametrize("election", ["none"])
def test_a_node_without_a_lock_is_noticed_by_its_open_file(tmp_path: Path, election: str) -> None:
    with node_process(tmp_path, election=election):
        assert db(tmp_path, "backup", "copy").returncode == 0
        refused = luigi_ha("db", "restore", "copy", "--replace", *NAMED, directory=tmp_path,
                           environment={"LUIGI_HA_ELECTION": election})  # fmt: skip
        assert (refused.returncode, "is in use by another process" in refused.stderr) == (1, True), refused
        assert not list(tmp_path.glob("*before-*"))
    assert not in_use(tmp_path / "luigi.db")


def garbage(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + os.urandom(20_000))


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:9000])


@pytest.mark.parametrize("damage", [garbage, truncated, lambda path: path.write_bytes(b"not a database" * 1000)])
def test_a_damaged_database_is_replaced(tmp_path: Path, damage: Any) -> None:
    """It is what restoring is for."""
    with node_process(tmp_path) as node:
        node.send("PUT", "/api/task/Kept_1", {"family": "Kept"})
        assert db(tmp_path, "backup", "copy").returncode == 0
        node.stop()
        damage(tmp_path / "luigi.db")
        assert db(tmp_path, "backup", "second").returncode in (1, 3)
        assert not (tmp_path / "second").exists()
        assert db(tmp_path, "restore", "copy").returncode == 1
        done = db(tmp_path, "restore", "copy", "--replace")
        assert done.returncode == 0, done
        assert db(tmp_path, "accept").returncode == 0
        node.start()
        assert ids(node) == ["Kept_1"]


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE luigi_schema SET version_num = '9999'")
        connection.commit()


def foreign(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (x)")


@pytest.mark.parametrize(
    ("damage", "code", "words"),
    [
        (garbage, 1, "copy"),
        (truncated, 1, "copy"),
        (lambda path: path.write_text("hello"), 1, "is no SQLite file"),
        (lambda path: path.write_text(""), 1, "is no SQLite file"),
        (lambda path: path.unlink(), 1, "cannot be read: No such file"),
        (foreign, 1, "is no database of luigi-ha"),
        (newer, 5, "newer than"),
    ],
)
def test_what_is_no_backup_is_refused_and_nothing_is_changed(
    tmp_path: Path, damage: Any, code: int, words: str
) -> None:
    assert db(tmp_path, "upgrade").returncode == 0
    assert db(tmp_path, "backup", "copy").returncode == 0
    damage(tmp_path / "copy")
    before = (tmp_path / "luigi.db").read_bytes()
    done = db(tmp_path, "restore", "copy", "--replace")
    assert (done.returncode, done.stdout) == (code, ""), done
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert (tmp_path / "luigi.db").read_bytes() == before
    assert not list(tmp_path.glob("*before-*"))
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_mistakes_of_a_backup(tmp_path: Path) -> None:
    nothing = db(tmp_path, "backup", "copy")
    assert (nothing.returncode, "nothing to back up" in nothing.stderr) == (1, True)
    assert list(tmp_path.iterdir()) == []
    assert db(tmp_path, "upgrade").returncode == 0
    (tmp_path / "copy").write_text("mine")
    there = db(tmp_path, "backup", "copy")
    assert (there.returncode, "copy is there already" in there.stderr) == (1, True)
    assert (tmp_path / "copy").read_text() == "mine"
    nowhere = db(tmp_path, "backup", "no/where/copy")
    assert (nowhere.returncode, "cannot be made" in nowhere.stderr) == (1, True)
    for command in ("backup", "restore"):
        pipe = db(tmp_path, command, "-")
        assert (pipe.returncode, "expected the name of a file" in pipe.stderr) == (2, True)
    nameless = luigi_ha("db", "backup", "copy", directory=tmp_path / "..")
    assert nameless.returncode == 2
    mysql = luigi_ha("db", "backup", "copy", "--database", "mysql://u@127.0.0.1:9/d", directory=tmp_path)
    assert mysql.returncode in (2, 3)


# -- PostgreSQL ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.mark.postgresql
@needs_postgres
def test_postgresql_there_and_back(postgres: PostgresServer, tmp_path: Path) -> None:
    postgres.sql("CREATE DATABASE one")
    postgres.sql("CREATE DATABASE two")
    one, two = postgres.url("one"), postgres.url("two")

    def command(*arguments: str, database: str = one) -> Done:
        return luigi_ha("db", *arguments, "--database", database, directory=tmp_path)

    assert "nothing to back up" in command("backup", "early").stderr
    with process(tmp_path, "--database", one) as node:
        node.call("add_task", task_id="Kept_1", worker="w", family="Kept")
        done = command("backup", "copy")
        assert done.returncode == 0, done.stderr
        assert "backed up in copy" in done.stdout
        assert stat.S_IMODE((tmp_path / "copy").stat().st_mode) == 0o600
        assert "there already" in command("backup", "copy").stderr
        node.call("add_task", task_id="Later_1", worker="w", family="Later")
        refused = command("restore", "copy", "--replace")
        assert (refused.returncode, "in use" in refused.stderr) == (1, True), refused
        assert set(node.call("task_list", status="", upstream_status="")) == {"Kept_1", "Later_1"}
        elsewhere = command("restore", "copy", database=two)
        assert elsewhere.returncode == 0, elsewhere.stderr
        assert f"next: luigi-ha db accept --database {two}, then start the nodes" in elsewhere.stdout
    assert command("check", database=two).returncode == 0
    while "in use" in (full := command("restore", "copy")).stderr:  # the server has not noticed the end of the node yet
        pass
    assert "is not empty" in full.stderr
    back = command("restore", "copy", "--replace")
    assert back.returncode == 0, back.stderr
    with process(tmp_path, "--database", one) as node:
        assert set(node.call("task_list", status="", upstream_status="")) == {"Kept_1"}
        node.call("add_task", task_id="After_1", worker="w", family="After")  # the functions are there, too


@pytest.mark.postgresql
@needs_postgres
def test_a_restore_that_fails_changes_nothing(postgres: PostgresServer, tmp_path: Path) -> None:
    postgres.sql("CREATE DATABASE whole")
    named = ("--database", postgres.url("whole"))
    assert luigi_ha("db", "upgrade", *named, directory=tmp_path).returncode == 0
    assert luigi_ha("db", "backup", "copy", *named, directory=tmp_path).returncode == 0
    postgres.sql("UPDATE leadership SET epoch = 77", "whole")
    content = (tmp_path / "copy").read_bytes()
    for damaged in (b"hello", content[: len(content) // 2], content[:5] + os.urandom(2000)):
        (tmp_path / "bad").write_bytes(damaged)
        done = luigi_ha("db", "restore", "bad", "--replace", *named, directory=tmp_path)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done
        assert postgres.sql("SELECT epoch FROM leadership", "whole") == "77"
    postgres.sql("CREATE VIEW mine AS SELECT * FROM leadership", "whole")  # the table cannot be dropped
    done = luigi_ha("db", "restore", "copy", "--replace", *named, directory=tmp_path)
    assert (done.returncode, "mine" in done.stderr) == (1, True), done
    assert postgres.sql("SELECT epoch FROM leadership", "whole") == "77"


@pytest.mark.postgresql
@needs_postgres
def test_the_password_is_in_no_argument(postgres: PostgresServer, tmp_path: Path, monkeypatch: Any) -> None:
    """A pg_dump that writes down how it was called, and then is the real one."""
    postgres.sql("CREATE DATABASE quiet")
    (tmp_path / "password").write_text("s3cret\n")
    named = ("--database", postgres.url("quiet"))
    assert luigi_ha("db", "upgrade", *named, directory=tmp_path).returncode == 0
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("pg_dump", "pg_restore", "psql"):
        (programs / name).write_text(
            f'#!/bin/sh\necho "$@" >>{tmp_path}/argv\nenv | grep ^PG >>{tmp_path}/env\n'
            f'exec "$(ls -d /usr/lib/postgresql/*/bin/{name} | tail -1)" "$@"\n'
        )
        (programs / name).chmod(0o755)
    monkeypatch.setattr("luigi_ha.appliance.store.postgres_backup.DEBIAN", tmp_path / "none")
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("LUIGI_HA_DATABASE_PASSWORD_FILE", str(tmp_path / "password"))
    for arguments in (("backup", "copy"), ("restore", "copy", "--replace")):
        done = luigi_ha("db", *arguments, *named, directory=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "s3cret" not in done.stdout + done.stderr
    assert "s3cret" not in (tmp_path / "argv").read_text()
    assert "--format=custom" in (tmp_path / "argv").read_text()
    assert (tmp_path / "env").read_text().count("PGPASSWORD=s3cret") >= 2


@pytest.mark.postgresql
@needs_postgres
def test_without_the_programs_that_is_told(postgres: PostgresServer, tmp_path: Path, monkeypatch: Any) -> None:
    postgres.sql("CREATE DATABASE bare")
    named = ("--database", postgres.url("bare"))
    assert luigi_ha("db", "upgrade", *named, directory=tmp_path).returncode == 0
    monkeypatch.setattr("luigi_ha.appliance.store.postgres_backup.DEBIAN", tmp_path / "none")
    monkeypatch.setenv("PATH", str(tmp_path))
    done = luigi_ha("db", "backup", "copy", *named, directory=tmp_path)
    assert (done.returncode, "pg_dump is not installed" in done.stderr) == (1, True), done
    assert not (tmp_path / "copy").exists()


def test_sqlite3_itself_finds_nothing_wrong_with_a_backup(tmp_path: Path) -> None:
    assert db(tmp_path, "upgrade").returncode == 0
    assert db(tmp_path, "backup", "copy").returncode == 0
    with closing(sqlite3.connect(tmp_path / "copy")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert subprocess.run(["ls", str(tmp_path)], capture_output=True, text=True, check=True).stdout.count("copy") == 1
