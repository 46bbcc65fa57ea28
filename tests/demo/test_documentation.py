"""The documentation names what there is: every option with its default, every command, and no dead link."""

import dataclasses
import re
from pathlib import Path

import pytest
import typer.main

from luigi_ha.appliance.cli.app import app
from luigi_ha.appliance.config.options import Serve
from luigi_ha.appliance.engine import RPC_METHODS, Settings
from luigi_ha.appliance.exit_codes import ExitCode

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text()
# What the server sets differently from the engine's default, which is luigi's.
SERVER_DEFAULTS = {"prune_limit": "1000"}


def shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


@pytest.mark.parametrize("owner", [Serve, Settings])
def test_every_option_is_documented_with_its_default(owner: type) -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (?:`([^`]*)`)? ?\|", CONFIGURATION, re.MULTILINE))
    for field in dataclasses.fields(owner):
        assert field.name in rows, f"{field.name} is not in docs/configuration.md"
        default = None if field.default is dataclasses.MISSING else field.default
        wanted = SERVER_DEFAULTS.get(field.name, "" if default in (None, "", ()) else shown(default))
        assert rows[field.name] == wanted, field.name


def test_no_option_is_documented_that_does_not_exist() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ", CONFIGURATION, re.MULTILINE)
    assert set(rows) <= {field.name for owner in (Serve, Settings) for field in dataclasses.fields(owner)}


def test_every_command_is_documented() -> None:
    def commands(group: object, before: str) -> list[str]:
        inner = getattr(group, "commands", None)
        if inner is None:
            return [before]
        return [name for word, command in inner.items() for name in commands(command, f"{before} {word}")]

    for name in commands(typer.main.get_command(app), "luigi-ha"):
        assert f"`{name}" in CONFIGURATION, name


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
            assert target.startswith("http") or (page.parent / target).exists(), f"{page.name}: {target}"


def test_make_targets_that_pages_name_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        named = set(re.findall(r"`make ([a-z-]+)", page.read_text()))
        assert named <= targets, page.name


def source(*places: str) -> str:
    return "\n".join(file.read_text() for place in places for file in sorted((ROOT / place).rglob("*.py")))


def test_names_in_code_exist() -> None:
    """Log events, options, metrics and fields that a page shows are words of the program."""
    code = source("appliance", "ha", "worker", "drills", "bench", "examples").lower()
    words = set(re.findall(r"[a-z0-9]+(?:_[a-z0-9]+)+", code))
    for page in PAGES:
        text = page.read_text()
        shown = re.findall(r"```.*?```", text, re.DOTALL) + re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)
        for name in re.findall(r"(?<![\w/.-])[a-z0-9]+(?:_[a-z0-9]+)+(?![\w/-])", " ".join(shown)):
            metric = re.sub("_(total|bucket|count|sum)$", "", name)
            assert name in words or metric in words, f"{page.name}: {name}"


def test_every_field_of_the_cluster_is_documented() -> None:
    told = "".join((ROOT / "appliance" / "node" / name).read_text() for name in ("report.py", "cluster.py"))
    page = (ROOT / "docs" / "api.md").read_text()
    for field in set(re.findall(r'^\s+"(\w+)":', told, re.MULTILINE)):
        assert f"`{field}`" in page, field


def test_exit_codes_are_documented() -> None:
    for code in ExitCode:
        assert f"| {int(code)} | " in CONFIGURATION, code


def test_the_number_of_calls_is_right() -> None:
    assert len(RPC_METHODS) == 39
