"""Every `luigi-ha ...` that a page shows, in a block or in a line of text: its command and its options are there."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from luigi_ha.appliance.cli.app import app
from tests.docs.pages import PAGES, ROOT, blocks

_IN_TEXT = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_COMMAND = re.compile(r"(?:^|[\s;&|(/])luigi-ha[ ](?P<words>[^#;&|)>…\n]*)")
_FAMILY = re.compile(r"(\w+\.)*[A-Z]\w*")


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
    command: Any = typer.main.get_command(app)
    name = ["luigi-ha"]
    for word in split:
        if word == "--" or (name[-1] == "submit" and _FAMILY.fullmatch(word)):
            break  # what follows is another's
        if word.startswith("--"):
            option = word.partition("=")[0]
            if option not in options(command):
                return [f"{' '.join(name)} has no {option}"]
        elif getattr(command, "commands", None) and re.fullmatch(r"[a-z][a-z-]+", word):
            inner = command.get_command(None, word)
            if inner is not None:
                command = inner
                name.append(word)
            elif not command.invoke_without_command:
                return [f"{' '.join(name)} has no command {word}"]
    return []


def options(command: Any) -> set[str]:
    """As they are shown: earlier names are none."""
    names = {"--help", "--version", "--install-completion", "--show-completion"}
    for each in command.params:
        if not getattr(each, "hidden", False):
            names |= {*each.opts, *each.secondary_opts}
    return names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_and_options_that_a_page_shows_are_there(page: Path) -> None:
    assert [told for words in shown(page) for told in mistakes(words)] == []


def test_commands_are_found() -> None:
    assert sum(1 for page in PAGES for _words in shown(page)) > 100


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        ("status --json", False), ("status --jsn", True), ("task lst", True), ("task list --status failed", False),
        ("status --url http://n1:8082", True), ("exec -- luigi --module etl Load --date 1", False),
    ],
)  # fmt: skip
def test_what_is_a_mistake(words: str, *, wrong: bool) -> None:
    assert bool(mistakes(words)) is wrong
