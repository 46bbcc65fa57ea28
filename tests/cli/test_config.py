"""Where options come from, which one wins, and what an operator is told when they are wrong."""

from pathlib import Path
from typing import Any

import pytest

from luigi_ha.appliance.config import ConfigError, load
from luigi_ha.appliance.config.access import auth_is_on
from luigi_ha.appliance.config.load import database_url, redact


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, text: str) -> Path:
    path = Path(name)
    path.write_text(text)
    return path


def test_flags_win_over_environment_over_toml_over_luigi_cfg_over_defaults() -> None:
    write("luigi.cfg", "[scheduler]\nretry-delay = 1\nremove_delay = 1\ndisable_window = 1\n[resources]\ngpu = 4\n")
    toml = write(
        "ha.toml", "port = 2\nhost = 'toml'\ndrain_timeout = 2\n[scheduler]\nretry_delay = 2\nremove_delay = 2\n"
    )
    environment = {"LUIGI_HA_PORT": "3", "LUIGI_HA_HOST": "env", "LUIGI_HA_SCHEDULER_RETRY_DELAY": "3"}
    loaded = load({"port": 4, "host": None}, toml, environment)
    serve, scheduler = loaded.options.serve, loaded.options.scheduler
    assert (serve.port, serve.host, serve.drain_timeout, serve.keep_alive) == (4, "env", 2.0, 75.0)
    assert (scheduler.retry_delay, scheduler.remove_delay, scheduler.disable_window) == (3.0, 2.0, 1)
    assert loaded.options.resources == {"gpu": 4}
    origins = {name: source for section, name, _, source in loaded.effective() if section in ("", "scheduler")}
    assert origins["port"] == "flag --port"
    assert origins["host"] == "environment variable LUIGI_HA_HOST"
    assert origins["drain_timeout"] == "ha.toml:3"
    assert origins["remove_delay"] == "ha.toml:6"
    assert origins["disable_window"] == "luigi.cfg:4"
    assert origins["keep_alive"] == "default"


def test_luigis_own_ways_are_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    named = write(
        "named.cfg",
        "[DEFAULT]\nroot = /x\n[core]\nerror-email = a@b.c,d@e.f\nno_configure_logging = true\n"
        "[scheduler]\nrecord-task-history = True\nstate_path = %(root)s/state\nretry_count = ${COUNT}\n"
        "[batch-notifier]\nemail-interval-minutes = 5\nbatch_mode = all\n[email]\nformat = html\nmethod = ses\n"
        '[cors]\nenabled = true\nallowed_origins = ["http://a"]\n[worker]\nping_interval = 1\n',
    )  # fmt: skip
    write("luigi.cfg", "[scheduler]\nretry_count = 1\n[resources]\nhive = 2\n")
    loaded = load({}, None, {"LUIGI_CONFIG_PATH": str(named), "COUNT": "7"})
    options = loaded.options
    assert options.scheduler.record_task_history is True
    assert options.scheduler.retry_count == 7
    assert options.scheduler.email_interval_minutes == 5
    assert options.scheduler.email_batch_mode == "all"
    assert options.scheduler.email_receivers == options.email.receivers == ("a@b.c", "d@e.f")
    assert options.email.html is True
    assert options.cors.allowed_origins == ("http://a",)
    assert options.resources == {"hive": 2}
    assert any("state_path is not needed" in note for note in loaded.notes)


def test_namespace_limits_as_table_and_as_text() -> None:
    toml = write("ha.toml", "[scheduler]\nnamespace_limits = { marketing = 5 }\n")
    assert load({}, toml, {}).options.scheduler.namespace_limits == {"marketing": 5}
    text = {"LUIGI_HA_SCHEDULER_NAMESPACE_LIMITS": "marketing=5, finance=2"}
    assert load({}, None, text).options.scheduler.namespace_limits == {"marketing": 5, "finance": 2}


WRONG: list[tuple[dict[str, Any], str, dict[str, str], str, list[str]]] = [
    ({}, "prot = 1", {}, "", ["ha.toml:1", "unknown option 'prot'", "did you mean 'port'"]),
    ({}, "[scheduler]\n\nretry_dealy = 1", {}, "", ["ha.toml:3", "'retry_dealy'", "'retry_delay'"]),
    ({}, "[scheduler]\nretry_delay = 'soon'", {}, "", ["ha.toml:2", "'soon'", "a number"]),
    ({}, "port = 99999", {}, "", ["ha.toml:1", "at most 65535"]),
    ({}, "[scheduler]\ndisable_window = 1" + "0" * 400, {}, "", ["ha.toml:2", "a whole number"]),
    ({}, "port = [1", {}, "", ["ha.toml", "not TOML"]),
    ({}, "port = " + "1" * 5000, {}, "", ["ha.toml", "not TOML"]),
    ({}, "port = " + "[" * 5000 + "]" * 5000, {}, "", ["ha.toml", "not TOML"]),
    ({}, "log_format = 'xml'", {}, "", ["keyvalue, json"]),
    ({}, "upgrade = 1.5", {}, "", ["true or false"]),
    ({}, "database = 5", {}, "", ["text"]),
    ({}, "[resources]\ngpu = -1", {}, "", ["ha.toml:2", "0 or more"]),
    ({}, "[resources]\ngpu = 'many'", {}, "", ["ha.toml:2", "0 or more"]),
    ({}, "[scheduler]\nnamespace_limits = { a = 1.5 }", {}, "", ["whole numbers"]),
    ({}, "[scheduler]\nretry_jitter = 2", {}, "", ["ha.toml:2", "retry_jitter"]),
    ({}, "", {"LUIGI_HA_PORT": "eighty"}, "", ["LUIGI_HA_PORT", "a whole number"]),
    ({}, "", {}, "[scheduler]\nretry_count = ${NOWHERE}", ["NOWHERE is not set"]),
    ({}, "", {}, "no section", ["luigi.cfg:1", "'no section'", "[section] above it"]),
    ({}, "", {}, "[scheduler]\nretry_count = 1\nretry_count = 2", ["luigi.cfg:3", "'retry_count' twice"]),
    ({}, "", {}, "[scheduler]\n[email]\n[scheduler]", ["luigi.cfg:3", "[scheduler] is there twice"]),
    ({}, "", {}, "[scheduler]\nretry_count", ["luigi.cfg:2", "'retry_count' is no option", "name = value"]),
    ({}, "", {}, "[scheduler]\nretry_delay =", ["luigi.cfg:2", "retry_delay = ''", "a number"]),
    ({}, "", {}, "[scheduler]\nretry_delay = 5 ; s", ["luigi.cfg:2", "'5 ; s'", "a comment has a line of its own"]),
    ({}, "", {}, "[scheduler]\nretry_delay = '5'", ["luigi.cfg:2", "without quotes"]),
    ({}, "", {}, "[scheduler]\nretry_count = %(most)s", ["luigi.cfg:2", "%(most)s", "not there"]),
    ({}, "", {}, "[scheduler]\nretry_count = 5%", ["luigi.cfg:2", "percent"]),
    ({}, "", {}, "[scheduler]\nworker_grace = soon", ["luigi.cfg:2", "worker_grace", "a number"]),
    ({}, "", {}, "[resources]\ngpu = many", ["luigi.cfg:2", "gpu = 'many'", "a whole number"]),
    ({}, "", {}, "[cors]\nallowed_origins = [http://a]", ["luigi.cfg:2", "allowed_origins", "JSON list"]),
    ({}, "", {}, "[scheduler]\nbatch_emails = true\n[email]\nformat = fancy", ["luigi.cfg:4", "plain, html, none"]),
    ({}, "[scheduler]\nremove_delay = -1", {}, "", ["ha.toml:2", "0 or more"]),
    ({}, "[scheduler]\nmax_graph_nodes = 0", {}, "", ["ha.toml:2", "1 or more"]),
    ({}, "[scheduler]\nretry_delay = nan", {}, "", ["ha.toml:2", "a number"]),
    ({}, "call_budget = inf", {}, "", ["ha.toml:1", "a number"]),
    ({"call_budget": 12.0}, "", {}, "", ["flag --call-budget", "12 s", "10 s"]),
    ({}, "[scheduler]\nworker_grace = 10", {}, "", ["worker_grace = 10 s", "worker_disconnect_delay = 60 s"]),
    ({}, "database_password_file = 'x'", {"LUIGI_HA_DATABASE_PASSWORD": "y"}, "", ["give one of them"]),
    ({}, "auth = 'maybe'", {}, "", ["ha.toml:1", "auto, on, off"]),
    ({}, "tls_certificate = 'a.pem'", {}, "", ["tls_certificate and tls_key", "both or neither"]),
    ({}, "tls_client_ca = 'ca.pem'", {}, "", ["ha.toml:1", "without tls_certificate"]),
    ({}, "tls_client_required = true", {}, "", ["ha.toml:1", "needs tls_client_ca"]),
    ({}, "tls_certificate = 'a'\ntls_key = 'b'\nunix_socket = '/s'", {}, "", ["ha.toml:1", "host and port"]),
    ({}, "tls_certificate = 'a'\ntls_key = 'b'\nadvertise = 'http://n1:1'", {}, "", ["ha.toml:3", "expected https://"]),
    ({}, "advertise = 'https://n1:1'", {}, "", ["ha.toml:1", "without tls_certificate", "expected http://"]),
]


@pytest.mark.parametrize(("flags", "toml", "environment", "cfg", "words"), WRONG)
def test_what_is_wrong_is_said_with_place_and_remedy(
    flags: dict[str, Any], toml: str, environment: dict[str, str], cfg: str, words: list[str]
) -> None:
    if cfg:
        write("luigi.cfg", cfg)
    with pytest.raises(ConfigError) as error:
        load(flags, write("ha.toml", toml) if toml else None, environment)
    for word in words:
        assert word in str(error.value)


def test_a_file_that_is_not_there_is_said() -> None:
    with pytest.raises(ConfigError, match=r"gone.toml: cannot be read"):
        load({}, Path("gone.toml"), {})


def test_a_password_need_not_be_in_the_url_and_is_not_shown() -> None:
    write("secret", "p@ss/word\nsecond line\n")
    toml = write("ha.toml", "database = 'postgresql://luigi@a,b/db'\ndatabase_password_file = 'secret'\n")
    serve = load({}, toml, {}).options.serve
    assert database_url(serve) == "postgresql://luigi:p%40ss%2Fword@a,b/db"
    loaded = load({"database": "mysql://u@h/d"}, None, {"LUIGI_HA_DATABASE_PASSWORD": "hidden"})
    assert database_url(loaded.options.serve) == "mysql://u:hidden@h/d"
    assert "hidden" not in loaded.as_json()
    assert redact("postgresql://luigi:pw@h/db") == "postgresql://luigi:********@h/db"
    assert redact("sqlite:///x.db") == "sqlite:///x.db"
    for database in ("sqlite:///x.db", "postgresql://u:other@h/d", "postgresql://h/d"):
        environment = {"LUIGI_HA_DATABASE": database, "LUIGI_HA_DATABASE_PASSWORD": "x"}
        serve = load({}, None, environment).options.serve
        with pytest.raises(ConfigError, match="no place for it"):
            database_url(serve)


@pytest.mark.parametrize(
    ("options", "on"),
    [
        ({}, True),
        ({"host": "0.0.0.0"}, True),
        ({"host": "::"}, True),
        ({"host": "10.0.0.1"}, True),
        ({"host": "n1.example.org"}, True),
        ({"host": "127.0.0.1"}, False),
        ({"host": "127.9.9.9"}, False),
        ({"host": "::1"}, False),
        ({"host": "localhost"}, False),
        ({"unix_socket": "/run/luigi.sock"}, False),
        ({"host": "127.0.0.1", "auth": "on"}, True),
        ({"auth": "off"}, False),
    ],
)
def test_tokens_are_asked_for_where_another_machine_could_call(options: dict[str, Any], on: bool) -> None:
    assert auth_is_on(load(options, None, {}).options.serve) is on


def test_the_variables_of_commands_that_ask_are_no_options_of_the_server() -> None:
    load({}, None, {"LUIGI_HA_TOKEN": "lha_x", "LUIGI_HA_TOKEN_FILE": "f", "LUIGI_HA_URL": "http://x"})
