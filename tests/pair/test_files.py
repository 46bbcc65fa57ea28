"""The database's files are taken away, moved, replaced or restored under running processes.

Whatever is done to them: a call that begins after it is acknowledged only if the change is found again by whoever leads
next; and whoever starts on an older state refuses to lead on it, until a person accepts it.
"""

import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from luigi_ha.appliance.lab.ports import free_port
from tests.pair.running import Caller, Node, Pair, pair
from tests.pair.test_pair import luigi_ha
from tests.support.patience import patient

Strike = Callable[[Path], None]


def database(directory: Path) -> Path:
    return directory / "luigi.db"


def beside(directory: Path, end: str) -> Path:
    return directory / f"luigi.db{end}"


def backup(directory: Path) -> Path:
    """One that SQLite makes, while it runs."""
    copy = directory / "backup.db"
    with closing(sqlite3.connect(database(directory))) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    return copy


def all_files(directory: Path) -> list[Path]:
    return [beside(directory, end) for end in ("", "-wal", "-shm")]


def deleted(directory: Path) -> None:
    database(directory).unlink()


def deleted_with_its_log(directory: Path) -> None:
    for path in all_files(directory):
        path.unlink()


def moved(directory: Path) -> None:
    database(directory).rename(directory / "elsewhere.db")


def replaced_by_an_empty_file(directory: Path) -> None:
    (directory / "new.db").touch()
    (directory / "new.db").rename(database(directory))


def restored_by_mv(directory: Path) -> None:
    (directory / "backup.db").rename(database(directory))


def restored_without_its_log(directory: Path) -> None:
    deleted_with_its_log(directory)
    (directory / "backup.db").rename(database(directory))


def restored_by_cp(directory: Path) -> None:
    shutil.copyfile(directory / "backup.db", database(directory))


def restored_by_cp_without_its_log(directory: Path) -> None:
    beside(directory, "-wal").unlink()
    beside(directory, "-shm").unlink()
    shutil.copyfile(directory / "backup.db", database(directory))


def restored_by_sqlite(directory: Path) -> None:
    copy = directory / "backup.db"
    with closing(sqlite3.connect(copy)) as source, closing(sqlite3.connect(database(directory))) as target:
        target.execute("PRAGMA busy_timeout = 5000")
        source.backup(target)


def emptied(directory: Path) -> None:
    os.truncate(database(directory), 0)


def log_deleted(directory: Path) -> None:
    beside(directory, "-wal").unlink()


def index_deleted(directory: Path) -> None:
    beside(directory, "-shm").unlink()


def log_and_index_deleted(directory: Path) -> None:
    log_deleted(directory)
    index_deleted(directory)


def directory_deleted(directory: Path) -> None:
    shutil.rmtree(directory)


STRIKES = [
    deleted, deleted_with_its_log, moved, replaced_by_an_empty_file, restored_by_mv, restored_without_its_log,
    restored_by_cp, restored_by_cp_without_its_log, restored_by_sqlite, emptied, log_deleted, index_deleted,
    log_and_index_deleted, directory_deleted,
]  # fmt: skip


IMPATIENT = {"call_budget": "1", "position_check_every": "0.3"}


@contextmanager
def running(directory: Path, kind: str) -> Iterator[Pair]:
    data = directory / "data"
    data.mkdir()
    if kind == "pair":
        with pair(directory, data, **IMPATIENT) as two:
            yield two
        return
    one = Pair(directory, data, election="none", **IMPATIENT)
    try:
        one.start()
        one.eventually(lambda: " gate_open " in one.nodes[0].log, "leads")
        yield one
    finally:
        one.end()


def work(two: Pair, name: str, count: int) -> list[str]:
    """So many tasks, each acknowledged; with more text than a checkpoint lets lie in the log."""
    made = [f"{name}_{number}" for number in range(count)]
    for task in made:
        two.call("add_task", worker="w", task_id=task, status="PENDING", params={"text": "x" * 60_000})
    return made


def known(two: Pair) -> set[str]:
    return set(two.call("task_list", status="", limit=False))


CASES = [(strike, "alone") for strike in STRIKES]
CASES += [(strike, "pair") for strike in (deleted, restored_by_mv, restored_by_cp, restored_by_sqlite, log_deleted)]


@pytest.mark.parametrize(("strike", "kind"), CASES, ids=[f"{strike.__name__}-{kind}" for strike, kind in CASES])
def test_nothing_is_acknowledged_into_nothing_and_no_past_is_led_on(tmp_path: Path, strike: Strike, kind: str) -> None:
    with running(tmp_path, kind) as two:
        data = two.data
        before = work(two, "before", 10)
        backup(data)
        before += work(two, "later", 80)
        assert database(data).stat().st_size > 1 << 20, "some of it is in the file, not in its log alone"
        strike(data)
        with Caller(two.port) as caller:
            time.sleep(1.0)
        for node in two.nodes:
            node.end()
        data.mkdir(exist_ok=True)
        node = two.start()
        two.eventually(lambda: node.popen.poll() is not None or " gate_open " in node.log, "refused, or leads")
        if node.popen.poll() is None:
            lost = {*before, *caller.acknowledged} - known(two)
            assert strike is directory_deleted or not lost, len(lost)
            assert strike is not directory_deleted or not caller.acknowledged
            return
        assert node.popen.returncode == 2, node.log
        assert "luigi-ha db accept" in node.log
        assert caller.acknowledged == []


@pytest.mark.parametrize("kind", ["alone", "pair"])
def test_files_that_are_put_back_are_gone_on_with(tmp_path: Path, kind: str) -> None:
    with running(tmp_path, kind) as two:
        work(two, "before", 3)
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        for path in all_files(two.data):
            path.rename(elsewhere / path.name)
        gone = "is gone: it was deleted or moved"
        two.eventually(lambda: any(gone in node.log for node in two.nodes), "noticed, although idle")
        with Caller(two.port) as caller:
            for path in all_files(two.data):
                (elsewhere / path.name).rename(path)
            two.eventually(lambda: caller.acknowledged, "it goes on")
        two.eventually(lambda: set(caller.acknowledged) <= known(two), "all known")
        assert all(node.popen.poll() is None for node in two.nodes)


def test_a_symbolic_link_that_leads_elsewhere_is_noticed_running_and_at_the_next_start(tmp_path: Path) -> None:
    data, first, second = tmp_path / "data", tmp_path / "first", tmp_path / "second"
    for directory in (data, first, second):
        directory.mkdir()
    (first / "a.db").touch()
    database(data).symlink_to(first / "a.db")
    one = Pair(tmp_path, data, **IMPATIENT)
    try:
        one.start()
        one.leader()
        work(one, "before", 3)
        (second / "b.db").touch()
        (data / "other").symlink_to(second / "b.db")
        (data / "other").rename(database(data))
        with Caller(one.port) as caller:
            one.eventually(lambda: "is another file than the one this node works with" in one.nodes[0].log, "noticed")
        assert caller.acknowledged == []
        one.nodes[0].end()
        again = one.start()
        assert again.popen.wait(patient(60)) == 2
        assert "luigi-ha db accept" in again.log
    finally:
        one.end()


def named(directory: Path, database: str) -> Node:
    directory.mkdir()
    return Node(directory, 1, free_port(), {}, database=database)


def test_a_symbolic_link_is_another_name_of_the_same_pair(tmp_path: Path) -> None:
    with pair(tmp_path) as two:
        leader = two.leader()
        (tmp_path / "name.db").symlink_to(tmp_path / "luigi.db")
        other = named(tmp_path / "other", f"sqlite:///{tmp_path}/name.db")
        try:
            two.eventually(lambda: f"following leader={leader.name}" in other.log, "one pair")
            assert "gate_open" not in other.log
        finally:
            other.end()


def test_a_hard_link_is_refused(tmp_path: Path) -> None:
    with pair(tmp_path) as two:
        (tmp_path / "name.db").hardlink_to(tmp_path / "luigi.db")
        other = named(tmp_path / "other", f"sqlite:///{tmp_path}/name.db")
        try:
            assert other.popen.wait(patient(60)) != 0
            assert "has 2 names (hard links)" in other.log
            assert "gate_open" not in other.log
        finally:
            other.end()
        two.call("ping", worker="w")


@pytest.mark.parametrize("election", ["auto", "none"])
def test_a_path_with_a_mistake_makes_no_directories(tmp_path: Path, election: str) -> None:
    url = f"sqlite:///{tmp_path}/databsae/luigi.db"
    done = luigi_ha("serve", "--database", url, "--port", str(free_port()), "--election", election)
    assert done.returncode != 0
    assert "does not exist" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_new_database_is_announced_and_an_old_one_is_not(tmp_path: Path) -> None:
    with running(tmp_path, "alone") as one:
        assert one.nodes[0].log.count(" warning store new_database ") == 1
        one.nodes[0].end()
        again = one.start()
        one.eventually(lambda: " gate_open " in again.log, "leads")
        assert "new_database" not in again.log


@pytest.mark.parametrize("strike", [deleted_with_its_log, restored_by_mv, restored_by_cp, restored_without_its_log])
def test_what_is_accepted_is_led_on(tmp_path: Path, strike: Strike) -> None:
    with running(tmp_path, "pair") as two:
        early = work(two, "before", 10)
        backup(two.data)
        late = work(two, "later", 80)
        assert database(two.data).stat().st_size > 1 << 20
        running_still = luigi_ha("db", "accept", "--database", two.database)
        assert running_still.returncode == 1
        assert "leads (epoch" in running_still.stderr
        for node in two.nodes:
            node.end()
        strike(two.data)
        refused = two.start()
        assert refused.popen.wait(patient(60)) == 2
        done = luigi_ha("db", "accept", "--database", two.database)
        assert done.returncode == 0, done.stderr
        node = two.start()
        two.eventually(lambda: " gate_open " in node.log, "leads")
        assert known(two) == (set() if strike is deleted_with_its_log else set(early))
        assert late
