"""Three schedulers without an address that moves, as on Kubernetes: clients reach them by readiness.

Real hosts in namespaces, with real etcd, Patroni and PostgreSQL; the Service is `tests.deploy.service`. What is
printed at the end (pytest -s) are the figures of deploy/README.md.
"""

import contextlib
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from luigi_ha.appliance.lab.inside import Inside
from luigi_ha.appliance.lab.lab import Lab
from luigi_ha.appliance.lab.plan import PORT
from luigi_ha.appliance.lab.targets import Target
from tests.support.labs import lab_up
from tests.support.patience import patient

ROOT = Path(__file__).resolve().parents[2]
URL = "http://127.0.0.1:18082"
STEADY = 50  # calls, before and after


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with lab_up("service", vip=False) as lab:
        yield lab


@contextlib.contextmanager
def running(lab: Lab, *command: str) -> Iterator[Inside]:
    """A program of ours on the client's host."""
    environment = {"PYTHONPATH": str(ROOT)}
    one = lab.run_in("client", [sys.executable, "-m", *command], env=environment)
    try:
        yield one
    finally:
        one.terminate()
        try:
            one.wait(patient(30))
        except subprocess.TimeoutExpired:
            one.kill()
            one.wait()


def calls(records: Path) -> list[tuple[str, float, float, str | None]]:
    """Those that have ended, whole lines only."""
    text = records.read_text() if records.exists() else ""
    return [tuple(json.loads(line)) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def until(holds: Callable[[], Any], what: Callable[[], str], seconds: float = 60.0) -> Any:
    deadline = time.monotonic() + patient(seconds)
    while not (found := holds()):
        assert time.monotonic() < deadline, what()
        time.sleep(0.1)
    return found


def good(records: Path, since: float = 0.0) -> int:
    return sum(wrong is None and began > since for _task, began, _ended, wrong in calls(records))


def boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@pytest.mark.parametrize("path", ["/ready", "/leader"])
def test_the_leader_is_killed_and_calls_go_on(lab: Lab, tmp_path: Path, path: str) -> None:
    records = tmp_path / "records.jsonl"
    pods = [f"http://{host.address}:{PORT}" for host in lab.plan.servers]
    prober = ("luigi_ha.appliance.drill.prober", URL, str(records), "--prefix", f"s{path[1:]}", "--every", "0.02")
    with running(lab, "tests.deploy.service", "18082", path, *pods), running(lab, *prober):
        until(lambda: good(records) > STEADY, lambda: f"calls are answered: {calls(records)[-3:]}")
        before = lab.leader()
        assert before is not None
        lab.faults.kill(before, Target.BOTH)
        at = boot()
        until(lambda: lab.leader() not in (None, before), lambda: "another node leads")
        leads = boot()
        until(lambda: good(records, leads) > STEADY, lambda: f"calls are answered again: {calls(records)[-3:]}")
    done = calls(records)
    acknowledged = {task for task, _began, _ended, wrong in done if wrong is None}
    there = lab.ask("client", _address(lab), PORT, "/api/task_list", timeout=patient(60))[1]["response"]
    assert acknowledged <= set(there), "acknowledged, and not there any more"
    answered = sorted(ended for _task, _began, ended, wrong in done if wrong is None)
    gap = max(later - earlier for earlier, later in itertools.pairwise(answered))
    waits = [ended - began for _task, began, ended, wrong in done if wrong is None]
    failed = [wrong for _task, _began, _ended, wrong in done if wrong is not None]
    print(
        f"\n{path}: {len(done)} calls, {len(failed)} failed, gap {gap:.2f} s, longest wait {max(waits):.2f} s, "
        f"another led {leads - at:.2f} s after the kill; {sorted(set(failed))[:3]}"
    )


def _address(lab: Lab) -> str:
    leader = until(lab.leader, lambda: "a node leads")
    return lab.plan.host(leader).address
