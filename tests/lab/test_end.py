"""Nothing is left behind: after `down`, after a crash of `up`, after a crash of everything."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from luigi_ha.appliance.lab import processes
from luigi_ha.appliance.lab.errors import LabError, NoLab, WrongUse
from luigi_ha.appliance.lab.exclusive import exclusive
from luigi_ha.appliance.lab.lab import Lab
from luigi_ha.appliance.lab.plan import Plan
from tests.support.patience import patient

KINDS = ("net", "pid", "mnt", "ipc", "uts")
PROGRAM = [sys.executable, "-m", "luigi_ha.appliance.cli", "lab"]


def namespaces(directory: Path) -> set[tuple[str, int]]:
    """Every namespace that a host of the lab lives in."""
    found = set()
    for _name, process in processes.carriers(directory):
        for kind in KINDS:
            with suppress(OSError):
                found.add((kind, Path(f"/proc/{process.pid}/ns/{kind}").stat().st_ino))
    return found - {(kind, Path(f"/proc/self/ns/{kind}").stat().st_ino) for kind in KINDS}


def dwellers(spaces: set[tuple[str, int]]) -> list[str]:
    """Processes of this machine that live in one of those namespaces. (The dead keep their number until reaped.)"""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        for kind in KINDS:
            with suppress(OSError):
                here = (kind, (entry / "ns" / kind).stat().st_ino)
                if here in spaces and "State:\tZ" not in (entry / "status").read_text():
                    found.append(f"{entry.name}: {(entry / 'cmdline').read_text()}")
                    break
    return found


def of_the_machine(directory: Path) -> tuple[object, ...]:
    """What the root namespace shows that a lab could have left: links, named namespaces, mounts."""
    names = [place.name for place in Path("/run/netns").glob("*luigi*")]
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(directory) in line]
    ours = ("br0", "n1", "n2", "n3", "client", "observer", "switch")
    return names, mounts, [name for name in ours if Path("/sys/class/net", name).exists()]


def start_up(directory: Path, until: str) -> "subprocess.Popen[str]":
    """`lab up`, and back when it has said that word."""
    started = subprocess.Popen([*PROGRAM, "up", "--dir", str(directory)], stderr=subprocess.PIPE, text=True)
    assert started.stderr is not None
    for line in started.stderr:
        if until in line:
            return started
    raise AssertionError("lab up ended before it said " + until)


def test_down_after_a_crash_of_up_leaves_nothing(elsewhere: Path) -> None:
    before = of_the_machine(elsewhere)
    with start_up(elsewhere, "on a switch") as up:
        spaces = namespaces(elsewhere)
        up.send_signal(signal.SIGKILL)
        up.wait(patient(10))
    assert len(processes.inits(elsewhere)) == 7
    assert len(spaces) == 7 * len(KINDS)
    for pid in (process.pid for process in processes.inits(elsewhere).values()):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)  # nobody in there helps
    down = subprocess.check_output([*PROGRAM, "down", "--dir", str(elsewhere)], text=True, timeout=patient(60))
    assert down == "removed\n"
    assert dwellers(spaces) == []
    assert processes.carriers(elsewhere) == []
    assert not elsewhere.exists()
    assert of_the_machine(elsewhere) == before == ([], [], [])
    assert not Lab(elsewhere).down()  # again: nothing to do


def test_hosts_die_when_up_is_killed_before_they_have_booted(elsewhere: Path) -> None:
    elsewhere.mkdir()
    (elsewhere / ".luigi-ha-lab").touch()
    plan = Plan(elsewhere)
    from luigi_ha.appliance.lab import recipes

    recipes.write(plan)
    words = ["--lab", str(elsewhere), "--host", "n1"]
    command = ["unshare", "--net", "--pid", "--fork", "--kill-child=KILL", "--mount", "--mount-proc", "--uts", "--ipc"]
    with subprocess.Popen(
        [*command, "--", sys.executable, "-m", processes.HOST_MODULE, *words], stdin=-1, stdout=-1, cwd="/"
    ) as host:
        assert host.stdout.readline() == b"ready\n"
        assert set(processes.inits(elsewhere)) == {"n1"}
        host.stdin.close()  # as when `lab up` dies
        assert host.wait(patient(10)) == 0
    assert processes.carriers(elsewhere) == []


def test_an_interrupted_up_cleans_up_itself(elsewhere: Path) -> None:
    with start_up(elsewhere, "on a switch") as up:
        up.send_signal(signal.SIGINT)
        assert up.wait(patient(120)) != 0
    assert processes.carriers(elsewhere) == []
    assert not elsewhere.exists()


def test_a_directory_that_is_not_a_lab_is_not_touched(elsewhere: Path) -> None:
    elsewhere.mkdir()
    (elsewhere / "thesis.txt").write_text("years of work")
    with pytest.raises(WrongUse, match="not a lab"):
        Lab(elsewhere).up()
    assert not Lab(elsewhere).down()
    assert (elsewhere / "thesis.txt").read_text() == "years of work"


def test_one_command_at_a_time(elsewhere: Path) -> None:
    refused = pytest.raises(LabError, match=f"process {os.getpid()} is still at work")
    with exclusive(elsewhere), refused, exclusive(elsewhere, wait=0.3):
        pass
    with exclusive(elsewhere, wait=0.3):
        pass


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["status"], 3),
        (["down"], 0),
        (["shell", "n1", "--", "true"], 3),
        (["fault", "cut", "n1"], 3),
        (["fault", "explode", "n1"], 2),
        (["up", "--dir", "/run/lab"], 2),
    ],
)
def test_exit_codes(elsewhere: Path, words: list[str], code: int) -> None:
    environ = {**os.environ, "LUIGI_HA_LAB_DIR": str(elsewhere)}
    done = subprocess.run(
        [*PROGRAM, *words], check=False, capture_output=True, text=True, timeout=patient(30), env=environ
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


def test_status_without_a_lab_names_the_command(elsewhere: Path) -> None:
    with pytest.raises(NoLab, match="luigi-ha lab up"):
        Lab(elsewhere).state()
