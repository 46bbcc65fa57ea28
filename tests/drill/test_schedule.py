"""Drills by the clock: the units that `drill schedule` writes, and what `status` and metrics say of the last one."""

import json
import os
import re
import shlex
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from luigi_ha.appliance.cli.shown import shown
from luigi_ha.appliance.drill.schedule import MADE
from luigi_ha.appliance.exit_codes import ExitCode
from luigi_ha.appliance.node import drilled
from luigi_ha.appliance.node.cluster import _last_drill
from tests.api.serving import run, serving
from tests.drill.test_command import typed
from tests.store.samples import until


def configured(directory: Path, **more: str) -> Path:
    path = directory / "luigi-ha.toml"
    options = {"database": "postgresql://luigi@127.0.0.1:5/luigi", "etcd_endpoints": "http://127.0.0.1:5", **more}
    path.write_text("".join(f'{name} = "{value}"\n' for name, value in options.items()))
    return path


def schedule(directory: Path, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    units = directory / "units"
    units.mkdir(exist_ok=True)
    config = directory / "luigi-ha.toml"
    given = ["--config", str(config), "--units", str(units), "--user", "root", *words]
    return typed("schedule", *given, **environment)


def test_the_units_are_those_of_a_drill_that_systemd_understands(tmp_path: Path) -> None:
    configured(tmp_path, drill_reports="/var/lib/some where/100%")
    done = schedule(tmp_path, "--calendar", "Sat 04:30")
    assert done.returncode == ExitCode.OK, done.stderr
    assert "then: systemctl enable --now luigi-ha-drill.timer" in done.stdout
    service, timer = tmp_path / "units/luigi-ha-drill.service", tmp_path / "units/luigi-ha-drill.timer"
    assert "OnCalendar=Sat 04:30" in timer.read_text()
    command = re.findall(r"ExecStart=(.+)", service.read_text())[0].replace("%%", "%")
    assert shlex.split(command)[1:] == [
        "drill", "run", "switchover", "--on", "hosts", "--yes", "--config", str(tmp_path / "luigi-ha.toml"),
        "--reports", "/var/lib/some where/100%",
    ]  # fmt: skip
    assert 'StateDirectory="some where/100%%"' in service.read_text()
    if shutil.which("systemd-analyze"):
        checked = subprocess.run(
            ["systemd-analyze", "verify", str(service), str(timer)], capture_output=True, text=True, check=False
        )
        ours = [line for line in checked.stderr.splitlines() if "luigi-ha-drill" in line]
        assert ours == [], checked.stderr


def test_it_is_replaced_by_another_one_and_no_file_of_somebody_else_is(tmp_path: Path) -> None:
    configured(tmp_path)
    assert schedule(tmp_path).returncode == ExitCode.OK
    said = json.loads(schedule(tmp_path, "--calendar", "hourly", "--json").stdout)
    assert [Path(path).read_text().startswith(MADE) for path in said["units"]] == [True, True]
    timer = tmp_path / "units/luigi-ha-drill.timer"
    assert "OnCalendar=hourly" in timer.read_text()
    timer.write_text("[Timer]\nOnCalendar=monthly\n")
    done = schedule(tmp_path)
    assert (done.returncode, "was made by somebody else" in done.stderr) == (ExitCode.CONFIG, True)
    assert "monthly" in timer.read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--user", "nobody-of-ours"], "no such user"),
        (["kill-scheduler"], "kill-scheduler cannot be done on your own hosts"),
        (["--token-file", "/nowhere/token"], "/nowhere/token"),
        (["--config", "/nowhere/luigi-ha.toml"], "no such file"),
        (["--calendar", "Sun\n03:00"], "expected one line of text"),
        *(
            [
                (["--calendar", "every sunday"], "--calendar 'every sunday': Failed to parse"),
                (["--calendar", "2020-01-01"], "--calendar '2020-01-01': never comes"),
            ]
            if shutil.which("systemd-analyze")
            else []
        ),
    ],
)
def test_what_could_not_be_drilled_is_refused_and_nothing_is_written(
    tmp_path: Path, words: list[str], said: str
) -> None:
    configured(tmp_path)
    refused(tmp_path, said, *words)


def refused(directory: Path, said: str, *words: str, **environment: str) -> None:
    done = schedule(directory, *words, **environment)
    assert done.returncode == ExitCode.CONFIG, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert list((directory / "units").iterdir()) == []


def test_a_configuration_is_checked_as_the_unit_will_see_it(tmp_path: Path) -> None:
    configured(tmp_path, auth="on")
    refused(tmp_path, "auth = on; expected --token-file", LUIGI_HA_TOKEN="lha_secret")
    configured(tmp_path, drill_reports="drills")
    refused(tmp_path, "drill_reports = drills: expected an absolute path")
    configured(tmp_path, drill_reports=str(tmp_path / "none"))
    refused(tmp_path, f"install -d -o root {tmp_path}/none")
    configured(tmp_path, database="")
    refused(tmp_path, "database", LUIGI_HA_DATABASE="postgresql://luigi@127.0.0.1:5/luigi")


def test_a_pair_on_one_machine_is_not_scheduled(tmp_path: Path) -> None:
    configured(tmp_path, database=f"sqlite:///{tmp_path}/luigi.db", etcd_endpoints="")
    refused(tmp_path, "expected a cluster on PostgreSQL, or --on pair")


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_what_the_units_user_cannot_read_is_refused(tmp_path: Path) -> None:
    path = configured(tmp_path)
    path.chmod(0o600)
    refused(tmp_path, "as nobody: ", "--user", "nobody")


def report(directory: Path, name: str, **more: Any) -> Path:
    path = directory / name / "report.json"
    path.parent.mkdir(parents=True)
    said = {"format": 1, "verdict": "passed", "made_at": "2026-11-29T03:00:20+00:00", "rounds": [{}, {}], **more}
    path.write_text(json.dumps(said))
    return path


def test_the_newest_drill_of_the_cluster_is_the_last_one(tmp_path: Path) -> None:
    assert drilled.last(tmp_path / "nothing") is None
    assert drilled.last(tmp_path) is None
    report(tmp_path, "2026-11-22T03-00-00Z-hosts", verdict="failed")
    newest = report(tmp_path, "2026-11-29T03-00-00Z-hosts")
    report(tmp_path, "2026-11-30T03-00-00Z-lab", verdict="failed")  # of another place
    (tmp_path / "2026-11-30T04-00-00Z-hosts").mkdir()  # one that runs, or was broken off
    found = drilled.last(tmp_path)
    at = datetime(2026, 11, 29, 3, 0, 20, tzinfo=UTC).timestamp()
    assert found == drilled.Drilled("passed", at, 2, str(newest.parent))


@pytest.mark.parametrize("text", ["{}", "", "[]", '{"made_at": 5, "verdict": "passed", "rounds": []}'])
def test_a_newest_report_that_cannot_be_read_hides_no_older_verdict_behind_it(tmp_path: Path, text: str) -> None:
    report(tmp_path, "2026-11-22T03-00-00Z-hosts")
    newest = report(tmp_path, "2026-11-29T03-00-00Z-hosts")
    newest.write_text(text)
    begun = datetime(2026, 11, 29, 3, 0, 0, tzinfo=UTC).timestamp()
    assert drilled.last(tmp_path) == drilled.Drilled("unreadable", begun, 0, str(newest.parent))


def test_a_place_that_cannot_be_looked_into_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Not a directory"):
        drilled.last(tmp_path / "file")


def test_of_all_nodes_the_newest_is_shown_and_where_it_is() -> None:
    one, two = ({"verdict": verdict, "at": at} for verdict, at in (("failed", 100.0), ("passed", 200.0)))
    healths = {"n1": {"last_drill": one}, "n2": {"last_drill": two}, "n3": None, "n4": {}, "n5": {"last_drill": None}}
    assert _last_drill(healths) == {**two, "host": "n2"}
    assert _last_drill({"n3": None, "n4": {}}) is None


def test_a_node_tells_the_last_verdict(tmp_path: Path) -> None:
    path = report(tmp_path / "drills", "2026-11-29T03-00-00Z-hosts")

    async def scenario() -> None:
        async with serving(tmp_path, drill_reports=str(tmp_path / "drills")) as node:
            await until(lambda: node.node.drilled)
            said = (await node.get("/health")).json["last_drill"]
            assert said == {"verdict": "passed", "at": 1795921220.0, "rounds": 2, "report": str(path.parent)}
            whole = (await node.get("/api/cluster")).json
            assert whole["last_drill"] == {**said, "host": whole["node"]}
            metrics = (await node.get("/metrics")).body.decode()
            assert "luigi_ha_last_drill_passed 1.0\n" in metrics
            assert "luigi_ha_last_drill_timestamp_seconds 1.79592122e+09\n" in metrics
        text = shown({**whole, "cluster": "c", "time": said["at"] + 90_000})
        assert "last drill:     passed, 1d ago (2 rounds; " in text
        assert "no report on any node" in shown({**whole, "cluster": "c", "last_drill": None})

    run(scenario())
