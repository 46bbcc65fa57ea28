"""Whoever follows a page literally, from where it says, succeeds."""

import sys
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, blocks, play
from tests.support.patience import patient

BIN = Path(sys.executable).parent
MADE_OF = (".ci", ".venv", "Makefile", "appliance", "ha", "luigi_ha", "pyproject.toml", "requirements.lock", "worker")
PLAYED = ("README.md", "docs/first-hour.md", "examples/README.md")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What a reader has: the repository, with its environment; what the commands write stays out of ours."""
    place = tmp_path / "luigi-ha"
    place.mkdir()
    for name in MADE_OF:
        (place / name).symlink_to(ROOT / name)
    (place / "examples").mkdir()
    for folder in ("demo", "etl", "patterns", "shell"):
        (place / "examples" / folder).mkdir()
        for file in (ROOT / "examples" / folder).iterdir():
            if file.name != "__pycache__":
                (place / "examples" / folder / file.name).symlink_to(file)
    return place


@pytest.mark.parametrize("name", PLAYED)
def test_every_command_exits_as_written(name: str, clone: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    done = play(ROOT / name, clone, {"HOME": str(home), "PATH": f"{BIN}:/usr/bin:/bin:/usr/sbin:/sbin"}, patient(180))
    assert done.returncode == 0, done.stdout[-5000:]


def test_the_player_can_fail(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    for text, fine in (("true", True), ("false", False), ("false # exits 1", True), ("true # exits 1", False)):
        page.write_text(f"```sh\n{text}\n```\n")
        assert (play(page, tmp_path, {}, patient(20)).returncode == 0) is fine, text


def test_pages_that_are_typed_are_played() -> None:
    typed = {str(page.relative_to(ROOT)) for page in PAGES if any(kind == "sh" for kind, _text in blocks(page))}
    assert typed == set(PLAYED)
