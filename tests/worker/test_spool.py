"""The spool: what is on disk counts, whatever happens to who wrote it."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from luigi_ha.worker.spool import Entry, Finished, Home, HomeError, Run, Spool
from luigi_ha.worker.spool import spool as module

FORK = multiprocessing.get_context("fork")


def run(number: int) -> Run:
    return Run(f"Task_{number}", f"run-{number}", 1, f"run-{number}")


def begin(entry: Entry) -> None:
    entry.started("Task", "tasks", {"n": "1"}, os.getpid(), 7)


def finish(entry: Entry, status: str = "DONE") -> None:
    entry.finished(Finished(entry.run, status, None))


def test_what_was_begun_and_not_acknowledged_is_left_over(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    entries = [spool.entry(run(number)) for number in range(4)]
    for entry in entries[:3]:
        begin(entry)
    finish(entries[1])
    finish(entries[2])
    spool.acknowledged(entries[2])
    assert spool.outstanding == 3
    again = Spool(tmp_path)
    assert [(left.run, left.started is not None, left.finished is not None) for left in again.leftovers] == [
        (run(0), True, False),
        (run(1), True, True),
    ]
    for left in again.leftovers:
        again.acknowledged(left.entry)
    assert Spool(tmp_path).leftovers == []


def test_p4_a_process_killed_after_it_wrote_its_result_has_finished(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    entry = spool.entry(run(1))

    def task() -> None:
        begin(entry)
        finish(entry)
        os.kill(os.getpid(), signal.SIGKILL)

    process = FORK.Process(target=task)
    process.start()
    process.join()
    (left,) = Spool(tmp_path).leftovers
    assert left.finished == Finished(run(1), "DONE", None)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-20],  # cut off
        lambda text: text.replace(b"Task_1", b"Task_7"),
        lambda text: text + b"\n\xff\x00 garbage",
        lambda text: text + b'\n00000000 {"kind": "started"}\n',
    ],
    ids=["cut off", "changed", "garbage", "wrong checksum"],
)
def test_a_damaged_line_is_set_aside_and_the_others_count(
    tmp_path: Path, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    spool = Spool(tmp_path)
    for number in (0, 1):
        entry = spool.entry(run(number))
        begin(entry)
        finish(entry)
    file = next(tmp_path.glob("*.spool"))
    file.write_bytes(damage(file.read_bytes()))
    again = Spool(tmp_path)
    assert again.leftovers[0].finished is not None
    assert (tmp_path / "damaged.txt").read_bytes()
    assert "spool_entry_damaged" in caplog.text
    for left in again.leftovers:
        again.acknowledged(left.entry)
    assert Spool(tmp_path).leftovers == []


def test_a_line_after_one_that_was_cut_off_counts(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    begin(spool.entry(run(0)))
    file = next(tmp_path.glob("*.spool"))
    file.write_bytes(file.read_bytes()[:-10])
    begin(spool.entry(run(1)))
    assert [left.run for left in Spool(tmp_path).leftovers] == [run(1)]


def test_files_that_are_over_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEGMENT_BYTES", 2000)
    spool = Spool(tmp_path)
    slow = spool.entry(run(0))
    begin(slow)
    for number in range(1, 40):
        entry = spool.entry(run(number))
        begin(entry)
        finish(entry)
        spool.acknowledged(entry)
    assert len(list(tmp_path.glob("*.spool"))) <= 3  # the first one is held by the run that goes on
    assert [left.run for left in Spool(tmp_path).leftovers] == [run(0)]
    spool.acknowledged(slow)
    assert Spool(tmp_path).leftovers == []


def test_lines_of_many_processes_do_not_mix(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    entries = [spool.entry(run(number)) for number in range(8)]

    def task(entry: Entry) -> None:
        begin(entry)
        entry.finished(Finished(entry.run, "FAILED", "x" * 100_000))

    processes = [FORK.Process(target=task, args=(entry,)) for entry in entries]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    again = Spool(tmp_path)
    assert {left.run for left in again.leftovers} == {run(number) for number in range(8)}
    assert all(left.finished is not None for left in again.leftovers)
    assert not (tmp_path / "damaged.txt").exists()


def test_a_directory_has_one_worker_and_its_name_stays(tmp_path: Path) -> None:
    home = Home(tmp_path / "state")
    name = home.worker_id()
    results = FORK.SimpleQueue()

    def second() -> None:
        try:
            Home(tmp_path / "state")
        except HomeError as error:
            results.put(str(error))
        else:
            results.put("")

    other = FORK.Process(target=second)
    other.start()
    assert "another worker uses" in results.get()
    other.join()
    holder = FORK.Process(target=time.sleep, args=(30,))  # a task's process does not hold it
    holder.start()
    home.close()
    again = Home(tmp_path / "state")
    assert again.worker_id() == name
    assert again.worker_id("etl-7") == "etl-7"
    assert again.worker_id() == "etl-7"
    with pytest.raises(HomeError, match="no name for a worker"):
        again.worker_id("@submissions")
    again.close()
    holder.kill()
    holder.join()
    results.close()
