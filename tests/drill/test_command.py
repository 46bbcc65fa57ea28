"""`luigi-ha drill`, as a new user types it: from nothing to a report, on two nodes made for it."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from luigi_ha.appliance.cli.errors import CommandError
from luigi_ha.appliance.drill import beginning, faults, report
from luigi_ha.appliance.exit_codes import ExitCode
from luigi_ha.appliance.lab.processes import every
from tests.drill.sound import made, rewrite
from tests.support.patience import patient


def typed(*words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [str(Path(sys.executable).with_name("luigi-ha")), "drill", *words]
    env = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, timeout=patient(300), check=False, env=env)


def test_list_names_faults_and_checks() -> None:
    done = typed("list")
    assert done.returncode == ExitCode.OK
    assert all(name in done.stdout for name in faults.ALL)
    said = json.loads(typed("list", "--json").stdout)
    assert [each["name"] for each in said["faults"]] == list(faults.ALL)
    assert "double-run" in said["checks"]


def test_a_drill_ends_with_a_report_that_can_be_checked_again_and_leaves_nothing(tmp_path: Path) -> None:
    done = typed("run", "kill-scheduler", "kill-at-epoch", "--seed", "5", "--reports", str(tmp_path), "--json")
    assert done.returncode == ExitCode.OK, (done.stdout[-3000:], done.stderr[-3000:])
    assert "[1/2] kill-scheduler: passed" in done.stderr, "progress is told"
    said: dict[str, Any] = json.loads(done.stdout)
    assert said["verdict"] == said["history"]["verdict"] == "passed"
    assert said["history"]["entries"] > 100
    for one in said["rounds"]:
        assert (one["wrong"], one["undecided"]) == ({}, {})
        assert one["figures"]["lost"] == one["figures"]["twice"] == 0
        assert one["figures"]["done"] == one["figures"]["tasks"] == 7
        assert one["bite"]["proof"]
    directory = said["report"]
    again = typed("verify", directory)
    assert (again.returncode, "PASSED; the report is what was signed" in again.stdout) == (ExitCode.OK, True)
    assert typed("verify", directory, "--key", said["key"]).returncode == ExitCode.OK
    assert "PASSED (seed 5)" in typed("show", directory).stdout
    shown = Path(directory) / report.PAGE
    assert shown.stat().st_size > 5000
    shown.write_text(shown.read_text().replace("passed", "PASSED"))
    assert "report.html: is not of this report" in typed("verify", directory).stdout
    mark = f"{tempfile.gettempdir()}/luigi-ha-drill-"  # of a pair; a lab is elsewhere
    assert [each.argv for each in every() if any(mark in word for word in each.argv)] == []


def test_what_was_done_before_it_was_broken_off_is_reported(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("luigi-ha")), "drill", "run", "switchover", "kill-standby"]
    command += ["--load", "none", "--reports", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as drill:
        assert drill.stderr is not None
        for line in drill.stderr:
            if "[2/2]" in line:
                drill.terminate()
        assert drill.wait(patient(90)) == 143
    (directory,) = tmp_path.glob("*-pair")
    found, problems = report.check(directory)
    assert (found["verdict"], problems.found, len(found["rounds"])) == ("inconclusive", False, 1)


class Settling:
    """A place that says `said`, one after the other, the last for ever."""

    kind = "pair"

    def __init__(self, *said: list[str]) -> None:
        self._said = list(said)

    def wait_until_ready(self) -> None:
        pass

    def degraded(self) -> list[str]:
        return self._said.pop(0) if len(self._said) > 1 else self._said[0]


def test_a_place_that_has_just_been_made_may_settle_and_one_that_is_degraded_is_not_broken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settling: Any = Settling(["two cannot lead: starting"], ["two cannot lead: starting"], [])
    beginning.require_well(settling)
    monkeypatch.setattr(beginning, "SETTLES_WITHIN", 0.3)
    degraded: Any = Settling(["no other node can take over"])
    with pytest.raises(CommandError, match="not begun: no other node can take over"):
        beginning.require_well(degraded)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "kill-schedular"], "no fault kill-schedular; expected some of kill-scheduler"),
        (["run", "--on", "moon"], "--on moon: expected pair or lab or hosts"),
        (["run", "cut-etcd"], "cut-etcd cannot be done on a pair; expected --on lab"),
        (["run", "kill-node", "--safe"], "--safe: kill-node would harm a cluster in use"),
        (["run", "kill-node", "--random", "3"], "--random chooses the faults itself"),
        (["run", "kill-node+switchover+kill-all"], "expected some of"),
        (["verify", "/nowhere"], "/nowhere: no report"),
        (["show", "/"], "/: no report"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(words: list[str], said: str) -> None:
    done = typed(*words)
    assert done.returncode == ExitCode.CONFIG
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_place_for_reports_that_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = typed("run", "--reports", str(tmp_path / "file" / "x"))
    assert done.returncode == ExitCode.FAILED
    assert "expected a place for reports" in done.stderr


def test_verify_and_show_fail_for_a_report_that_was_changed(tmp_path: Path) -> None:
    directory = made(tmp_path)
    assert typed("verify", str(directory)).returncode == ExitCode.OK
    rewrite(directory / report.REPORT, lambda r: r.update(verdict="passed", seed=8))
    done = typed("verify", str(directory), "--json")
    assert done.returncode == ExitCode.FAILED
    assert json.loads(done.stdout)["broken"] == ["report.json is not what was signed"]
    assert "not what was signed" in typed("show", str(directory)).stderr
    assert typed("verify", str(directory), "--key", "no base64!").returncode == ExitCode.CONFIG
