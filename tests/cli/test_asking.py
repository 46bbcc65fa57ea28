"""Commands act on whom they were told, or found; they guess nobody, and leave nothing behind."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.pair.running import pair
from tests.support.patience import patient

NAMELESS = [
    "switchover n2", "pause", "resume", "release", "db upgrade", "db check", "db accept", "token list",
    "token create x --role viewer", "token revoke x",
]  # fmt: skip


def luigi_ha(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "luigi_ha.appliance.cli", *arguments]
    root = Path(__file__).resolve().parents[2]
    environment = {"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=patient(60), check=False
    )


@pytest.mark.parametrize("command", NAMELESS)
def test_without_a_name_nothing_is_done_and_nothing_is_left(tmp_path: Path, command: str) -> None:
    done = luigi_ha(tmp_path, *command.split())
    assert done.returncode == 2, done.stdout
    assert "nobody has named them" in done.stderr
    assert "--config" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["switchover n2", "pause", "resume", "db check", "db accept", "token list"])
def test_a_pair_that_never_was_is_not_made_by_asking_for_it(tmp_path: Path, command: str) -> None:
    done = luigi_ha(tmp_path, *command.split(), "--database", "sqlite:///typo.db")
    assert done.returncode != 0 or command == "db accept"
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_doctor_says_that_nobody_was_named_and_leaves_nothing(tmp_path: Path) -> None:
    done = luigi_ha(tmp_path, "doctor", "--port", "0")
    assert "nobody has named them" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_who_was_found_here_is_named_in_each_answer(tmp_path: Path) -> None:
    with pair(tmp_path) as two:
        (tmp_path / "here").mkdir()
        (tmp_path / "here" / "luigi-ha.db").symlink_to(two.data / "luigi.db")
        who = f"(asked: the pair of {tmp_path}/here/luigi-ha.db)"
        leader = two.leader().name
        for command, code in (
            ("pause", 0), ("resume", 0), (f"switchover {leader}", 0), ("switchover n9", 1), ("release --name n1", 0)
        ):  # fmt: skip
            done = luigi_ha(tmp_path / "here", *command.split())
            assert done.returncode == code, done.stderr
            assert who in done.stdout + done.stderr, command
