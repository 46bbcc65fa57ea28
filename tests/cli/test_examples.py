"""The examples of the commands that ask no scheduler: run as they stand, but for the places that they name."""

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from luigi_ha.appliance.cli import reference
from tests.cli.running import Done, luigi_ha
from tests.pair.running import Pair, pair

# In the order in which a person would use them; what follows needs what was before.
DATABASE = (
    "db upgrade", "db check", "db backup", "db restore", "db accept", "token create", "token list", "token revoke",
)  # fmt: skip
LEADERSHIP = ("pause", "resume", "switchover", "release")


def examples(name: str) -> list[list[str]]:
    found = next(each for each in reference.documented() if each.name == name)
    return [shlex.split(example.partition(" > ")[0])[1:] for example in found.examples]


def run(directory: Path, words: list[str], database: str) -> Done:
    """With our own database in the place of theirs, and no configuration of theirs."""
    real = [database if "://" in word else word for word in words]
    if "--config" in real:
        place = real.index("--config")
        real[place : place + 2] = ["--database", database]
    return luigi_ha(*real, *([] if "--database" in real else ["--database", database]), directory=directory)


def test_those_of_the_database_one_after_the_other(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/luigi-ha.db"
    for name in DATABASE:
        for words in examples(name):
            real = ["nightly-etl" if word == "1f6a90c2" else word for word in words]  # the id is random
            done = run(tmp_path, real, database)
            assert done.returncode == 0, (words, done)
            assert done.stdout.strip() or done.stderr.strip(), words


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with pair(tmp_path_factory.mktemp("examples")) as running:
        running.leader()
        yield running


@pytest.mark.parametrize("name", LEADERSHIP)
def test_those_of_leadership_on_a_pair(tmp_path: Path, two: Pair, name: str) -> None:
    for words in examples(name):
        real = [two.standby().name if word == "n2" else word for word in words]
        done = run(tmp_path, real, two.database)
        assert done.returncode == 0, (real, done)
        assert "(asked: the pair of" in done.stdout


def test_the_doctors(tmp_path: Path) -> None:
    (tmp_path / "luigi-ha.toml").write_text(f"database = 'sqlite:///{tmp_path}/x.db'\nport = 0\n")
    for words in examples("doctor"):
        real = [str(tmp_path / "luigi-ha.toml") if word.endswith(".toml") else word for word in words]
        done = luigi_ha(*real, directory=tmp_path)
        assert done.returncode in (0, 1), done
        assert "ok    options" in done.stdout


def test_a_scheduler_would_understand_its_own(tmp_path: Path) -> None:
    for words in examples("serve"):
        real = [word.replace("/var/lib/luigi-ha", str(tmp_path)) for word in words]
        done = luigi_ha(*real, "--check", directory=tmp_path)
        assert done.returncode == 0, (real, done)
