"""`luigi-ha exec`: stock luigi, unchanged, with a connection that outlasts its schedulers. And what commands refuse."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from luigi_ha.appliance.lab.ports import free_port
from luigi_ha.worker.daemon.options import OptionError, Options, size
from tests.support.patience import patient
from tests.worker import pipelines
from tests.worker.peers import ROOT, eventually, node
from tests.worker.workers import Worker, await_status, no_configuration, submit

LUIGI_HA = [sys.executable, "-m", "luigi_ha.appliance.cli"]


def environment(directory: Path) -> dict[str, str]:
    own = {"PYTHONPATH": ROOT, "LEDGER": str(directory), "LUIGI_CONFIG_PATH": no_configuration(directory)}
    return {**os.environ, **own}


def execute(directory: Path, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*LUIGI_HA, "exec", *arguments], env=environment(directory), cwd=directory, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def test_stock_luigi_outlasts_an_outage_that_would_have_ended_it(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    with node(tmp_path) as one:
        command = ["luigi", "--module", "tests.worker.pipelines", "Slow", "--n", "1", "--no-lock"]
        running = execute(tmp_path, "--scheduler-url", f"http://127.0.0.1:{free_port()},{one.url}", "--", *command)
        try:
            eventually(ledger.exists, lambda: "it runs")
            one.kill()
            (tmp_path / "gate-1").touch()
            eventually(lambda: "over" in ledger.read_text(), lambda: "it ends")
            one.start()
            output, _ = running.communicate(timeout=patient(90))
            assert running.returncode == 0, output
            assert "This progress looks :)" in output
            assert "no_scheduler_answers" in output
            assert "Slow_1" in " ".join(one.tasks("DONE"))
        finally:
            running.kill()
            running.communicate()


def test_the_exit_code_is_luigis(tmp_path: Path) -> None:
    with node(tmp_path) as one:
        command = ["luigi", "--module", "tests.worker.pipelines", "Failing", "--no-lock", "--retcode-task-failed", "42"]
        running = execute(tmp_path, "--scheduler-url", one.url, "--", *command)
        output, _ = running.communicate(timeout=patient(90))
        assert running.returncode == 42, output


def test_a_script_that_builds_uses_it_too(tmp_path: Path) -> None:
    script = tmp_path / "build.py"
    script.write_text(
        "import sys, luigi\nfrom tests.worker.pipelines import Noted\n"
        "done = luigi.build([Noted(n=int(sys.argv[1]))], scheduler_url=sys.argv[2])\nsys.exit(0 if done else 3)\n"
    )
    with node(tmp_path) as one:
        running = execute(tmp_path, "--", "python", str(script), "5", one.url)
        output, _ = running.communicate(timeout=patient(90))
        assert running.returncode == 0, output
        assert (tmp_path / "ledger").read_text() == "Noted 5\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["exec", "--", "no-such-command"], "is not a command of an installed Python package"),
        (["exec", "--scheduler-url", "ftp://a", "--", "luigi"], "begins with http://"),
        (["worker", "--scheduler-url", "http://u:hunter2@a:x"], "a port that is a number"),
        (["worker", "--memory-limit", "much"], "'much' is no size"),
        (["worker", "--module", "no_such_module_at_all"], "no_such_module_at_all cannot be imported"),
        (["worker", "--workers", "0"], "workers is 0; it must be at least 1"),
        (["worker", "--lost-attempt", "ignore"], "must be one of finish, stop"),
        (["worker", "--token-file", "/nonexistent"], "/nonexistent cannot be read"),
    ],
)
def test_mistakes_are_told_in_one_line(tmp_path: Path, arguments: list[str], told: str) -> None:
    done = subprocess.run(
        [*LUIGI_HA, *arguments], env=environment(tmp_path), cwd=tmp_path, text=True, capture_output=True, check=False
    )
    assert done.returncode == 2
    assert told in done.stderr
    assert done.stderr.startswith("luigi-ha: ")
    assert done.stderr.count("\n") == 1
    assert "hunter2" not in done.stderr


def test_help_lists_the_commands_of_this_package(tmp_path: Path) -> None:
    done = subprocess.run([*LUIGI_HA, "--help"], env=environment(tmp_path), text=True, capture_output=True, check=True)
    assert "worker" in done.stdout
    assert "exec" in done.stdout


def test_sizes() -> None:
    assert [size("0"), size("512M"), size("1.5g"), size("2 KiB")] == [0, 512 << 20, 3 << 29, 2048]
    with pytest.raises(OptionError):
        size("12X")
    with pytest.raises(OptionError, match="at least 0"):
        Options(max_tasks=-1)


def test_systemd_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipelines, "LEDGER", tmp_path)
    with node(tmp_path) as one, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        path = f"/tmp/lha-{one.port}.notify"
        supervisor.bind(path)
        supervisor.settimeout(patient(60))
        told: list[str] = []

        def heard(word: str) -> bool:
            while not any(word in line for line in told):
                told.append(supervisor.recv(4096).decode())
            return True

        first = Worker(tmp_path, one.url)
        try:
            first.start(NOTIFY_SOCKET=path, WATCHDOG_USEC="600000")
            assert heard("READY=1")
            assert heard("STATUS=Working")
            (task,) = submit(one, pipelines.Noted(n=1))
            await_status(one, "DONE", task)
            told.clear()
            assert heard("WATCHDOG=1")
            assert first.drain() == 0
            assert heard("STOPPING=1")
        finally:
            first.end()
            Path(path).unlink()
