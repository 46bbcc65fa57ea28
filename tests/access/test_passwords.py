"""Passwords in database URLs, however they are written, and the modes of files that hold what tasks hold."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from luigi_ha.appliance.config import ConfigError, load
from luigi_ha.appliance.config.load import redact
from luigi_ha.appliance.store.errors import BadUrl
from luigi_ha.appliance.store.target import parse
from tests.api.serving import run, serving
from tests.pair.running import pair
from tests.support.patience import patient

SECRET = "hunter2secret"
HIDDEN = [
    f"postgresql://luigi:{SECRET}@h/d",
    f"postgresql://luigi:a%40b{SECRET}@h/d",
    f"postgresql://luigi:a@b{SECRET}@h/d",
    f"postgresql://luigi:a:b{SECRET}@h/d",
    f"postgresql://:{SECRET}@h/d",
    f"postgresql://luigi@h/d?password={SECRET}",
    f"postgresql://luigi@h/d?sslmode=verify-full&sslpassword={SECRET}",
    f"postgresql://luigi@h/d?p%61ssword={SECRET}&sslmode=require",
    f"postgresql://luigi@h/d?PASSWORD={SECRET}",
    f"mysql://luigi:{SECRET}@h/d?passwd={SECRET}",
    f"postgresql://luigi:/x{SECRET}@h/d",
    f"postgresql://luigi:#x{SECRET}@h/d",
    f"postgresql://luigi:?x{SECRET}@h/d",
    f"postgresql://luigi:[x{SECRET}@h/d",
    f"postgresql://luigi: {SECRET}@h/d",
]


@pytest.mark.parametrize("url", HIDDEN)
def test_a_password_in_a_url_is_never_shown(url: str) -> None:
    assert SECRET not in redact(url)
    assert redact(redact(url)) == redact(url)
    try:
        shown = f"{parse(url)!r} {parse(url).shown}"
    except BadUrl as error:
        shown = str(error)
    assert SECRET not in shown or url.partition("?")[2], shown
    assert SECRET not in parse_error(url)


def parse_error(url: str) -> str:
    try:
        return parse(url).shown
    except BadUrl as error:
        return str(error)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://luigi:se/{SECRET}@h/d", f"postgresql://luigi:se?{SECRET}@h/d", f"postgresql://luigi:se#{SECRET}@h/d",
        f"postgresql://luigi:{SECRET}/x@h:port/d", f"postgresql://luigi@h/d?{SECRET}", f"postgresql://luigi@h/d?a&{SECRET}",
        f"mysql://luigi:se/{SECRET}@h/d", f"sqlite:///a.db?{SECRET}", f"postgresql://luigi:a@{SECRET}@h/d",
        f"postgresql://luigi@h/d#{SECRET}", f"mysql://{SECRET}/x:y@h",
    ],
)  # fmt: skip
def test_a_url_that_cannot_be_read_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(BadUrl) as refused:
        parse(url)
    assert SECRET not in str(refused.value)
    assert "expected" in str(refused.value) or "options" in str(refused.value)


def test_odd_characters_in_a_password_arrive_as_they_are_meant() -> None:
    assert parse("postgresql://luigi:a%40b%2Fc%3Fd%23e%25@h/d").password == "a@b/c?d#e%"
    assert parse("postgresql://lu%40igi@h/d").user == "lu@igi"


@pytest.mark.parametrize("url", HIDDEN)
def test_a_password_in_a_flag_is_refused(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load({"database": url}, None, {})
    assert SECRET not in str(refused.value)
    assert "--database" in str(refused.value)


@pytest.mark.parametrize("command", [["serve", "--check"], ["db", "check"], ["token", "list"], ["doctor"]])
def test_no_command_repeats_a_password_that_it_was_given_as_a_flag(tmp_path: Path, command: list[str]) -> None:
    url = f"postgresql://luigi:{SECRET}@127.0.0.1:1/d"
    said = subprocess.run(
        [sys.executable, "-m", "luigi_ha.appliance.cli", *command, "--database", url],
        capture_output=True, text=True, cwd=tmp_path, timeout=patient(60), check=False,
    )  # fmt: skip
    assert said.returncode != 0
    assert SECRET not in said.stdout + said.stderr
    assert "Traceback" not in said.stderr


def test_the_environment_may_hold_it_and_check_does_not_show_it(tmp_path: Path) -> None:
    environment = {**os.environ, "LUIGI_HA_DATABASE": f"postgresql://luigi@127.0.0.1:1/d?password={SECRET}"}
    said = subprocess.run(
        [sys.executable, "-m", "luigi_ha.appliance.cli", "serve", "--check"],
        capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=patient(60), check=False,
    )  # fmt: skip
    assert SECRET not in said.stdout + said.stderr
    assert "password=********" in said.stdout


def modes(directory: Path) -> dict[str, int]:
    return {str(path.relative_to(directory)): stat.S_IMODE(path.stat().st_mode) for path in directory.rglob("*")}


def test_what_a_node_keeps_is_its_users_alone(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:

        async def scenario() -> dict[str, int]:
            async with serving(tmp_path) as served:
                await served.add_task("A_1")
                return modes(tmp_path)

        found = run(scenario())
    finally:
        os.umask(before)
    assert {"luigi.db", "luigi.db-wal", "luigi.db-shm"} <= found.keys()
    assert not {name: oct(mode) for name, mode in found.items() if mode & 0o077}


def test_what_a_pair_keeps_is_its_users_alone(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with pair(tmp_path) as two:
            two.leadership()
            two.call("add_task", task_id="A_1", worker="w")
            place = next(path for path in tmp_path.rglob("*.leadership") if path.is_dir())
            database = place.parent / place.name.removesuffix(".leadership")
            found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (place, database)}
            inside = modes(place)
    finally:
        os.umask(before)
    assert not {name: oct(mode) for name, mode in found.items() if mode & 0o077}
    # In a directory that nobody else may enter, sockets and marks may have any mode; what is written has 0600.
    assert not {name: oct(mode) for name, mode in inside.items() if mode & 0o077 and name.endswith((".json", ".lock"))}
