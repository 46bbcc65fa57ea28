"""The lab itself: what it shows is real, each fault bites, and nothing else does."""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial

import pytest

from luigi_ha.appliance.lab import arp
from luigi_ha.appliance.lab.errors import LabError, NoBite, NoLab, WrongUse
from luigi_ha.appliance.lab.faults import Faults
from luigi_ha.appliance.lab.holders import Holders
from luigi_ha.appliance.lab.lab import Lab
from luigi_ha.appliance.lab.looking import looking
from luigi_ha.appliance.lab.network import Filter
from luigi_ha.appliance.lab.plan import ETCD_PORT, OBSERVER, PORT, POSTGRES_PORT, VIP
from luigi_ha.appliance.lab.targets import Target, found
from tests.support.patience import patient

CONNECT = """
import socket, sys, threading
def connect(address):
    socket.create_connection((address, int(sys.argv[1])), 0.6)
    print(address)
threading.excepthook = lambda _: None
for address in sys.argv[2:]:
    threading.Thread(target=connect, args=(address,)).start()
"""


def connected(lab: Lab, name: str, addresses: Sequence[str], port: int, account: str = "root") -> set[str]:
    """What a program of that account on the host can connect to: independent of the lab's own probes."""
    program = ["setpriv", f"--reuid={account}", "python3", "-IS", "-c", CONNECT, str(port), *addresses]
    return set(lab.run(name, ["env", "PATH=/usr/bin:/usr/sbin", *program]).stdout.split())


def connects(lab: Lab, name: str, address: str, port: int) -> bool:
    return bool(connected(lab, name, [address], port))


def eventually(true: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + patient(seconds)
    while not true():
        assert time.monotonic() < deadline, "did not become true in time"
        time.sleep(0.1)


def history(lab: Lab, name: str) -> list[dict[str, object]]:
    lines = (lab.plan.logs / f"{name}-host.log").read_text().splitlines()
    return [json.loads(line) for line in lines]


def a_replica(lab: Lab) -> str:
    """The host whose loss PostgreSQL does not feel."""
    now = lab.state()
    spared = (now.primary, *now.synchronous)
    return next(host.name for host in lab.plan.nodes if host.name not in spared)


def test_it_is_up_and_the_client_reaches_the_scheduler_at_its_address(lab: Lab) -> None:
    now = lab.state()
    assert now.vip_holder == now.leader
    assert now.primary is not None
    assert len(now.synchronous) == 1
    status, said = lab.ask("client", VIP, PORT, "/api/cluster")
    assert (status, said["leader"]) == (200, now.leader)
    commit = lab.run(now.primary, ["psql", "-Atqc", "SHOW synchronous_commit", "-U", "luigi", "luigi"])
    assert commit.stdout.strip() == "on"


def test_a_host_sees_itself_alone(lab: Lab) -> None:
    said = lab.run("n2", ["sh", "-c", "hostname; ls /proc | grep -c '^[0-9]*$'; cat /proc/1/cmdline | tr '\\0' ' '"])
    name, count, init = said.stdout.splitlines()
    assert name == "n2"
    assert int(count) < 60
    assert "--host n2" in init
    assert not connects(lab, "client", "127.0.0.1", ETCD_PORT)  # there is no way out of the lab's network


@pytest.mark.parametrize("what", [Target.ETCD, Target.PATRONI, Target.POSTGRES])
def test_what_is_killed_is_dead_and_comes_back(lab: Lab, what: Target) -> None:
    name = a_replica(lab)
    before = {process.pid for process in found(lab.init(name), what)}
    assert lab.faults.kill(name, what).proof.startswith("dead")
    assert not before & {process.pid for process in found(lab.init(name), what)}
    eventually(lambda: found(lab.init(name), what))


def test_what_is_frozen_stands_still_until_it_is_thawed(lab: Lab) -> None:
    name = a_replica(lab)
    host = lab.plan.host(name)
    with closing(lab.socket_in("observer")) as asking:
        lab.faults.freeze(name, Target.HOST)
        asking.settimeout(1)
        asking.connect((host.address, ETCD_PORT))  # its kernel goes on
        asking.sendall(b"GET /health HTTP/1.0\r\n\r\n")
        with pytest.raises(TimeoutError):
            asking.recv(1)
        lab.faults.thaw(name)
        asking.settimeout(patient(10))
        assert asking.recv(1) == b"H"


def test_the_death_of_serve_ends_with_a_sweep_the_stop_hook_and_a_new_start(lab: Lab) -> None:
    name = a_replica(lab)
    init = lab.init(name)
    eventually(lambda: found(init, Target.SCHEDULER))
    (scheduler,) = found(init, Target.SCHEDULER)
    seen = len(history(lab, name))
    lab.faults.kill(name, Target.KEEPER)
    eventually(lambda: "started" in [line["event"] for line in history(lab, name)[seen:]])
    events = [line for line in history(lab, name)[seen:] if line["service"] == "serve"]
    names = [line["event"] for line in events]
    assert names[0] == "ended"
    assert names[-2:] == ["hook_done", "started"]
    assert next(line["code"] for line in events if line["event"] == "hook_done") == 0
    assert scheduler.pid not in {process.pid for process in found(lab.init(name), Target.SCHEDULER)}


def test_without_the_stop_hook_it_is_not_run(lab: Lab) -> None:
    name = a_replica(lab)
    lab.stop_hook(on=False)
    try:
        eventually(lambda: found(lab.init(name), Target.KEEPER))
        seen = len(history(lab, name))
        lab.faults.kill(name, Target.BOTH)
        eventually(lambda: "started" in [line["event"] for line in history(lab, name)[seen:]])
        assert "hook_done" not in [line["event"] for line in history(lab, name)[seen:]]
    finally:
        lab.stop_hook(on=True)


def test_a_cut_host_reaches_nobody_but_itself_until_it_is_healed(lab: Lab) -> None:
    name = a_replica(lab)
    host = lab.plan.host(name)
    lab.faults.cut(name)
    assert not connects(lab, "observer", host.address, ETCD_PORT)
    assert connects(lab, name, host.address, ETCD_PORT)
    assert "LOWER_UP" in lab.run(name, ["ip", "link", "show", "eth0"]).stdout  # the carrier stays
    lab.faults.heal(name)
    assert connects(lab, "observer", host.address, ETCD_PORT)


def test_two_hosts_can_be_cut_from_each_other_alone(lab: Lab) -> None:
    name, other = "observer", lab.plan.host("n1")
    lab.faults.cut(name, other.name)
    assert not connects(lab, name, other.address, ETCD_PORT)
    assert connects(lab, name, lab.plan.host("n2").address, ETCD_PORT)
    lab.faults.heal(name)
    assert connects(lab, name, other.address, ETCD_PORT)


@pytest.mark.parametrize(
    ("cut", "port"), [(Faults.cut_etcd, ETCD_PORT), (Faults.cut_postgres, POSTGRES_PORT)], ids=["etcd", "postgres"]
)
def test_luigi_ha_alone_is_cut_off(lab: Lab, cut: Callable[..., object], port: int) -> None:
    name = a_replica(lab)
    for whole_host in (False, True):
        cut(lab.faults, name, whole_host=whole_host)
        addresses = [node.address for node in lab.plan.nodes]
        assert not connected(lab, name, addresses, port)
        spared = connected(lab, name, addresses, port, account="postgres")
        assert spared == (set() if whole_host else set(addresses))
        lab.faults.heal(name)
    assert connected(lab, name, addresses, port) == set(addresses)


def test_an_unplugged_host_is_gone_at_once_and_comes_back_with_its_disk(lab: Lab) -> None:
    name = a_replica(lab)
    host = lab.plan.host(name)
    with lab.run_in(name, ["sleep", "1000"]) as running, closing(lab.socket_in("observer")) as asking:
        asking.settimeout(2)
        asking.connect((host.address, ETCD_PORT))
        lab.faults.unplug(name)
        assert running.wait(patient(5)) != 0
        with pytest.raises(TimeoutError):  # not a reset, not an end: a dead machine says no farewell
            asking.recv(1)
    with pytest.raises(NoLab):
        lab.run(name, ["true"])
    eventually(lambda: lab.leader() is not None)
    member = lab.plan.of(host) / "etcd/data/member"
    before = member.stat().st_ino
    lab.faults.plug(name)
    lab.wait_until_ready(serve=False)
    assert member.stat().st_ino == before


def test_leaderships_move_where_they_are_asked_to(lab: Lab) -> None:
    now = lab.state()
    etcd = next(node.name for node in lab.plan.nodes if node.name != now.etcd_leader)
    lab.faults.move_etcd_leader(etcd)
    primary = a_replica(lab)  # not the synchronous standby: it must become that first
    lab.faults.switchover_postgres(primary)
    eventually(lambda: lab.state().primary == primary and lab.state().synchronous)
    assert lab.resolve("primary").name == primary


def test_a_fault_that_does_not_bite_says_so(lab: Lab) -> None:
    harmless = Filter("nothing", ("tcp dport 9",))
    with pytest.raises(NoBite):
        lab.faults._filter("harmless", lab.plan.host("n1"), harmless, lab.plan.nodes, ETCD_PORT)
    lab.faults.heal("n1")


def test_what_cannot_be_done_is_refused(lab: Lab) -> None:
    with pytest.raises(WrongUse, match="no host 'n9'"):
        lab.faults.cut("n9")
    with pytest.raises(WrongUse, match="no keeper runs on client"):
        lab.faults.kill("client", Target.KEEPER)
    with pytest.raises(WrongUse, match="plugged in already"):
        lab.faults.plug("n1")
    lab.faults.cut("client")
    with pytest.raises(LabError, match="did not answer before"):
        lab.faults.cut("client")


def test_signals_reach_the_program_and_not_its_wrapper(lab: Lab) -> None:
    with lab.run_in(
        "client", ["sh", "-c", "trap 'exit 7' TERM; echo on; while :; do sleep 0.1; done"], stdout=-1
    ) as sh:
        assert sh.stdout.readline() == b"on\n"
        sh.terminate()
        assert sh.wait(patient(5)) == 7


def test_who_has_the_address_and_who_answers_for_it_are_seen_from_outside(lab: Lab) -> None:
    leader, holders = str(lab.leader()), Holders(lab, VIP)
    others = {host.name for host in lab.plan.servers} - {leader}
    kernels: list[list[str]] = []
    answers: list[str] = []
    asking = partial(arp.ask, lab.init(OBSERVER.name).pid, OBSERVER, lab.plan.hosts, VIP)

    def until(true: Callable[[], object]) -> None:
        deadline = time.monotonic() + patient(30)
        while not true():
            assert time.monotonic() < deadline, (kernels, answers)
            time.sleep(0.01)

    looks = {
        "kernels": partial(holders.watch, lambda _at, names: kernels.append(names)),
        "wire": partial(asking, lambda _at, name: answers.append(name)),
    }
    with looking(looks) as failed:
        until(lambda: kernels[-1:] == [[leader]] and answers[-1:] == [leader])
        lab.faults.freeze(leader, Target.HOST)  # it is looked at all the same; the kernel ends its address in time
        until(lambda: set(kernels[-1]) & others and answers[-1] in others)
        lab.faults.thaw(leader)
        until(lambda: holders.now() == [lab.leader()])
    assert failed == []
    assert kernels[-1] == [answers[-1]] == [lab.leader()]


def test_a_look_that_ends_early_is_told() -> None:
    def fails(_over: object) -> None:
        raise OSError("the segment is gone")

    with looking({"wire": fails, "kernels": lambda over: over.wait()}) as failed:
        pass
    assert failed == ["wire: OSError: the segment is gone"]
