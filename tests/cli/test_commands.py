"""The commands: what they print, and the number they end with. No mistake of a user is answered by a traceback."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

import pytest

from luigi_ha.appliance.cli.node_options import default
from luigi_ha.appliance.config.options import SECRET, Serve
from tests.api.test_life import Process, process
from tests.cli.running import luigi_ha


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with process(tmp_path_factory.mktemp("served")) as running:
        running.call("add_task", task_id="Extract_1", worker="w", family="Extract")
        running.call("add_task", task_id="Load_1", worker="w", family="Load", deps=["Extract_1"])
        yield running


def test_the_program_itself_tells_a_mistake_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "luigi_ha.appliance.cli", "status", "--scheduler-url", "http://127.0.0.1:9"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("luigi-ha: no scheduler answers at http://127.0.0.1:9")
    assert done.stderr.count("\n") == 1


def test_status_answers_who_leads_and_what_a_crash_would_mean(served: Process) -> None:
    url = f"http://127.0.0.1:{served.port}"
    shown = luigi_ha("status", "--scheduler-url", url)
    assert shown.returncode == 0, shown.stderr
    for words in ("leader:", "epoch 1", "sqlite:///", "2 PENDING", "degraded:", " dies:", "no other node takes over"):
        assert words in shown.stdout
    as_json = luigi_ha("status", "--json", environment={"LUIGI_HA_SCHEDULER_URL": url})
    assert json.loads(as_json.stdout)["leading"] is True


def test_history_why_and_prune(served: Process) -> None:
    url = f"http://127.0.0.1:{served.port}"
    history = luigi_ha("history", "Extract_1", "--scheduler-url", url)
    assert (history.returncode, history.stdout.count("PENDING")) == (0, 1)
    document = json.loads(luigi_ha("history", "Extract_1", "--scheduler-url", url, "--json").stdout)
    assert document["history"][0]["actor"] == "w"
    why = luigi_ha("why", "Load_1", "--scheduler-url", url)
    assert why.returncode == 0
    assert "Extract_1" in why.stdout
    assert luigi_ha("prune", "--scheduler-url", url).stdout == "pruned\n"
    unknown = luigi_ha("why", "Nobody", "--scheduler-url", url)
    assert unknown.returncode == 1
    assert "no task 'Nobody'; expected an id, a family" in unknown.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["status", "--scheduler-url", "http://127.0.0.1:9"], 3, "no scheduler answers"),
        (["status", "--scheduler-url", "nonsense"], 2, "expected something like"),
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


@pytest.mark.parametrize("command", ["", "task", "worker", "db"])
def test_the_frame_says_what_each_number_means_and_groups_leave_that_to_their_commands(command: str) -> None:
    shown = luigi_ha(*command.split(), "--help")
    assert shown.returncode == 0
    assert ("Exit codes: 0" in " ".join(shown.stdout.split())) == (command in ("", "worker"))  # which is a command, too


def test_the_help_of_serve_has_the_defaults_of_the_table_of_options() -> None:
    told = " ".join(luigi_ha("serve", "--help").stdout.split())
    for field in fields(Serve):
        flag = f"--{field.name.replace('_', '-')} "
        assert (flag in told or f"{flag.strip()} / " in told) == (field.name not in SECRET), field.name
        if field.name not in SECRET and default(field):
            assert f"[{default(field)}] [env var: LUIGI_HA_{field.name.upper()}]" in told, field.name
    assert "[4194304]" in told
    assert "104857600" not in told


CLUSTER = "--database postgresql://u@d/d --etcd-endpoints http://e:2379"
# What an option needs beside it.
BESIDE = {
    "etcd_endpoints": "--database postgresql://u@d/d",
    "etcd_cert_file": f"{CLUSTER} --etcd-key-file k",
    "etcd_key_file": f"{CLUSTER} --etcd-cert-file c",
    "vip": f"{CLUSTER} --vip-interface eth0",
}


@pytest.mark.parametrize("field", [field for field in fields(Serve) if field.name not in SECRET], ids=lambda f: f.name)
def test_each_flag_of_serve_reaches_its_option(tmp_path: Path, field: "Field[Any]") -> None:
    """And `--check` says that it came from the flag; or an error names it, if there is no such file."""
    value = {"database": "sqlite:///x.db", "vip": "10.0.0.9/32", "metrics_port": "1"}.get(field.name)
    if value is None and field.metadata["choices"]:
        value = field.metadata["choices"][-1]
    elif value is None:
        value = str(field.default) if isinstance(field.default, (int, float)) else "http://x:1"
    flag = f"--{field.name.replace('_', '-')}"
    given = [flag] if isinstance(field.default, bool) else [flag, value]
    done = luigi_ha("serve", "--check", "--json", *given, *BESIDE.get(field.name, "").split(), directory=tmp_path)
    if done.returncode == 0:
        assert json.loads(done.stdout)[field.name]["source"] == f"flag {flag}"
    else:
        assert (done.returncode, field.name in done.stderr or flag in done.stderr) == (2, True), done.stderr
