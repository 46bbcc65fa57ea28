"""The options of `luigi-ha worker`, `exec` and `submit`: their variables, their earlier names, what is no mistake."""

from pathlib import Path
from typing import Any

import pytest
import typer.main

from luigi_ha.appliance.cli.app import app
from tests.cli.running import luigi_ha

FILES = (
    ("--tls-ca", "--ca-file", "LUIGI_HA_TLS_CA", "LUIGI_HA_CA_FILE"),
    ("--tls-certificate", "--client-certificate", "LUIGI_HA_TLS_CERTIFICATE", "LUIGI_HA_CLIENT_CERTIFICATE"),
    ("--tls-key", "--client-key", "LUIGI_HA_TLS_KEY", "LUIGI_HA_CLIENT_KEY"),
)
COMMANDS = ("worker", "submit --module etl Load")


def context(name: str, *arguments: str) -> Any:
    group: Any = typer.main.get_command(app)
    return group.get_command(typer.Context(group), name).make_context(name, list(arguments))


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("names", FILES, ids=lambda names: names[0])
def test_a_file_is_named_by_its_option_its_variable_and_their_earlier_names(
    tmp_path: Path, command: str, names: tuple[str, ...]
) -> None:
    option, earlier, variable, earlier_variable = names
    told = f"{option.removeprefix('--')}: {tmp_path}/gone cannot be read"
    gone = f"{tmp_path}/gone"
    for arguments, environment in (
        ([option, gone], {}),
        ([earlier, gone], {}),
        ([], {variable: gone}),
        ([], {earlier_variable: gone}),
        ([option, gone], {variable: "/dev/null", earlier_variable: "/dev/null"}),
        ([earlier, gone], {variable: "/dev/null"}),
        ([], {variable: gone, earlier_variable: "/dev/null"}),
    ):
        name, *rest = command.split()
        done = luigi_ha(name, *arguments, *rest, directory=tmp_path, environment=environment)
        assert done.returncode == 2, (arguments, environment, done)
        assert told in done.stderr, (arguments, environment)


@pytest.mark.parametrize("command", ["worker", "exec", "submit"])
def test_earlier_names_are_not_shown(command: str) -> None:
    shown = luigi_ha(command, "--help").stdout
    for option, earlier, variable, earlier_variable in FILES:
        assert option in shown
        assert variable in shown
        assert earlier not in shown
        assert earlier_variable not in shown


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("LUIGI_HA_WORKERS", "0", "workers is 0"),
        ("LUIGI_HA_TASK_TIMEOUT", "-1", "task-timeout is -1"),
        ("LUIGI_HA_MEMORY_LIMIT", "much", "'much' is no size"),
        ("LUIGI_HA_NAMESPACES", " , ", "namespaces: nothing is named"),
        ("LUIGI_HA_FAMILIES", ",", "families: nothing is named"),
        ("LUIGI_HA_MAX_TASKS", "-1", "max-tasks is -1"),
        ("LUIGI_HA_LOST_ATTEMPT", "forget", "lost-attempt is 'forget'"),
        ("LUIGI_HA_WORKER_DRAIN_TIMEOUT", "-1", "drain-timeout is -1"),
        ("LUIGI_HA_KILL_GRACE", "-1", "kill-grace is -1"),
        ("LUIGI_HA_POLL_INTERVAL", "0", "poll-interval is 0"),
        ("LUIGI_HA_LOG_FORMAT", "xml", "log-format is 'xml'"),
        ("LUIGI_HA_LOG_LEVEL", "all", "log-level is 'all'"),
        ("LUIGI_HA_OUTPUT_LIMIT", "1", "output-limit is 1"),
        ("LUIGI_HA_KEEP_LOGS", "0", "keep-logs is 0"),
        ("LUIGI_HA_SCHEDULER_URL", "ftp://n1", "scheduler-url"),
        ("LUIGI_HA_TOKEN_FILE", "/gone", "token-file: /gone cannot be read"),
    ],
)
def test_each_option_is_read_from_its_variable(tmp_path: Path, variable: str, value: str, told: str) -> None:
    done = luigi_ha("worker", directory=tmp_path, environment={variable: value})
    assert done.returncode == 2, done
    assert told in done.stderr
    assert done.stderr.count("\n") == 1


def test_what_kubernetes_says_of_a_service_is_no_port_of_ours(tmp_path: Path) -> None:
    service = {"LUIGI_HA_WORKER_METRICS_PORT": "tcp://10.0.0.1:9100", "LUIGI_HA_PORT": "tcp://10.0.0.1:8082"}
    done = luigi_ha("worker", "--workers", "0", directory=tmp_path, environment=service)
    assert done.returncode == 2
    note, mistake = done.stderr.splitlines()
    assert "LUIGI_HA_WORKER_METRICS_PORT = tcp://10.0.0.1:9100 is a link to a Service" in note
    assert "workers is 0" in mistake
    for wrong in ("tcp://10.0.0.1:9100", "70000", "-1", "many"):
        typed = luigi_ha("worker", "--metrics-port", wrong, directory=tmp_path)
        assert (typed.returncode, "--metrics-port" in typed.stderr) == (2, True), wrong


def test_what_a_scheduler_is_told_is_not_meant_for_a_worker_beside_it(tmp_path: Path) -> None:
    beside = {"LUIGI_HA_DRAIN_TIMEOUT": "-1", "LUIGI_HA_METRICS_PORT": "many", "LUIGI_HA_METRICS_HOST": "?"}
    done = luigi_ha("worker", "--workers", "0", directory=tmp_path, environment=beside)
    assert done.stderr == "luigi-ha: workers is 0; it must be at least 1\n"


def test_no_option_at_all_is_understood() -> None:
    assert context("worker").params["workers"] == 1
    assert context("worker", "--only-modules").params["only_modules"] == ["@module"]
