"""The embedded pair: what a client sees, and what is never lost, whatever is done to the one that leads."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from luigi_ha.appliance.lab.processes import ended, held
from tests.pair.running import Caller, Node, Pair, pair
from tests.support.patience import patient


def luigi_ha(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "luigi_ha.appliance.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=patient(60), check=False)


def nothing_lost(two: Pair, caller: Caller) -> None:
    # Either of the two may answer, and the one that follows is a moment behind.
    two.eventually(lambda: set(caller.acknowledged) <= set(two.call("task_list", status="", limit=False)), "all known")
    assert len(caller.acknowledged) > 10


def kill_keeper(node: Node) -> None:
    """And wait until its scheduler is gone too, which takes calls until then."""
    with held([node.scheduler]) as watched:
        os.kill(node.popen.pid, signal.SIGKILL)
        node.popen.wait()
        assert not ended(watched, patient(90))


def kill_scheduler(node: Node) -> None:
    """And wait until it is gone: until its last thread is, the kernel takes connections for it."""
    with held([node.scheduler]) as watched:
        os.kill(node.scheduler, signal.SIGKILL)
        assert not ended(watched, patient(90))


@pytest.mark.parametrize("strike", [kill_keeper, kill_scheduler, Node.kill_both])
def test_p1_p6_the_leader_is_killed_and_nobody_but_who_was_being_served_notices(
    tmp_path: Path, strike: Callable[[Node], None]
) -> None:
    with pair(tmp_path) as two:
        epoch, leader = two.leadership()
        with Caller(two.port) as first, Caller(two.port) as second:
            strike(leader)
            gone = time.monotonic()
            successor = two.leader(after=epoch)
        assert successor is not leader
        for caller in (first, second):
            # In flight on the one that died, or taken by the kernel for it while it did.
            assert all(began < gone for began in caller.failed_begun), caller.failed
            assert len(caller.failed) <= 1 or gone - caller.failed_begun[0] < patient(1), caller.failed
            nothing_lost(two, caller)
        cause = "the scheduler" if strike is kill_scheduler else "no word from"
        assert cause in successor.log.split("transition=promote")[-1]


def test_a_killed_scheduler_is_started_again_and_follows(tmp_path: Path) -> None:
    with pair(tmp_path) as two:
        epoch, leader = two.leadership()
        killed = leader.scheduler
        kill_scheduler(leader)
        two.leader(after=epoch)
        two.eventually(lambda: leader.scheduler != killed, "started again")
        two.eventually(lambda: leader.log.count("transition=stand_by") == 2, "a standby")
        assert leader.popen.poll() is None


def test_a_switchover_fails_no_call_and_leaves_a_warm_standby(tmp_path: Path) -> None:
    with pair(tmp_path) as two:
        (epoch, leader), standby = two.leadership(), two.standby()
        with Caller(two.port) as caller:
            done = luigi_ha("switchover", standby.name, "--database", two.database)
            assert done.returncode == 0, done.stderr
            assert f"{standby.name} leads (epoch " in done.stdout
            assert two.leader(after=epoch) is standby
            back = luigi_ha("switchover", leader.name, "--database", two.database, "--json")
            assert back.returncode == 0, back.stderr
        assert caller.failed == []
        nothing_lost(two, caller)
        assert leader.log.count(" loaded ") == 1  # it kept its engine
        assert "warm=true" in leader.log.lower().split("promoted")[-1]


def test_sigterm_of_the_leader_hands_over_first(tmp_path: Path) -> None:
    with pair(tmp_path) as two:
        epoch, leader = two.leadership()
        with Caller(two.port) as caller:
            leader.popen.terminate()
            assert leader.popen.wait(patient(20)) == 0
            assert two.leader(after=epoch) is not leader
        assert caller.failed == []
        nothing_lost(two, caller)


def test_who_does_not_lead_shows_its_mirror_and_its_age(tmp_path: Path) -> None:
    with pair(tmp_path) as two:
        two.call("add_task", worker="w", task_id="Shown_1")
        ages = []
        for _ in range(40):  # either of the two takes a connection
            with urlopen(f"http://127.0.0.1:{two.port}/api/task_list", timeout=patient(10)) as reply:
                ages.append(reply.headers["Luigi-HA-Mirror-Age"])
                assert b"Shown_1" in reply.read() or float(ages[-1]) < 1
            time.sleep(0.01)
        assert any(ages)
        assert not all(ages)
        assert all(float(age) < 5 for age in ages if age)


def test_a_frozen_scheduler_loses_the_lead_and_follows_when_it_wakes(tmp_path: Path) -> None:
    with pair(tmp_path, stall_after="1") as two:
        epoch, leader = two.leadership()
        frozen = leader.scheduler
        os.kill(frozen, signal.SIGSTOP)
        try:
            two.eventually(lambda: "transition=lead" in two_other(two, leader).log, "the other one leads")
            other = two_other(two, leader)
            assert "makes no progress" in other.log
        finally:
            os.kill(frozen, signal.SIGCONT)
        two.eventually(lambda: "transition=step_down" in leader.log, "a standby by itself")
        assert two.leader(after=epoch) is other
        assert leader.scheduler == frozen


def two_other(two: Pair, one: Node) -> Node:
    return next(node for node in two.nodes if node is not one)


def test_one_port_is_for_one_pair(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with pair(tmp_path) as two:
        intruder = Pair(tmp_path / "other")
        intruder.port = two.port
        try:
            node = intruder.start()
            assert node.popen.wait(patient(30)) == 2
            assert f"the schedulers of {tmp_path}/luigi.db.leadership listen there" in node.log
        finally:
            intruder.end()


def test_a_pause_keeps_the_leader_and_resume_ends_it(tmp_path: Path) -> None:
    with pair(tmp_path) as two:
        epoch, leader = two.leadership()
        assert luigi_ha("pause", "--database", two.database).returncode == 0
        leader.kill_both()
        time.sleep(2)
        assert "transition=promote" not in two_other(two, leader).log
        assert luigi_ha("resume", "--database", two.database).returncode == 0
        assert two.leader(after=epoch) is two_other(two, leader)


def test_a_pause_is_told_rightly_by_both_whoever_leads_and_a_failover_that_it_prevents_has_a_line(
    tmp_path: Path,
) -> None:
    with pair(tmp_path) as two:
        leader, standby = two.leader(), two.standby()

        def told(true: Callable[[dict[str, Any]], object], what: str) -> None:
            """By each of them, as it answers for itself."""
            for node in two.nodes:
                two.eventually(lambda: (said := two.cluster())["node"] == node.name and true(said), what)  # noqa: B023

        def dies(said: dict[str, Any]) -> str:
            return str(next(node["if_it_dies"] for node in said["nodes"] if node["leading"]))

        def degraded(said: dict[str, Any]) -> bool:
            return any("paused" in text for text in said["degraded"])

        for name in (leader.name, standby.name):
            assert "it was not paused" in luigi_ha("resume", "--database", two.database).stdout
            assert luigi_ha("switchover", name, "--database", two.database).returncode == 0
            paused = luigi_ha("pause", "--database", two.database)
            assert f"paused: only {name} may lead" in paused.stdout
            assert "already paused" in luigi_ha("pause", "--database", two.database).stdout
            told(lambda said: said["failover_paused"] and said["failover_keeps"] == name and degraded(said), "paused")  # noqa: B023
            told(lambda said: "no node takes over: automatic failover is paused" in dies(said), "what it means")
            resumed = luigi_ha("resume", "--database", two.database)
            assert f"the pause had kept {name}" in resumed.stdout
            told(lambda said: not said["failover_paused"] and not degraded(said), "resumed")
            told(lambda said: "takes over at once" in dies(said), "what it means")

        assert luigi_ha("pause", "--database", two.database).returncode == 0
        standby.kill_both()
        line = f"failover_held_back leader_was={standby.name} keeps={standby.name}"
        two.eventually(lambda: line in leader.log, line)
        assert leader.log.count("failover_held_back") == 1
        assert luigi_ha("resume", "--database", two.database).returncode == 0
        assert two.leader() is leader


def test_commands_say_what_is_wrong(tmp_path: Path) -> None:
    alone = luigi_ha("switchover", "n2", "--database", f"sqlite:///{tmp_path}/luigi.db")
    assert (alone.returncode, "nobody leads" in alone.stderr) == (1, True)
    with pair(tmp_path) as two:
        wrong = luigi_ha("switchover", "n9", "--database", two.database)
        assert wrong.returncode == 1
        assert two.standby().name in wrong.stderr
    nobody = luigi_ha("pause", "--database", "postgresql://luigi@nowhere/luigi")
    assert nobody.returncode == 2
    assert "Traceback" not in nobody.stderr + alone.stderr + wrong.stderr


def test_what_a_caller_was_acknowledged_shows_in_the_next_view_whichever_node_makes_it(tmp_path: Path) -> None:
    """Each call and each view has a connection of its own: half of them meet the node that follows."""
    with pair(tmp_path) as two:
        two.leadership()
        missing = []
        for n in range(150):
            two.call("add_task", task_id=f"Own_{n}", worker="w", family="Own")
            if f"Own_{n}" not in two.call("task_list", status="PENDING", limit=False):
                missing.append(n)
        assert not missing, f"{len(missing)} of 150 views did not show what had been acknowledged before"


def test_p8_a_worker_that_called_the_leader_before_is_not_silent_to_the_next_one(tmp_path: Path) -> None:
    """It calls all the time, but says nothing of it to the database; to who follows it grows older and older."""
    quick = {"scheduler_worker_disconnect_delay": "2", "scheduler_worker_grace": "60", "scheduler_prune_interval": "1"}
    with pair(tmp_path, **quick) as two:
        two.call("add_task", worker="busy", task_id="A", status="PENDING")
        assert two.call("get_work", worker="busy", host="h")["task_id"] == "A"
        until = time.monotonic() + 4
        while time.monotonic() < until:
            two.call("ping", worker="busy")
            time.sleep(0.2)
        epoch, leader = two.leadership()
        leader.kill_both()
        two.leader(after=epoch)
        until = time.monotonic() + 4
        while time.monotonic() < until:  # several prunes; it has not got round to calling again
            two.call("prune")
            assert two.call("task_list", status="RUNNING"), "its task was taken from it"
            time.sleep(0.2)
