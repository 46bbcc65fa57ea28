"""`luigi-ha drill run --on hosts`, typed on a node of a cluster that is there already: its owner's."""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from luigi_ha.appliance.exit_codes import ExitCode
from luigi_ha.appliance.lab.lab import Lab
from luigi_ha.appliance.lab.plan import PORT, VIP
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
    other = next(host.name for host in whole.plan.servers if host.name != leader)
    whole.hold_back(other, "serve")
    until = time.monotonic() + patient(30)
    while len(whole.ask("client", VIP, PORT, "/api/cluster")[1]["nodes"]) > 2:
        assert time.monotonic() < until, "its presence lasts"
        time.sleep(0.2)
    missing = typed(whole, "--yes", "--reports", str(tmp_path))
    assert missing.returncode == ExitCode.FAILED
    assert "not begun: 2 nodes are there, and the database has 3 hosts" in missing.stderr
    assert whole.leader() == leader
    assert list(tmp_path.iterdir()) == [], "nothing was begun"
