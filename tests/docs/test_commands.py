"""Every `luigi-ha ...` that a page shows, in a block or in a line of text: its command and its options are there."""

import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from luigi_ha.appliance.cli import reference
from tests.docs.pages import PAGES, ROOT, blocks

_IN_TEXT = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_COMMAND = re.compile(r"(?:^|[\s;&|(/])luigi-ha[ ](?P<words>[^#;&|)>…\n]*)")
_WORD = re.compile(r"[a-z][a-z-]+")
_FAMILY = re.compile(r"(\w+\.)*[A-Z]\w*")
_COMMANDS = {each.name: each for each in reference.documented()}
_EVERYWHERE = {"--help", "--version", "--install-completion", "--show-completion"}


def shown(page: Path) -> Iterator[str]:
    """What stands behind `luigi-ha`, each time."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    lines = [" ".join(inline.split()) for inline in _IN_TEXT.findall(text)]
    lines += [block.replace("\\\n", " ") for _kind, block in blocks(page)]
    for line in lines:
        yield from (found["words"] for found in _COMMAND.finditer(line))


def mistakes(words: str) -> list[str]:
    """What no command knows of it."""
    try:
        split = shlex.split(words)
    except ValueError:  # a quote that goes on behind what was found
        split = words.split()
    plain = list(itertools.takewhile(_WORD.fullmatch, split))
    longest = next((" ".join(plain[:n]) for n in range(len(plain), 0, -1) if " ".join(plain[:n]) in _COMMANDS), None)
    group = not plain or any(name.startswith(f"{' '.join(plain)} ") for name in _COMMANDS)
    if longest is None and not group:
        return [f"no command {' '.join(plain)}"]
    options = [] if longest is None else _COMMANDS[longest].options
    known = _EVERYWHERE | {name for option in options for name in (*option.opts, *option.secondary_opts)}
    own = itertools.takewhile(lambda word: word != "--" and not _begins_a_task(longest, word), split)
    asked = (word.partition("=")[0] for word in own if word.startswith("--"))
    return [f"{longest or 'luigi-ha'} has no {option}" for option in asked if option not in known]


def _begins_a_task(command: str | None, word: str) -> bool:
    """Whether what follows are its parameters."""
    return command == "submit" and _FAMILY.fullmatch(word) is not None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_and_options_that_a_page_shows_are_there(page: Path) -> None:
    assert [told for words in shown(page) for told in mistakes(words)] == []


def test_commands_are_found() -> None:
    assert sum(1 for page in PAGES for _words in shown(page)) > 100


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        ("status --json", False), ("status --jsn", True), ("task lst", True), ("task list --status failed", False),
        ("status --url http://n1:8082", True), ("--versoin", True), ("why Load --jsn", True),
        ("exec -- luigi --module etl Load --date 1", False),
    ],
)  # fmt: skip
def test_what_is_a_mistake(words: str, *, wrong: bool) -> None:
    assert bool(mistakes(words)) is wrong
