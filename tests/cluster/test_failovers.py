"""One failover of each kind, with clients that call fifty times a second. `luigi-ha drill run --on lab` does this many
times and measures; here the bounds are wide, and what must never happen is the same.

The order is that of the file: what is slow to mend comes last.
"""

import json
import random
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from luigi_ha.appliance.drill import faults, rounds
from luigi_ha.appliance.drill.cluster import InLab
from luigi_ha.appliance.drill.fault import Bite, Fault, until_true
from luigi_ha.appliance.drill.judging import Judgement, judge
from luigi_ha.appliance.drill.place import Breakable
from luigi_ha.appliance.drill.records import Record
from luigi_ha.appliance.drill.rounds import Settings
from luigi_ha.appliance.lab.errors import LabError
from luigi_ha.appliance.lab.lab import Lab
from luigi_ha.appliance.lab.plan import PORT, VIP
from tests.support.patience import patient

GAP, PRIMARY_GAP = 15.0, 45.0  # s; what a busy machine may need
pytestmark = pytest.mark.timeout(240)


def strike(lab: Lab, fault: Fault, directory: Path, settings: Settings | None = None) -> Judgement:
    """One round of a fault, judged; what holds for all of them."""
    late = None if fault.gone_after is None else patient(fault.gone_after + lab.plan.lease)
    busy = replace(fault, within=patient(fault.within), gone_after=late)
    rounds.run(InLab(lab), busy, directory / fault.name, random.Random(1), settings or Settings(load="none"))
    record = Record.load(directory / fault.name)
    found = judge(record)
    assert "trouble" not in record.about
    assert found.undecided == {}
    assert set(found.wrong) <= {"refused"}, found
    now = lab.state()
    assert now.vip_holder == now.leader, "one host has the address: the leader's"
    return found


def fail_over(lab: Lab, name: str, directory: Path) -> Judgement:
    """A round of a fault after which another node leads, as long as it takes until it does."""
    fault = faults.ALL[name]

    def until_another_leads(place: Breakable, rng: random.Random) -> Bite:
        before = lab.leader()
        bite = fault.strike(place, rng)
        until_true(lambda: lab.leader() not in (None, before), patient(60), f"nobody else leads after {name}")
        return bite

    found = strike(lab, replace(fault, strike=until_another_leads, watch=1.5), directory)
    before, after = found.figures["leader_before"], found.figures["leader_after"]
    assert after[1] > before[1]
    return found


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
    found = fail_over(lab, "switchover", tmp_path)
    assert found.wrong == {}
    assert found.figures["gap"] < GAP


@pytest.mark.parametrize("name", ["kill-scheduler", "cut-etcd-clock-back", "clock-ahead", "lose-leader"])
def test_another_node_leads_after(name: str, lab: Lab, tmp_path: Path) -> None:
    assert fail_over(lab, name, tmp_path).figures["gap"] < GAP


def test_stock_luigi_gets_all_done_once_when_the_leader_is_killed(lab: Lab, tmp_path: Path) -> None:
    found = strike(lab, faults.ALL["kill-scheduler"], tmp_path, Settings(seconds=3.0, retry_wait=1.0))
    assert found.figures["done"] == found.figures["tasks"] == 7


@pytest.mark.parametrize("name", ["freeze-node", "take-address", "flush-address", "deaf-clients", "lose-packets"])
def test_calls_are_answered_by_one_leader_in_spite_of(name: str, lab: Lab, tmp_path: Path) -> None:
    found = strike(lab, faults.ALL[name], tmp_path)
    assert found.figures["gap"] < patient(GAP)
    if name == "freeze-node":
        assert found.figures["late"] == rounds.LATE_CALLS, "calls waited in it until it woke"


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
    found = fail_over(lab, "switchover-with-primary", tmp_path)
    assert found.wrong == {}
    assert found.figures["gap"] < GAP


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
    assert fail_over(lab, "lose-leader-and-primary", tmp_path).figures["gap"] < PRIMARY_GAP
    after = sum(path.read_text().count("primary_replaced") for path in logs.glob("*-serve.log"))
    assert after == before + 1, "Patroni's own time was waited for"
