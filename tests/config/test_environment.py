"""Variables of an environment that is not ours alone."""

import random
from pathlib import Path
from typing import Any

import pytest
import typer

from luigi_ha.appliance.cli.app import app
from luigi_ha.appliance.cli.links import drop_links
from luigi_ha.appliance.config import ConfigError, load
from luigi_ha.appliance.config.environment import is_link
from luigi_ha.appliance.config.variables import OTHER_VARIABLES
from tests.cli.test_commands import luigi_ha
from tests.config.generating import service_variables

LINK = "tcp://10.0.0.1:8082"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "service",
    ["", "_WORKER", "_METRICS", "_SCHEDULER", "_RESOURCES", "_RESOURCES_GPU", "_EMAIL", "_DATABASE", "_CORS", "_ETCD"],
)
@pytest.mark.parametrize("seed", range(4))
def test_the_variables_of_a_service_are_one_note_and_no_options(service: str, seed: int) -> None:
    variables = service_variables(random.Random(seed), f"LUIGI_HA{service}")
    loaded = load({}, None, variables)
    assert loaded.origins == load({}, None, {}).origins
    assert loaded.options == load({}, None, {}).options
    (note,) = loaded.notes
    assert f"{len(variables) - 1} more: of the Service luigi-ha{service.lower().replace('_', '-')}" in note
    assert loaded.warnings == []


@pytest.mark.parametrize(
    "link",
    [LINK, "udp://10.0.0.1:53", "sctp://10.0.0.1:1", "tcp://[fd00::1]:8082", "TCP://a:1", "tcp://10.0.0.1", "tcp://h"],
)
@pytest.mark.parametrize(
    "name", ["PORT", "METRICS_PORT", "HOST", "CALL_BUDGET", "UPGRADE", "EMAIL_PORT", "SCHEDULER_RETRY_COUNT"]
)
def test_a_link_is_no_value_of_an_option(name: str, link: str) -> None:
    loaded = load({}, None, {f"LUIGI_HA_{name}": link})
    assert loaded.options == load({}, None, {}).options
    (note,) = loaded.notes
    assert f"LUIGI_HA_{name} = {link}" in note


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("LUIGI_HA_PORT", "abc", ["LUIGI_HA_PORT", "'abc'", "a whole number"]),
        ("LUIGI_HA_PORT", "tcp://", ["LUIGI_HA_PORT", "a whole number"]),
        ("LUIGI_HA_PORT", "http://10.0.0.1:8082", ["LUIGI_HA_PORT", "a whole number"]),
        ("LUIGI_HA_PORT", "10.0.0.1", ["LUIGI_HA_PORT", "a whole number"]),
        ("LUIGI_HA_ADVERTISE", LINK, ["LUIGI_HA_ADVERTISE", "such as http://n1:8082"]),
        ("LUIGI_HA_METRICS_PORT", "99999", ["LUIGI_HA_METRICS_PORT", "at most 65535"]),
        ("LUIGI_HA_RESOURCES_GPU", "many", ["LUIGI_HA_RESOURCES_GPU", "0 or more"]),
        ("LUIGI_HA_ELECTION", "sometimes", ["LUIGI_HA_ELECTION", "file, etcd"]),
    ],
)
def test_a_mistake_stays_an_error(variable: str, value: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        load({}, None, {variable: value})
    for word in words:
        assert word in str(error.value)


def test_what_a_manifest_says_wins_over_the_services_variables() -> None:
    variables = service_variables(random.Random(1), "LUIGI_HA")
    variables |= {"LUIGI_HA_PORT": "9000", "LUIGI_HA_NAME": "n1", "LUIGI_HA_RESOURCES_GPU_PORT": "2"}
    loaded = load({}, None, variables)
    assert (loaded.options.serve.port, loaded.options.serve.name) == (9000, "n1")
    assert loaded.options.resources == {"gpu_port": 2}


def test_a_docker_link_is_no_name_of_a_node() -> None:
    linked = {"LUIGI_HA_PORT": LINK, "LUIGI_HA_NAME": "/worker/luigi-ha", "LUIGI_HA_ENV_PATH": "/bin"}
    assert load({}, None, linked).options.serve.name == ""
    assert load({}, None, {"LUIGI_HA_NAME": "/odd"}).options.serve.name == "/odd"


def test_an_empty_variable_is_as_if_it_were_not_set() -> None:
    empty = {"LUIGI_HA_PORT": "", "LUIGI_HA_HOST": " ", "LUIGI_HA_SCHEDULER_RETRY_COUNT": "", "LUIGI_HA_NO_OPTION": ""}
    assert load({}, None, empty) == load({}, None, {})


def test_the_variables_of_workers_and_commands_are_known() -> None:
    loaded = load({}, None, dict.fromkeys(OTHER_VARIABLES - {"LUIGI_HA_CONFIG"}, "x"))
    assert loaded.notes == []
    assert loaded.options == load({}, None, {}).options


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("LUIGI_HA_PROT", "LUIGI_HA_PORT"),
        ("LUIGI_HA_DATABSE", "LUIGI_HA_DATABASE"),
        ("LUIGI_HA_SCHEDULER_RETRY_DEALY", "LUIGI_HA_SCHEDULER_RETRY_DELAY"),
        ("LUIGI_HA_WORKES", "LUIGI_HA_WORKERS"),
        ("LUIGI_HA_ETCD_ENDPOINT", "LUIGI_HA_ETCD_ENDPOINTS"),
    ],
)
def test_a_name_that_nobody_knows_is_a_warning_with_what_was_meant(variable: str, meant: str) -> None:
    loaded = load({}, None, {variable: "1"})
    assert loaded.notes == loaded.warnings
    assert loaded.warnings == [f"environment variable {variable} is no option, and not used; did you mean {meant!r}?"]


def test_what_is_not_used_is_seen_by_the_operator() -> None:
    environment = {"LUIGI_HA_PROT": "1", "LUIGI_HA_PORT": LINK}
    checked = luigi_ha("serve", "--check", environment=environment)
    assert checked.returncode == 0
    assert "port = 8082" in checked.stdout
    assert "# warning: environment variable LUIGI_HA_PROT" in checked.stdout
    assert f"# note: environment variable LUIGI_HA_PORT = {LINK}" in checked.stdout
    upgraded = luigi_ha("db", "check", "--database", "sqlite:///new.db", environment=environment)
    assert "warning: environment variable LUIGI_HA_PROT" in upgraded.stderr


@pytest.mark.parametrize(
    ("arguments", "variable"),
    [
        (["status", "--url", "http://127.0.0.1:1"], "LUIGI_HA_TOKEN_FILE"),
        (["worker", "--help"], "LUIGI_HA_WORKERS"),
        (["lab", "status", "--json"], "LUIGI_HA_LAB_DIR"),
    ],
)
def test_no_command_takes_a_link_for_a_value(arguments: list[str], variable: str) -> None:
    ran = luigi_ha(*arguments, environment={variable: LINK})
    assert f"{variable} = {LINK} is a link to a Service, and not used" in ran.stderr
    assert "Invalid value" not in ran.stderr
    assert LINK not in ran.stderr.replace(f"{variable} = {LINK}", "")


def test_only_links_are_dropped() -> None:
    group: Any = typer.main.get_command(app)
    worker = group.get_command(None, "worker")
    before = {each.name: each.envvar for each in worker.params}
    drop_links(worker, {"LUIGI_HA_WORKERS": "4", "LUIGI_HA_SCHEDULER_URL": LINK})
    assert {each.name: each.envvar for each in worker.params} == before
    drop_links(worker, {"LUIGI_HA_WORKERS": LINK})
    assert {each.name for each in worker.params if each.envvar != before[each.name]} == {"workers"}


@pytest.mark.parametrize(
    "text", ["", "8082", "tcp:8082", "tcp://", "http://h:1", "tcp://h:1/x", "tcp://h:123456", "a tcp://h:1"]
)
def test_what_is_no_link(text: str) -> None:
    assert not is_link(text)
