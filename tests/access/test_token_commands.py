"""`luigi-ha token`: what is printed, what is kept, what is refused."""

import json
import os
import pwd
import re
import time
from pathlib import Path

import pytest

from luigi_ha.appliance.store import open_store
from tests.cli.test_commands import Done, luigi_ha


class Commands:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.url = f"sqlite:///{directory}/luigi.db"
        assert luigi_ha("db", "upgrade", "--database", self.url).returncode == 0

    def __call__(self, *arguments: str, **environment: str) -> Done:
        return luigi_ha("token", *arguments, "--database", self.url, environment=environment)


@pytest.fixture
def token(tmp_path: Path) -> Commands:
    return Commands(tmp_path)


def test_a_token_is_printed_once_and_nothing_of_its_secret_is_kept(token: Commands) -> None:
    done = token("create", "ci", "--role", "worker")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"lha_[0-9a-f]{8}_[0-9a-f]{48}\n", done.stdout)
    assert done.stderr.startswith("worker token ci, id ")
    secret = done.stdout.strip().split("_")[2]
    [record] = open_store(token.url).tokens()
    assert (record.name, record.role, record.created_by) == ("ci", "worker", pwd.getpwuid(os.getuid()).pw_name)
    files = b"".join(path.read_bytes() for path in token.directory.iterdir())
    assert record.digest.encode() in files
    assert secret.encode() not in files
    for shown in (token("list"), token("list", "--json"), token("revoke", "ci"), token("revoke", "ci", "--json")):
        assert shown.returncode == 0, shown.stderr
        assert record.token_id in shown.stdout
        assert secret not in shown.stdout
        assert record.digest not in shown.stdout


def test_a_file_that_is_there_only_with_the_token_in_it(token: Commands, tmp_path: Path) -> None:
    file = tmp_path / "ci.token"
    done = token("create", "ci", "--role", "worker", "--output", str(file))
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert re.fullmatch(r"lha_[0-9a-f]{8}_[0-9a-f]{48}\n", file.read_text())
    assert file.stat().st_mode & 0o777 == 0o600
    shown = json.loads(token("create", "b", "--role", "worker", "--output", str(tmp_path / "b"), "--json").stdout)
    assert shown["output"] == str(tmp_path / "b")
    assert "token" not in shown
    before = file.read_text()
    for name, where in (("again", file), ("lost", tmp_path / "no" / "where"), ("dir", tmp_path)):
        done = token("create", name, "--role", "worker", "--output", str(where))
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert file.read_text() == before
    assert {record.name for record in open_store(token.url).tokens()} == {"ci", "b"}, "none that nobody has seen"
    (tmp_path / "empty").touch()  # what a redirection that failed has left, or `touch` for a mount
    assert token("create", "c", "--role", "worker", "--output", str(tmp_path / "empty")).returncode == 0
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_create_for_programs(token: Commands) -> None:
    made = json.loads(token("create", "eyes", "--role", "viewer", "--expires", "90d", "--json").stdout)
    assert made["expires_at"] - made["created_at"] == pytest.approx(90 * 86_400)
    assert made["token"].startswith(f"lha_{made['id']}_")
    assert (made["name"], made["role"], made["state"], made["revoked_at"]) == ("eyes", "viewer", "valid", None)
    [listed] = json.loads(token("list", "--json").stdout)["tokens"]
    assert listed == {name: value for name, value in made.items() if name != "token"}


def test_who_became_root_by_sudo_is_named(token: Commands) -> None:
    made = json.loads(token("create", "a", "--role", "viewer", "--json", SUDO_USER="alice").stdout)
    assert made["created_by"] == ("alice as root" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name)


def test_revoking_again_changes_nothing_and_an_unknown_one_is_refused(token: Commands) -> None:
    made = json.loads(token("create", "ci", "--role", "operator", "--json").stdout)
    first = token("revoke", made["id"])
    assert (first.returncode, "operator token ci" in first.stdout) == (0, True)
    assert token("revoke", "ci").stdout == first.stdout
    unknown = token("revoke", "nobody")
    assert (unknown.returncode, "no token 'nobody'" in unknown.stderr) == (1, True)
    pasted = token("revoke", made["token"])
    assert pasted.returncode == 1
    assert made["token"] not in pasted.stderr


def test_the_list_says_what_is_valid(token: Commands) -> None:
    assert "the first: luigi-ha token create" in token("list").stdout
    token("create", "for-ever", "--role", "viewer")
    token("create", "old", "--role", "viewer", "--expires", "1s")
    token("create", "gone", "--role", "viewer")
    token("revoke", "gone")
    time.sleep(1.1)
    lines = token("list").stdout.splitlines()
    assert [re.split(r"  +", line)[3].split()[0].rstrip(",") for line in lines] == ["valid", "expired", "revoked"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("create", "a b", "--role", "viewer"), 2, "letters, digits"),
        (("create", "x" * 65, "--role", "viewer"), 2, "up to 64"),
        (("create", "a", "--role", "king"), 2, "king"),
        (("create", "a"), 2, "--role"),
        (("create", "a", "--role", "viewer", "--expires", "soon"), 2, "90d"),
        (("create", "a", "--role", "viewer", "--expires", "0d"), 2, "90d"),
        (("create", "taken", "--role", "viewer"), 1, "expected another name"),
    ],
)
def test_what_is_wrong_is_said(token: Commands, arguments: tuple[str, ...], code: int, said: str) -> None:
    token("create", "taken", "--role", "viewer")
    done = token(*arguments)
    assert done.returncode == code
    assert said in done.stderr
    assert done.stdout == ""


def test_a_database_without_tables_is_an_exit_code(tmp_path: Path) -> None:
    done = luigi_ha("token", "list", "--database", f"sqlite:///{tmp_path}/empty.db")
    assert (done.returncode, "luigi-ha db upgrade" in done.stderr) == (5, True)


@pytest.mark.parametrize("command", ["create", "list", "revoke"])
def test_help_has_an_example_and_the_exit_codes(command: str) -> None:
    shown = luigi_ha("token", command, "--help")
    assert shown.returncode == 0
    assert "Exit codes: 0" in " ".join(shown.stdout.split())
    assert f"Example: luigi-ha token {command}" in shown.stdout
