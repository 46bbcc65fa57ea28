"""The commands: what they print, and the number they end with. No mistake of a user is answered by a traceback."""

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from luigi_ha.appliance.cli import main
from tests.api.test_life import Process, process


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with process(tmp_path_factory.mktemp("served")) as running:
        running.call("add_task", task_id="Extract_1", worker="w", family="Extract")
        running.call("add_task", task_id="Load_1", worker="w", family="Load", deps=["Extract_1"])
        yield running


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


def luigi_ha(*arguments: str, directory: Path | None = None, environment: dict[str, str] | None = None) -> Done:
    """Run the command in this process, as the console script does: importing it anew takes seconds."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(directory or Path.cwd()),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in (environment or {}).items():
            patch.setenv(name, value)
        try:
            main(list(arguments))
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
    return Done(code, out.getvalue(), err.getvalue())


def test_the_program_itself_tells_a_mistake_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "luigi_ha.appliance.cli", "status", "--url", "http://127.0.0.1:9"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("luigi-ha: no scheduler answers at http://127.0.0.1:9")
    assert done.stderr.count("\n") == 1


def test_status_answers_who_leads_and_what_a_crash_would_mean(served: Process) -> None:
    url = f"http://127.0.0.1:{served.port}"
    shown = luigi_ha("status", "--url", url)
    assert shown.returncode == 0, shown.stderr
    for words in ("leader:", "epoch 1", "sqlite:///", "2 PENDING", "degraded:", " dies:", "no other node takes over"):
        assert words in shown.stdout
    as_json = luigi_ha("status", "--json", environment={"LUIGI_HA_URL": url})
    assert json.loads(as_json.stdout)["leading"] is True


def test_history_why_and_prune(served: Process) -> None:
    url = f"http://127.0.0.1:{served.port}"
    history = luigi_ha("history", "Extract_1", "--url", url)
    assert (history.returncode, history.stdout.count("PENDING")) == (0, 1)
    assert json.loads(luigi_ha("history", "Extract_1", "--url", url, "--json").stdout)["history"][0]["actor"] == "w"
    why = luigi_ha("why", "Load_1", "--url", url)
    assert why.returncode == 0
    assert "Extract_1" in why.stdout
    assert luigi_ha("prune", "--url", url).stdout == "pruned\n"
    unknown = luigi_ha("why", "Nobody", "--url", url)
    assert unknown.returncode == 1
    assert "no such task" in unknown.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["status", "--url", "http://127.0.0.1:9"], 3, "no scheduler answers"),
        (["status", "--url", "nonsense"], 2, "expected something like"),
        (["history"], 2, "Missing argument"),
        (["nothing"], 2, "No such command"),
        (["serve", "--nothing"], 2, "No such option"),
        (["serve", "--port", "x"], 2, "valid integer"),
        (["serve", "--check", "--config", "gone.toml"], 2, "gone.toml: cannot be read"),
        (["serve", "--check", "--database", "oracle://x"], 2, "'oracle'"),
        (["db", "check", "--database", "sqlite:////nowhere/x.db"], 1, "nowhere"),
        (["db", "check", "--database", "postgresql://u@127.0.0.1:9/d"], 3, "127.0.0.1:9"),
    ],
)
def test_mistakes_are_told_in_words(tmp_path: Path, arguments: list[str], code: int, words: str) -> None:
    done = luigi_ha(*arguments, directory=tmp_path)
    assert done.returncode == code, done.stderr
    assert words in done.stderr


def test_check_prints_every_option_with_its_source_and_no_password(tmp_path: Path) -> None:
    (tmp_path / "ha.toml").write_text("database = 'postgresql://luigi:pw@db/luigi'\n[scheduler]\nretry_count = 3\n")
    shown = luigi_ha("serve", "--check", "--config", "ha.toml", "--port", "8083", directory=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "# flag --port" in shown.stdout
    assert "retry_count = 3" in shown.stdout
    assert "ha.toml:3" in shown.stdout
    assert "pw" not in shown.stdout
    # What it prints is a configuration file that says the same.
    assert "# metrics_port: not set" in shown.stdout
    (tmp_path / "again.toml").write_text(shown.stdout.replace(":********", ""))
    again = luigi_ha("serve", "--check", "--config", "again.toml", "--json", directory=tmp_path)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["scheduler"]["retry_count"]["value"] == 3


def test_database_commands(tmp_path: Path) -> None:
    database = ["--database", "sqlite:///x.db"]
    missing = luigi_ha("db", "check", *database, directory=tmp_path)
    assert (missing.returncode, "missing" in missing.stdout) == (5, True)
    upgraded = luigi_ha("db", "upgrade", *database, directory=tmp_path)
    assert upgraded.returncode == 0, upgraded.stderr
    assert "nothing to do" in luigi_ha("db", "upgrade", *database, directory=tmp_path).stdout
    current = luigi_ha("db", "check", "--json", *database, directory=tmp_path)
    assert (current.returncode, json.loads(current.stdout)["state"]) == (0, "current")


@pytest.mark.parametrize(
    "command", ["", "serve", "status", "history", "why", "prune", "db upgrade", "db check", "db accept"]
)
def test_help_has_an_example_and_the_exit_codes(command: str) -> None:
    shown = luigi_ha(*command.split(), "--help")
    assert shown.returncode == 0
    assert "Exit codes: 0" in " ".join(shown.stdout.split())
    assert not command or "Example: luigi-ha" in shown.stdout
