"""LocalTarget on a real file system."""

import os
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import luigi
import luigi.format
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luigi_ha.worker.targets import AlreadyWritten, ChecksumMismatch, LocalTarget, NoChecksum, NotStored
from tests.targets.conftest import kill_a_writer


def write(path: Path, data: bytes) -> None:
    with LocalTarget(path).open("wb") as out:
        out.write(data)


def fails_in(target: LocalTarget, mode: str) -> None:
    with target.open(mode) as out:
        out.write("half" if mode == "w" else b"half")
        raise RuntimeError


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir() if path.name != "verified"}


def test_it_appears_at_once_with_a_checksum_that_other_tools_read(tmp_path: Path) -> None:
    place = tmp_path / "new" / "k"
    with LocalTarget(place).open("w") as out:
        out.write("grün\n")
        out.flush()
        assert not place.exists()
    assert names(place.parent) == {"k", ".k.checksum"}
    subprocess.run(["cksum", "--check", "--strict", ".k.checksum"], cwd=place.parent, check=True)
    assert LocalTarget(place, checksum="require").exists()
    with LocalTarget(place).open("r") as source:
        assert source.read() == "grün\n"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(st.binary(max_size=3000), max_size=5))
def test_bytes_come_back(tmp_path: Path, pieces: list[bytes]) -> None:
    target = LocalTarget(tmp_path / "k")
    with target.open("wb") as out:
        for piece in pieces:
            assert out.write(piece) == len(piece)
    with target.open("rb") as source:
        assert source.read() == b"".join(pieces)
    assert LocalTarget(target.path, checksum="require").exists()
    target.remove()
    assert names(tmp_path) == set()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(codec="utf-8")))
def test_text_comes_back_as_from_a_file_that_python_opened(tmp_path: Path, text: str) -> None:
    target = LocalTarget(tmp_path / "k")
    with target.open("w") as out:
        out.write(text)
    (tmp_path / "plain").write_text(text, encoding="utf-8")
    assert (tmp_path / "k").read_bytes() == (tmp_path / "plain").read_bytes()
    with target.open("r") as source:
        assert source.read() == (tmp_path / "plain").read_text(encoding="utf-8")
    target.remove()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=1000)), max_size=6))
def test_written_in_any_order_the_checksum_is_that_of_the_whole(tmp_path: Path, steps: list[tuple[int, bytes]]) -> None:
    target = LocalTarget(tmp_path / "k")
    with target.open("wb") as out:
        for place, piece in steps:
            assert out.seek(place) == place
            out.write(piece)
            assert out.tell() == place + len(piece)
    assert LocalTarget(target.path, checksum="require").exists()
    target.remove()


@pytest.mark.parametrize("mode", ["w", "wb"])
def test_nothing_is_there_when_the_body_raises(tmp_path: Path, mode: str) -> None:
    with pytest.raises(RuntimeError):
        fails_in(LocalTarget(tmp_path / "k"), mode)
    assert names(tmp_path) == set()


@pytest.mark.parametrize("mode", ["w", "wb"])
def test_a_file_that_is_forgotten_without_close_is_not_stored(tmp_path: Path, mode: str) -> None:
    out: Any = LocalTarget(tmp_path / "k").open(mode)
    out.write("half" if mode == "w" else b"half")
    del out
    assert names(tmp_path) == set()


def test_after_a_write_that_failed_close_stores_nothing(tmp_path: Path) -> None:
    out = LocalTarget(tmp_path / "k").open("wb")
    out.write(b"a")
    out._kept.close()
    out._kept = Path("/dev/full").open("r+b", buffering=0)  # noqa: SIM115
    with pytest.raises(OSError, match="No space left"):
        out.write(b"b")
    with pytest.raises(NotStored, match="No space left"):
        out.close()
    assert names(tmp_path) == set()


def test_what_exists_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "k", b"first")
    with pytest.raises(AlreadyWritten, match="k exists"):
        LocalTarget(tmp_path / "k").open("w")
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(AlreadyWritten):
        LocalTarget(tmp_path / "link").open("w")
    assert (tmp_path / "k").read_bytes() == b"first"


def test_of_racing_writers_one_wins_and_the_checksum_is_its_own(tmp_path: Path) -> None:
    together = threading.Barrier(8)

    def race(name: str) -> str:
        out = LocalTarget(tmp_path / "k").open("wb")
        out.write(name.encode())
        together.wait()
        try:
            out.close()
        except AlreadyWritten:
            return ""
        return name

    for _ in range(20):
        with ThreadPoolExecutor(8) as pool:
            winners = [name for name in pool.map(race, "abcdefgh") if name]
        assert len(winners) == 1
        assert (tmp_path / "k").read_text() == winners[0]
        assert LocalTarget(tmp_path / "k", checksum="require").exists()
        assert names(tmp_path) == {"k", ".k.checksum"}
        LocalTarget(tmp_path / "k").remove()


def test_a_stranger_who_takes_the_name_meanwhile_keeps_it_without_our_checksum(tmp_path: Path) -> None:
    out = LocalTarget(tmp_path / "k").open("wb")
    out.write(b"ours")
    (tmp_path / "k").write_bytes(b"theirs")
    with pytest.raises(AlreadyWritten, match="meanwhile"):
        out.close()
    assert (tmp_path / "k").read_bytes() == b"theirs"
    assert names(tmp_path) == {"k"}
    assert LocalTarget(tmp_path / "k").exists()


def test_a_writer_killed_in_the_middle_leaves_nothing_at_the_name(tmp_path: Path) -> None:
    kill_a_writer("LocalTarget", str(tmp_path / "k"))
    assert not LocalTarget(tmp_path / "k").exists()
    assert [name for name in names(tmp_path) if not name.startswith(".k.")] == []
    write(tmp_path / "k", b"whole")
    assert LocalTarget(tmp_path / "k", checksum="require").exists()


def test_the_checksum_of_a_writer_killed_before_its_data_appeared_does_no_harm(tmp_path: Path) -> None:
    write(tmp_path / "k", b"lost")
    (tmp_path / "k").unlink()
    assert not LocalTarget(tmp_path / "k").exists()
    write(tmp_path / "k", b"whole")
    assert LocalTarget(tmp_path / "k", checksum="require").exists()


@pytest.mark.parametrize("change", [b"dat4", b"dat", b"", b"data\n"])
def test_changed_data_is_an_error_that_names_both_checksums(tmp_path: Path, change: bytes) -> None:
    write(tmp_path / "k", b"data")
    assert LocalTarget(tmp_path / "k").exists()
    (tmp_path / "k").write_bytes(change)
    for _ in range(2):
        with pytest.raises(ChecksumMismatch, match="8d777f385d3dfec8815d20f7496026dc"):
            LocalTarget(tmp_path / "k").exists()
    assert LocalTarget(tmp_path / "k", checksum="ignore").exists()
    LocalTarget(tmp_path / "k").remove()
    write(tmp_path / "k", b"data")
    assert LocalTarget(tmp_path / "k").exists()


def test_a_damaged_checksum_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "k", b"data")
    (tmp_path / ".k.checksum").write_bytes(b"\xff\n")
    with pytest.raises(ChecksumMismatch, match="damaged"):
        LocalTarget(tmp_path / "k").exists()


def test_what_others_put_there_exists_unless_checksums_are_required(tmp_path: Path) -> None:
    (tmp_path / "k").write_bytes(b"theirs")
    assert LocalTarget(tmp_path / "k").exists()
    assert LocalTarget(tmp_path).exists()
    with pytest.raises(NoChecksum):
        LocalTarget(tmp_path / "k", checksum="require").exists()


def test_moved_and_copied_it_keeps_its_checksum_and_replaces_nothing(tmp_path: Path) -> None:
    write(tmp_path / "a", b"data")
    LocalTarget(tmp_path / "a").copy(str(tmp_path / "b"))
    LocalTarget(tmp_path / "a").move(str(tmp_path / "far" / "c"))
    assert names(tmp_path) == {"b", ".b.checksum", "far"}
    assert LocalTarget(tmp_path / "b", checksum="require").exists()
    assert LocalTarget(tmp_path / "far" / "c", checksum="require").exists()
    for action in (LocalTarget(tmp_path / "b").copy, LocalTarget(tmp_path / "b").move):
        with pytest.raises(AlreadyWritten):
            action(str(tmp_path / "far" / "c"))
    assert LocalTarget(tmp_path / "b", checksum="require").exists()


def test_to_another_file_system_it_is_copied(tmp_path: Path) -> None:
    other = Path("/dev/shm") / f"lha-targets-{os.getpid()}"
    if other.parent.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("one file system")
    write(tmp_path / "a", b"data")
    try:
        LocalTarget(tmp_path / "a").move(str(other))
        assert LocalTarget(other, checksum="require").exists()
        assert names(tmp_path) == set()
    finally:
        LocalTarget(other).remove()


def test_a_path_for_programs_that_write_themselves(tmp_path: Path) -> None:
    with LocalTarget(tmp_path / "k").temporary_path() as path:
        Path(path).write_bytes(b"theirs")
        assert not LocalTarget(tmp_path / "k").exists()
    assert LocalTarget(tmp_path / "k", checksum="require").exists()
    with LocalTarget(tmp_path / "d").temporary_path() as path:
        Path(path).mkdir()
    assert LocalTarget(tmp_path / "d").exists()
    assert names(tmp_path) == {"k", ".k.checksum", "d"}


def test_a_temporary_one_goes_with_its_target(tmp_path: Path) -> None:
    target = LocalTarget(is_tmp=True)
    place = Path(target.path)
    write(place, b"data")
    del target
    assert not place.exists()


def test_luigis_formats_work(tmp_path: Path) -> None:
    packed = LocalTarget(tmp_path / "k.gz", format=luigi.format.Gzip)
    with packed.open("w") as out:
        out.write(b"packed" * 1000)
    assert LocalTarget(tmp_path / "k.gz", checksum="require").exists()
    with packed.open("r") as source:
        assert source.read() == b"packed" * 1000
    lines = LocalTarget(tmp_path / "t.gz", format=luigi.format.UTF8 >> luigi.format.Gzip)
    with lines.open("w") as out:
        out.write("grün\n")
    with lines.open("r") as source:
        assert source.read() == "grün\n"
    with pytest.raises(ValueError, match="binary"):
        lines.open("rb")


def test_a_task_whose_output_is_damaged_is_not_run_again(tmp_path: Path) -> None:
    ran = []

    class Damaged(luigi.Task):
        def output(self) -> LocalTarget:
            return LocalTarget(tmp_path / "k")

        def run(self) -> None:
            ran.append(1)
            write(tmp_path / "k", b"data")

    build: Any = luigi.build
    assert build([Damaged()], local_scheduler=True)
    (tmp_path / "k").write_bytes(b"dat4")
    assert not build([Damaged()], local_scheduler=True)
    assert ran == [1]
