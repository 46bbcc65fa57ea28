"""`luigi-ha drill run --on hosts`, typed on a node of a cluster that is there already: its owner's."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from luigi_ha.appliance.exit_codes import ExitCode
from luigi_ha.appliance.lab.lab import Lab
from tests.support.patience import patient

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def whole(lab: Lab) -> Iterator[Lab]:
    lab.wait_until_ready()
    yield lab
    for host in lab.plan.servers:
        lab.let(host.name, "serve")


def typed(lab: Lab, *words: str) -> "subprocess.CompletedProcess[str]":
    process = lab.run_in(
        "n1", ["luigi-ha", "drill", "run", "--on", "hosts", *words], env=lab.options_on("n1"),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    out, err = process.communicate(timeout=patient(180))
    return subprocess.CompletedProcess([], process.returncode, out, err)


def test_a_cluster_in_use_is_switched_over_and_judged(whole: Lab, tmp_path: Path) -> None:
    before = whole.leader()
    done = typed(whole, "--yes", "--json", "--reports", str(tmp_path))
    assert done.returncode == ExitCode.OK, (done.stdout[-2000:], done.stderr[-2000:])
    said = json.loads(done.stdout)
    assert (said["verdict"], said["place"], said["asked"]) == ("passed", "hosts", ["switchover"])
    figures = said["rounds"][0]["figures"]
    assert figures["lost"] == figures["failed_in_flight"] == figures["failed_after"] == figures["twice"] == 0
    assert figures["done"] == figures["tasks"] == 7
    assert whole.leader() not in (None, before)


def test_nothing_is_struck_that_nobody_agreed_to_or_that_would_harm(whole: Lab, tmp_path: Path) -> None:
    before = whole.leader()
    for words, said in (
        ([], "not begun: 1 x switchover on your own hosts; expected --yes"),
        (["kill-node", "--yes"], "kill-node cannot be done on your own hosts; expected --on pair or lab"),
    ):
        done = typed(whole, *words, "--reports", str(tmp_path))
        assert (done.returncode, said in done.stderr) == (ExitCode.CONFIG, True), done.stderr
    assert whole.leader() == before
    assert list(tmp_path.iterdir()) == []


def test_a_cluster_that_is_less_than_it_should_be_is_not_struck_and_it_says_what(whole: Lab, tmp_path: Path) -> None:
    leader = str(whole.leader())
    config = whole.options_on("n1")["LUIGI_HA_CONFIG"]
    whole.run("n1", ["luigi-ha", "pause", "--config", config])
    try:
        paused = typed(whole, "--yes", "--reports", str(tmp_path))
    finally:
        whole.run("n1", ["luigi-ha", "resume", "--config", config])
    assert paused.returncode == ExitCode.FAILED
    assert f"not begun: automatic failover is paused: only {leader} may lead" in paused.stderr
    others = [host.name for host in whole.plan.servers if host.name != leader]
    for name in others:
        whole.hold_back(name, "serve")
    missing = typed(whole, "--yes", "--reports", str(tmp_path))
    assert missing.returncode == ExitCode.FAILED
    assert "no other node can take over" in missing.stderr
    assert whole.leader() == leader
