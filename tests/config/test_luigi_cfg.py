"""Luigi's configuration files: what is read, what is a note, and which line says so."""

import math
import os
from pathlib import Path

import pytest

from luigi_ha.appliance.config import ConfigError, Loaded, load
from luigi_ha.appliance.config.luigi_options import READ_ONCE
from tests.cli.test_commands import luigi_ha


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def loaded(text: str | bytes, name: str = "luigi.cfg", **environment: str) -> Loaded:
    content = text if isinstance(text, bytes) else text.encode()
    Path(name).write_bytes(content)
    return load({}, None, environment)


# -- names ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("old", READ_ONCE)
@pytest.mark.parametrize("spelled", [str, lambda name: name.replace("-", "_"), lambda name: name.replace("_", "-")])
def test_the_names_that_luigi_once_had_are_read(old: str, spelled: "type[str]") -> None:
    found = loaded(f"[scheduler]\n{spelled(old)} = 3\n")
    assert getattr(found.options.scheduler, READ_ONCE[old]) == 3
    (note,) = found.notes
    assert "luigi.cfg:2" in note
    assert f"[scheduler] {READ_ONCE[old]}" in note
    assert found.warnings == []


def test_a_wrong_value_under_an_old_name_does_not_stop_a_node() -> None:
    found = loaded("[scheduler]\ndisable-num-failures = many\n")
    assert found.options.scheduler.retry_count == 999999999
    (warning,) = found.warnings
    assert warning.startswith("luigi.cfg:2: [scheduler] disable-num-failures = 'many'")


@pytest.mark.parametrize(
    "name",
    [
        "max-reschedules",
        "keep_alive",
        "worker_disconect_delay",
        "Retry_Delay",
        "worker_disconnect-delay",
        "worker-timeout",
    ],
)
def test_a_name_that_luigid_does_not_know_is_a_note(name: str) -> None:
    found = loaded(f"[scheduler]\n\n{name} = 3\nretry_count = 4\n")
    assert found.options.scheduler.retry_count == 4
    (note,) = found.notes
    assert "luigi.cfg:3" in note
    assert name in note


def test_what_a_name_may_have_meant_is_said() -> None:
    found = loaded("[scheduler]\nretry_dealy = 1\nRetry-Delay = 1\n[emial]\n[Scheduler]\n[email]\nreciever = a@b.c\n")
    hints = ["'retry_delay'?", "'retry_delay'?", "[email]?", "[scheduler]?", "'receiver'?"]
    assert len(found.warnings) == len(hints)
    for hint in hints:
        assert any(hint in warning for warning in found.warnings), hint
    assert found.options.scheduler.retry_delay is None


@pytest.mark.parametrize("name", ["max_shown_tasks", "retry-delay", "disable-num-failures"])
def test_an_option_of_the_scheduler_in_core_is_a_warning(name: str) -> None:
    found = loaded(f"[core]\n{name} = 3\n")
    assert found.warnings == [f"luigi.cfg:2: [core] {name} is not read; luigi's scheduler has it in [scheduler]"]
    assert found.options == load({}, None, {"LUIGI_CONFIG_PARSER": "toml"}).options


def test_sections_of_others_are_their_affair() -> None:
    text = "[worker]\nkeep_alive = true\n[core]\nx = ${UNSET}\n[MyTask]\ny = %(z)s\n[loggers]\nkeys = root\n[s3]\n"
    assert loaded(text).notes == []


# -- [DEFAULT] ---------------------------------------------------------------------------------------------------


def test_a_name_in_default_is_inherited_and_overridden() -> None:
    found = loaded("[DEFAULT]\nretry_count = 2\nremove_delay = 5\n[scheduler]\nretry_count = 3\n[cors]\n")
    assert (found.options.scheduler.retry_count, found.options.scheduler.remove_delay) == (3, 5)
    assert found.origins["scheduler", "retry_count"] == "luigi.cfg:5"
    assert found.origins["scheduler", "remove_delay"] == "luigi.cfg:3"
    assert found.notes == []


def test_a_resource_that_luigid_drops_is_said() -> None:
    found = loaded("[DEFAULT]\ngpu = 9\n[resources]\ngpu = 4\nhive = 2\n")
    assert found.options.resources == {"hive": 2}
    (warning,) = found.warnings
    assert warning.startswith("luigi.cfg:4: [resources] gpu is in [DEFAULT] too")


def test_default_of_one_file_works_in_another() -> None:
    Path("client.cfg").write_text("[DEFAULT]\nwait = 7\n")
    assert loaded("[scheduler]\nretry_delay = %(wait)s\n").options.scheduler.retry_delay == 7


# -- values ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["inf", "Infinity", "1e400", "nan"])
@pytest.mark.parametrize("name", ["retry_delay", "remove_delay", "worker_disconnect_delay"])
def test_an_endless_delay_is_one(name: str, text: str) -> None:
    options = loaded(f"[scheduler]\n{name} = {text}\n").options
    assert getattr(options.scheduler, name) == math.inf
    assert options.scheduler.worker_grace >= options.scheduler.worker_disconnect_delay


def test_the_grace_of_workers_follows_a_longer_delay() -> None:
    found = loaded("[scheduler]\nworker_disconnect_delay = 600\n")
    assert (found.options.scheduler.worker_disconnect_delay, found.options.scheduler.worker_grace) == (600, 600)
    assert found.origins["scheduler", "worker_grace"] == "not less than worker_disconnect_delay"
    assert loaded("[scheduler]\nworker_disconnect_delay = 10\n").options.scheduler.worker_grace == 90


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("[email]\nformat = fancy\n", "luigi.cfg:2: [email] format = 'fancy'; expected one of plain, html, none"),
        ("[smtp]\nport = soon\n", "luigi.cfg:2: [smtp] port = 'soon'; expected a whole number"),
        ("[batch_email]\nerror_lines = x\n", "luigi.cfg:2: [batch_email] error_lines = 'x'"),
        ("[core]\nsmtp_timeout = inf\n", "luigi.cfg:2: [core] smtp_timeout = 'inf'; expected a number"),
        ("[email]\nsender = ${UNSET}\n", "luigi.cfg:2: [email] sender: environment variable UNSET is not set"),
    ],
)
def test_a_wrong_value_that_luigid_starts_with_is_a_warning(text: str, note: str) -> None:
    found = loaded(text)
    assert any(warning.startswith(note) for warning in found.warnings), found.warnings
    assert found.options == load({}, None, {"LUIGI_CONFIG_PARSER": "toml"}).options


def test_a_password_is_not_told() -> None:
    found = loaded("[smtp]\npassword = secret%word\n[core]\nsmtp_password = %(secret_name)s\n")
    assert len(found.warnings) == 1
    assert "word" not in found.warnings[0].replace("[smtp] password", "")


def test_luigis_format_none_sends_no_mail() -> None:
    assert loaded("[email]\nformat = none\n").options.email.off
    assert not loaded("[core]\nemail-type = html\n").options.email.off
    assert loaded("[core]\nemail-type = html\n").options.email.html


@pytest.mark.parametrize("section", ["batch_email", "batch_notifier", "batch-notifier"])
def test_the_sections_of_batch_emails(section: str) -> None:
    names = "email_interval_minutes" if section == "batch-notifier" else "email_interval"
    found = loaded(f"[{section}]\n{names} = 5\nbatch_mode = all\nerror-lines = 3\n").options.scheduler
    assert (found.email_interval_minutes, found.email_batch_mode, found.email_error_lines) == (5, "all", 3)


def test_an_infinite_delay_is_shown_so_that_it_can_be_read_again() -> None:
    loaded("[scheduler]\nremove_delay = inf\n")
    shown = luigi_ha("serve", "--check").stdout
    assert "remove_delay = inf" in shown
    Path("again.toml").write_text("[scheduler]\nremove_delay = inf\nretry_delay = 'inf'\n")
    again = load({}, Path("again.toml"), {}).options.scheduler
    assert (again.remove_delay, again.retry_delay) == (math.inf, math.inf)
    assert '"value": "inf"' in luigi_ha("serve", "--check", "--json").stdout


def test_what_is_shown_is_a_file_of_ours(tmp_path: Path) -> None:
    loaded(
        '[resources]\ntape drive = 2\nü = 1\ngpu = 3\n[email]\nprefix = a"b\\c\n  second line\nreceiver = a"@b,c@d\n'
    )
    shown = luigi_ha("serve", "--check", environment={"LUIGI_HA_SCHEDULER_NAMESPACE_LIMITS": "a b=1"}).stdout
    before = load({}, None, {"LUIGI_HA_SCHEDULER_NAMESPACE_LIMITS": "a b=1"}).options
    (tmp_path / "shown.toml").write_text(shown)
    Path("luigi.cfg").unlink()
    assert load({}, tmp_path / "shown.toml", {}).options == before


# -- files -------------------------------------------------------------------------------------------------------


def test_a_file_that_is_not_there_is_a_warning_as_in_luigi() -> None:
    found = loaded("[scheduler]\nretry_count = 3\n", LUIGI_CONFIG_PATH="gone.cfg")
    assert found.options.scheduler.retry_count == 3
    assert found.warnings == [
        "environment variable LUIGI_CONFIG_PATH: there is no file 'gone.cfg'; luigi goes on without it, and so do we"
    ]


def test_a_directory_in_the_place_of_a_file_is_a_warning() -> None:
    Path("client.cfg").mkdir()
    found = loaded("[scheduler]\nretry_count = 3\n")
    assert found.options.scheduler.retry_count == 3
    assert found.warnings == ["client.cfg cannot be read: Is a directory; luigi goes on without it, and so do we"]


@pytest.mark.skipif(os.geteuid() != 0, reason="gives up root's rights for a moment")
def test_a_file_that_may_not_be_read_is_what_it_is_to_luigi(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for name in ("client.cfg", "luigi.toml"):
        Path(name).write_text("[scheduler]\nretry_count = 7\n")
        Path(name).chmod(0)
    os.seteuid(65534)
    try:
        found = load({}, None, {})
        with pytest.raises(ConfigError, match=r"luigi.toml: cannot be read: Permission denied; luigid refuses it too"):
            load({}, None, {"LUIGI_CONFIG_PARSER": "toml"})
    finally:
        os.seteuid(0)
    assert found.options.scheduler.retry_count == 999999999
    assert found.warnings == ["client.cfg cannot be read: Permission denied; luigi goes on without it, and so do we"]


@pytest.mark.parametrize("name", ["luigi.toml", "/etc/luigi/luigi.toml"])
def test_luigi_toml_is_read_with_its_parser_alone(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / name.replace("/etc", "etc", 1)
    path.parent.mkdir(exist_ok=True, parents=True)
    monkeypatch.setattr(
        "luigi_ha.appliance.config.luigi_files.TOML_FILES", (str(tmp_path / "etc/luigi/luigi.toml"), "luigi.toml")
    )
    Path("luigi.cfg").write_text("[scheduler]\nretry_count = 1\n")
    text = '[scheduler]\nretry_count = 3\nremove_delay = "7"\nretry-delay = 5\n[resources]\ngpu = 4\nhalf = 0.5\n'
    found = loaded(text, str(path), LUIGI_CONFIG_PARSER="toml")
    assert found.options.resources == {"gpu": 4, "half": 0.5}
    assert (found.options.scheduler.retry_count, found.options.scheduler.remove_delay) == (3, 7)
    assert found.origins["resources", "gpu"].endswith("luigi.toml:6")
    assert found.options.scheduler.retry_delay is None  # no dashes there
    assert any("'retry-delay'; did you mean 'retry_delay'?" in warning for warning in found.warnings)
    assert load({}, None, {}).options.scheduler.retry_count == 1


@pytest.mark.parametrize(
    ("parser", "name", "read"),
    [
        ("", "x.toml", False),
        ("cfg", "x.toml", False),
        ("toml", "x.toml", True),
        ("toml", "x.cfg", False),
        ("toml", "x", True),
        ("ini", "x.cfg", True),
        ("cfg", "x.conf", True),
        ("yaml", "x.cfg", True),
    ],
)
def test_a_named_file_counts_where_luigi_would_read_it(parser: str, name: str, read: bool) -> None:
    environment = {"LUIGI_CONFIG_PATH": name} | ({"LUIGI_CONFIG_PARSER": parser} if parser else {})
    found = loaded("[scheduler]\nretry_count=3\n", name, **environment)
    assert (found.options.scheduler.retry_count == 3) is read
    passed_over = f"luigi does not read {name!r} without LUIGI_CONFIG_PARSER"
    assert any(passed_over in warning for warning in found.warnings) is not read


def test_a_named_file_is_the_strongest_even_if_it_is_one_of_the_others() -> None:
    Path("client.cfg").write_text("[scheduler]\nretry_count = 1\n")
    assert loaded("[scheduler]\nretry_count = 2\n").options.scheduler.retry_count == 2
    named = loaded("[scheduler]\nretry_count = 2\n", LUIGI_CONFIG_PATH="client.cfg")
    assert named.options.scheduler.retry_count == 1


def test_encodings() -> None:
    assert loaded(b"\xef\xbb\xbf[resources]\ngpu = 3\n").options.resources == {"gpu": 3}
    found = loaded("[email]\nprefix = für\n".encode("latin-1"))
    assert found.options.email.prefix == "für"
    assert found.warnings == ["luigi.cfg:2 is not UTF-8; the file is read as ISO 8859-1"]
    assert loaded("[email]\r\nprefix = x\r\n[resources]\rgpu = 2\n").options.resources == {"gpu": 2}


def test_what_luigid_needs_and_we_do_not_is_said_and_no_warning() -> None:
    found = loaded(
        "[core]\nlogging_conf_file = /nowhere\n[scheduler]\nstate-path = ${UNSET}\nmetrics_collector = x\n"
        "[task_history]\ndb_connection = sqlite://\n"
    )
    assert found.warnings == []
    assert len(found.notes) == 4
    assert all("is not needed: " in note for note in found.notes)
