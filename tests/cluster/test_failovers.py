"""One failover of each kind, with a client that calls fifty times a second. The drill `python -m drills.failover` does
this many times and measures; here the bounds are wide, and what must never happen is the same.

The order is that of the file: what is slow to mend comes last.
"""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from drills.failover import scenarios
from drills.failover.__main__ import run
from drills.failover.pipelines import FAULTS, Fault
from drills.failover.pipelines import run as run_pipeline
from luigi_ha.appliance.drill.calls import Verdict
from luigi_ha.appliance.lab.errors import LabError
from luigi_ha.appliance.lab.faults import Bite
from luigi_ha.appliance.lab.lab import Lab
from luigi_ha.appliance.lab.plan import PORT, VIP
from luigi_ha.appliance.lab.targets import Target
from tests.support.patience import patient

GAP, PRIMARY_GAP = 15.0, 45.0  # s; what a busy machine may need
ANYWHERE = ("kill-scheduler", "kill-both", "cut-etcd")  # wherever PostgreSQL's primary is: a move less to wait for
pytestmark = pytest.mark.timeout(240)


def fail_over(lab: Lab, name: str, place: Path) -> Verdict:
    """One run of a scenario, as long as it takes until another node leads; what holds for all of them."""
    scenario = scenarios.ALL[name]
    arrange = scenarios.nothing if name in ANYWHERE else scenario.arrange

    def strike(lab: Lab) -> Bite:
        before, bite = lab.leader(), scenario.strike(lab)
        deadline = time.monotonic() + patient(60)
        while lab.leader() in (None, before):
            if time.monotonic() > deadline:
                raise LabError(f"no other node leads a minute after {name}")
            time.sleep(0.1)
        return bite

    verdict, seen = run(lab, replace(scenario, arrange=arrange, strike=strike, watch=1.5, rest=0.2), 1, place)
    now = lab.state()
    assert verdict.inconclusive is None, seen
    assert verdict.lost == 0, "acknowledged, and not there any more"
    assert seen["leader_after"] not in (None, seen["leader_before"])
    assert now.vip_holder == now.leader, "one host has the address: the leader's"
    return verdict


def test_status_names_each_node_and_what_its_death_would_cost(lab: Lab) -> None:
    until = time.monotonic() + patient(15)  # what nodes say of themselves is a second or two old
    while True:
        said = json.loads(lab.run("client", ["luigi-ha", "status", "--json"]).stdout)
        beside = [node["beside_the_primary"] for node in said["nodes"]].count(True)
        if beside == 1 or time.monotonic() > until:
            break
        time.sleep(0.5)
    assert {node["name"] for node in said["nodes"]} == {host.name for host in lab.plan.servers}
    assert said["leader"] == lab.leader()
    for node in said["nodes"]:
        costs = "takes over" if node["name"] == said["leader"] else "nobody notices"
        assert costs in node["if_it_dies"], node
    assert said["replication"]["synchronous"]
    assert beside == 1


def test_doctor_finds_nothing_wrong_with_a_healthy_node(lab: Lab) -> None:
    host = lab.resolve("standby")
    config = str(lab.plan.of(host) / "luigi-ha.toml")
    until = time.monotonic() + patient(30)
    while True:
        try:
            lab.run(host.name, ["luigi-ha", "doctor", "--config", config])  # its exit code is 0, or LabError
        except LabError as error:
            slow = "no answer within" in str(error)  # a disk that others use; doctor asks each thing once
            if not slow or time.monotonic() > until:
                raise
        else:
            return


def test_a_planned_switchover_fails_no_call(lab: Lab, tmp_path: Path) -> None:
    verdict = fail_over(lab, "switchover", tmp_path)
    assert (verdict.failed_in_flight, verdict.failed_after) == (0, 0), verdict.reasons
    assert verdict.gap < GAP


@pytest.mark.parametrize("name", ["kill-scheduler", "kill-both", "cut-etcd", "unplug-leader"])
def test_another_node_leads_after(name: str, lab: Lab, tmp_path: Path) -> None:
    assert fail_over(lab, name, tmp_path).gap < GAP


def test_stock_luigi_gets_all_done_once_when_the_leader_is_killed(lab: Lab, tmp_path: Path) -> None:
    kill = Fault(FAULTS["kill"].arrange, lambda lab: [lab.faults.kill("leader", Target.SCHEDULER)])
    verdict, seen = run_pipeline(lab, kill, 2, 1, tmp_path / "pipeline", "6,3,1", 1.5)
    assert verdict.good, (verdict, seen)


def failover_of_the_database(lab: Lab) -> dict[str, Any]:
    """What `status` says of it."""
    said = json.loads(lab.run("client", ["luigi-ha", "status", "--json"]).stdout)
    found: dict[str, Any] = said["database_failover"]
    return found


def armed(lab: Lab, wanted: bool) -> dict[str, Any]:
    """Wait until it is armed, or is not."""
    until = time.monotonic() + patient(40)
    while (found := failover_of_the_database(lab))["armed"] is not wanted:
        if time.monotonic() > until:
            raise AssertionError(found)
        time.sleep(0.2)
    return found


def test_a_pause_disarms_the_failover_of_the_database_and_says_so(lab: Lab) -> None:
    lab.wait_until_ready()
    now = lab.state()
    found = armed(lab, True)
    assert (found["primary"], found["standby"]) == (now.primary, now.synchronous[0])
    host = str(now.leader)
    config = str(lab.plan.of(lab.plan.host(host)) / "luigi-ha.toml")
    lab.run(host, ["luigi-ha", "pause", "--config", config])
    assert armed(lab, False)["why_not"] == "automatic failover is paused"
    metrics = lab.ask("client", VIP, PORT, "/metrics")[1]
    assert "\nluigi_ha_database_failover_armed 0" in metrics
    lab.run(host, ["luigi-ha", "resume", "--config", config])
    armed(lab, True)
    assert "\nluigi_ha_database_failover_armed 1" in lab.ask("client", VIP, PORT, "/metrics")[1]


def test_the_primary_goes_along_in_a_planned_switchover(lab: Lab, tmp_path: Path) -> None:
    armed(lab, True)
    verdict = fail_over(lab, "switchover-with-primary", tmp_path)
    assert (verdict.failed_in_flight, verdict.failed_after) == (0, 0), verdict.reasons
    assert verdict.gap < GAP


def test_a_node_that_is_gone_alone_moves_no_primary(lab: Lab) -> None:
    """The keeper of the primary's host is not heard of any more; its PostgreSQL and its Patroni are."""
    lab.wait_until_ready()
    primary = str(lab.state().primary)
    armed(lab, True)
    lab.hold_back(primary, "serve")
    try:
        until = time.monotonic() + patient(60)
        while lab.leader() in (None, primary):
            assert time.monotonic() < until, "no other node leads"
            time.sleep(0.1)
        for _ in range(8):  # two leases
            assert lab.state().primary == primary
            time.sleep(0.5)
    finally:
        lab.let(primary, "serve")
    lab.wait_until_ready()


def test_another_node_leads_after_the_loss_of_the_host_with_the_primary_too(lab: Lab, tmp_path: Path) -> None:
    armed(lab, True)
    logs = lab.plan.logs
    before = sum(path.read_text().count("primary_replaced") for path in logs.glob("*-serve.log"))
    assert fail_over(lab, "unplug-leader-and-primary", tmp_path).gap < PRIMARY_GAP
    after = sum(path.read_text().count("primary_replaced") for path in logs.glob("*-serve.log"))
    assert after == before + 1, "Patroni's own time was waited for"
