"""Two nodes whose options differ: what would lock clients out keeps the second from joining, the rest is told."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from luigi_ha.appliance.config import Serve
from luigi_ha.appliance.config.options import Options
from luigi_ha.appliance.config.shared import different, digests
from luigi_ha.appliance.engine.settings import Settings
from luigi_ha.appliance.lab.ports import free_port
from luigi_ha.appliance.node import Node as Scheduler
from luigi_ha.appliance.node import NodeOptions
from luigi_ha.ha.keeper.messages import Peer
from tests.pair.running import Node, Pair, pair
from tests.pair.test_pair import luigi_ha
from tests.support.patience import patient


def another(two: Pair, directory: Path, port: int = 0, **environment: str) -> Node:
    directory.mkdir()
    given = {f"LUIGI_HA_{name.upper()}": value for name, value in environment.items()}
    node = Node(directory, len(two.nodes) + 1, port or two.port, given, two.database)
    two.nodes.append(node)
    return node


@pytest.mark.parametrize(
    ("name", "options"),
    [("auth", {"auth": "on"}), ("host", {"host": "127.0.0.2"}), ("port", {"port": "another"})],
)
def test_what_would_lock_clients_out_keeps_a_node_from_joining(
    tmp_path: Path, name: str, options: dict[str, str]
) -> None:
    one = Pair(tmp_path)
    try:
        one.start()
        leader = one.leader()
        port = free_port() if "port" in options else 0
        if "host" in options:
            node = Node(tmp_path, 2, one.port, {}, one.database, host=options["host"])
            one.nodes.append(node)
        else:
            node = another(one, tmp_path / "other", port, **{key: options[key] for key in options if key != "port"})
        assert node.popen.wait(patient(60)) == 2, node.log
        assert f"its options would lock out the clients of {leader.name}" in node.log
        assert f"{name} (here " in node.log
        assert "transition=stand_by" not in node.log
        assert one.leader() is leader
    finally:
        one.end()


def test_other_differences_are_degraded_on_both_and_named_by_doctor(tmp_path: Path) -> None:
    one = Pair(tmp_path)
    try:
        one.start()
        one.leader()
        node = another(one, tmp_path / "other", scheduler_retry_delay="77", resources_gpu="3", call_budget="8")
        one.eventually(lambda: "transition=stand_by" in node.log, "it joins")
        for each, here in zip(one.nodes, ("(here ", "(here 77"), strict=True):

            def told(each: Node = each, here: str = here) -> bool:
                said: dict[str, Any] = one.cluster()
                text = " ".join(said["degraded"])
                names = ("scheduler.retry_delay", "resources", "call_budget")
                return said["node"] == each.name and all(name in text for name in names) and here in text

            one.eventually(told, each.name)
            one.eventually(lambda each=each: "options_differ" in each.log, "a line")
        found = luigi_ha("doctor", "--database", one.database, "--port", str(one.port))
        assert f"{node.name}: has other options than {one.nodes[0].name}" in found.stdout
        assert "scheduler.retry_delay" in found.stdout
        other = one.leadership()[0]
        one.nodes[0].kill_both()
        one.eventually(lambda: one.leader(after=other) is node, "it takes over all the same")
    finally:
        one.end()


def test_nodes_with_the_same_options_say_nothing(tmp_path: Path) -> None:
    with pair(tmp_path) as two:
        two.eventually(lambda: two.cluster()["degraded"] == [], "none")
        assert all("options_differ" not in node.log for node in two.nodes)


def cluster(**given: Any) -> Options:
    return Options(serve=Serve(database="postgresql://u@h/d", etcd_endpoints=("http://h:2379",), **given))


@pytest.mark.parametrize(
    ("one", "other", "names"),
    [
        ({}, {}, []),
        ({"name": "n1", "host": "10.0.0.1", "auth": "on"}, {"name": "n2", "host": "10.0.0.2", "auth": "on"}, []),
        ({"host": "127.0.0.1"}, {"host": "10.0.0.1"}, ["auth"]),  # auto
        ({"port": 8082}, {"port": 8083}, []),  # behind a load balancer
        ({"vip": ("10.0.0.9/32",), "port": 8082}, {"vip": ("10.0.0.9/32",), "port": 8083}, ["port"]),
        ({"vip": ("10.0.0.9/32",)}, {}, ["vip"]),
        ({"tls_certificate": "a"}, {"tls_certificate": "b"}, []),
        ({"tls_certificate": "a"}, {}, ["tls"]),
        ({"durability": "strict"}, {}, ["durability"]),
        ({"lease_ttl": 5.0, "auth": "off"}, {"auth": "on"}, ["auth", "lease_ttl"]),
        ({"database_password": "x"}, {"database_password": "y"}, []),
    ],
)
def test_what_must_be_the_same(one: dict[str, Any], other: dict[str, Any], names: list[str]) -> None:
    assert different(digests(cluster(**one)), digests(cluster(**other))) == names
    assert different(digests(cluster(**other)), digests(cluster(**one))) == names


def test_a_node_that_tells_nothing_differs_in_nothing() -> None:
    ours = digests(Options(scheduler=Settings(retry_delay=5.0)))
    for nothing in (None, {}, [], "x", {"another.option": "1"}):
        assert different(ours, nothing) == []


@pytest.mark.parametrize(("address", "locked_out"), [("https://n1:8082", True), ("http://n1:8082", False)])
def test_a_leader_that_speaks_tls_where_we_do_not_need_not_answer_for_that_to_be_known(
    address: str, locked_out: bool
) -> None:
    async def scenario() -> None:
        node = Scheduler(NodeOptions(cluster(host="127.0.0.1"), "postgresql://u@h/d"))
        node.roles.leader = Peer("n1", address, 7)
        node.sameness.compare({"n1": None})
        assert (node.sameness.locked_out is not None) is locked_out
        assert not locked_out or "tls (here off)" in str(node.sameness.locked_out)

    asyncio.run(scenario())
