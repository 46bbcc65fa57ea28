"""The worker of shell and curl, and the script that drains any worker."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.examples.conftest import EXAMPLES
from tests.support.node_process import NodeProcess, node_process
from tests.support.patience import patient

SHELL = EXAMPLES / "shell"
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(node: NodeProcess, tmp_path: Path) -> Iterator[Start]:
    """`start("name")`: a worker; killed at the end of the test if it still runs."""
    tasks = tmp_path / "tasks"
    shutil.copytree(SHELL / "tasks", tasks)
    (tasks / "shell.Sleep").write_text("#!/bin/sh\nread -r _params\necho begun >>begun\nexec sleep 600\n")
    (tasks / "shell.Gate").write_text("#!/bin/sh\necho begun >>begun\nuntil [ -e open ]; do sleep 0.1; done\n")
    (tasks / "shell.Fail").write_text("#!/bin/sh\necho 'no \"such\" disk'\nexit 7\n")
    for name in ("Sleep", "Gate", "Fail"):
        (tasks / f"shell.{name}").chmod(0o755)
    started: list[subprocess.Popen[str]] = []

    def worker(name: str, **environment: str) -> "subprocess.Popen[str]":
        surroundings = {
            **os.environ, "LUIGI_HA_SCHEDULER_URL": node.url, "WORKER_ID": name, "TASKS": str(tasks), "BEAT": "0.3",
            **environment,
        }  # fmt: skip
        with (tmp_path / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                ["sh", str(SHELL / "worker.sh")], cwd=tmp_path, env=surroundings, stdout=log, stderr=log, text=True,
                start_new_session=True,
            )  # fmt: skip
        started.append(process)
        return process

    yield worker
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def until(node: NodeProcess, task_id: str, status: str, seconds: float = 60) -> Any:
    deadline = time.monotonic() + patient(seconds)
    while (task := node.get(f"/api/task/{task_id}"))["status"] != status:
        assert time.monotonic() < deadline, task
        time.sleep(0.1)
    return task


def drain(node: NodeProcess, name: str, seconds: int = 60, **more: str) -> int:
    environment = {**os.environ, "LUIGI_HA_SCHEDULER_URL": node.url, "DRAIN_SECONDS": str(seconds), **more}
    return subprocess.run(
        ["sh", str(SHELL / "drain.sh"), name], env=environment, timeout=patient(120), check=False
    ).returncode


def test_it_does_its_work_in_order_and_reports_what_failed(node: NodeProcess, start: Start, tmp_path: Path) -> None:
    (tmp_path / "poem").write_text("one\ntwo\n")
    count = {"family": "shell.Count", "params": {"files": ["poem", "poem"], "to": "counts"}}
    node.send("PUT", "/api/task/first", count)
    node.send("PUT", "/api/task/second", {"family": "shell.Fail", "deps": ["first"]})
    node.send("PUT", "/api/task/other", {"family": "python.Other"})
    start("in-order")
    failed = until(node, "second", "FAILED")
    assert failed["error"] == 'exit code 7: no "such" disk'
    assert node.get("/api/task/first")["status"] == "DONE"
    assert (tmp_path / "counts").read_text() == "2 poem\n2 poem\n"
    assert node.get("/api/task/other")["status"] == "PENDING"


def test_a_cancelled_task_is_ended(node: NodeProcess, start: Start, tmp_path: Path) -> None:
    node.send("PUT", "/api/task/cancelled", {"family": "shell.Sleep"})
    start("of-cancelled")
    until(node, "cancelled", "RUNNING")
    node.send("POST", "/api/task/cancelled/cancel", {"reason": "changed my mind"})
    until(node, "cancelled", "DISABLED")


def test_a_drained_worker_finishes_its_task_and_ends(node: NodeProcess, start: Start, tmp_path: Path) -> None:
    node.send("PUT", "/api/task/gate", {"family": "shell.Gate", "priority": 1})
    node.send("PUT", "/api/task/after", {"family": "shell.Count", "params": {"files": [], "to": "after"}})
    process = start("drained")
    until(node, "gate", "RUNNING")
    assert drain(node, "drained", seconds=0) == 1
    (tmp_path / "open").touch()
    assert drain(node, "drained") == 0
    assert process.wait(patient(60)) == 0
    assert node.get("/api/task/gate")["status"] == "DONE"
    assert node.get("/api/task/after")["status"] == "PENDING"
    assert [one["worker_id"] for one in node.get("/api/drained")] == ["drained"]
    environment = {**os.environ, "LUIGI_HA_SCHEDULER_URL": node.url}
    command = ["sh", str(SHELL / "drain.sh"), "--undo", "drained"]
    subprocess.run(command, env=environment, timeout=patient(60), check=True)
    assert node.get("/api/drained") == []
    assert node.metric("luigi_task_ready") == node.get("/api/queue")["ready"] >= 1  # what autoscalers go by


def test_terminated_it_finishes_its_task(node: NodeProcess, start: Start, tmp_path: Path) -> None:
    node.send("PUT", "/api/task/gate-2", {"family": "shell.Gate", "priority": 1})
    process = start("terminated")
    until(node, "gate-2", "RUNNING")
    process.terminate()
    time.sleep(0.5)
    assert process.poll() is None
    (tmp_path / "open").touch()
    assert process.wait(patient(60)) == 0
    assert node.get("/api/task/gate-2")["status"] == "DONE"


def test_an_outage_of_the_scheduler_is_waited_for(node: NodeProcess, start: Start, tmp_path: Path) -> None:
    node.send("PUT", "/api/task/through", {"family": "shell.Gate", "priority": 1})
    start("patient")
    until(node, "through", "RUNNING")
    node.stop()
    (tmp_path / "open").touch()
    time.sleep(1)
    node.start()
    until(node, "through", "DONE")
    assert (tmp_path / "begun").read_text() == "begun\n"


def test_draining_a_worker_that_nobody_knows_fails(node: NodeProcess) -> None:
    assert drain(node, "nobody") == 1


def test_with_tokens_both_scripts_show_theirs(start: Start, tmp_path: Path) -> None:
    (tmp_path / "secure").mkdir()
    with node_process(tmp_path / "secure", auth="on") as secure:
        files = {}
        for role in ("worker", "viewer"):
            command = [
                str(Path(sys.executable).with_name("luigi-ha")),
                "token",
                "create",
                f"the-{role}",
                "--role",
                role,
            ]
            database = f"sqlite:///{secure.directory}/luigi.db"
            made = subprocess.run(
                [*command, "--database", database], capture_output=True, text=True, check=True, cwd=tmp_path
            )
            files[role] = tmp_path / f"{role}.token"
            files[role].write_text(made.stdout)
        secure.token = files["worker"].read_text().strip()
        time.sleep(3)  # a node reads the tokens every two seconds
        secure.send("PUT", "/api/task/secret", {"family": "shell.Count", "params": {"files": [], "to": "out"}})
        process = start("trusted", LUIGI_HA_SCHEDULER_URL=secure.url, LUIGI_HA_TOKEN_FILE=str(files["worker"]))
        until(secure, "secret", "DONE")
        seen = subprocess.run(["ps", "axww"], capture_output=True, text=True, check=True).stdout
        assert not any(file.read_text().strip() in seen for file in files.values())
        assert drain(secure, "trusted", LUIGI_HA_TOKEN_FILE=str(files["viewer"])) == 1  # who looks changes nothing
        assert drain(secure, "trusted", LUIGI_HA_TOKEN_FILE=str(files["worker"])) == 0
        assert process.wait(patient(60)) == 0
