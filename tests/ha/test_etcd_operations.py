"""What a keeper and its supervisor ask of a real cluster besides the election. Over each transport where it differs."""

import asyncio
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from luigi_ha.ha.clock import monotonic
from luigi_ha.ha.elector import Candidate
from luigi_ha.ha.errors import Incoherent, LeaseLost
from luigi_ha.ha.etcd.config import EtcdConfig
from luigi_ha.ha.etcd.opening import etcd_elector, etcd_transport
from luigi_ha.ha.lease import Timing
from tests.ha.blackhole import Hole
from tests.ha.conftest import TIMING
from tests.ha.worlds import candidate
from tests.support.etcd import Cluster, Member, etcd_cluster
from tests.support.patience import allowed

ROOT = Path(__file__).resolve().parents[2]


def beginning_with(cluster: Cluster, member: Member) -> tuple[str, ...]:
    return (member.endpoint, *(each for each in cluster.endpoints if each != member.endpoint))


# ---------------------------------------------------------------------------------------------- etcd's leader elsewhere


def test_etcds_leader_leaves_our_host_once_and_leadership_is_kept(
    cluster: Cluster, config: EtcdConfig, prefix: str, via: str
) -> None:
    async def play() -> None:
        before = cluster.leader()
        elector = etcd_elector(
            replace(config, endpoints=beginning_with(cluster, before)), candidate("a"), TIMING, prefix, via
        )
        epoch = await elector.campaign()
        to = await elector.spread()
        assert to in cluster.endpoints
        assert to != before.endpoint
        assert cluster.leader().endpoint == to
        assert await elector.spread() is None
        await elector.renew()
        assert elector.epoch == epoch
        await elector.close()

    asyncio.run(play())


def test_etcds_leader_stays_where_nobody_else_is_well_or_it_is_not_ours(
    cluster: Cluster, config: EtcdConfig, via: str
) -> None:
    async def play() -> None:
        leader = cluster.leader()
        ours = replace(config, endpoints=beginning_with(cluster, leader))
        others = [member for member in cluster.members if member is not leader]
        for endpoints, own in (
            (ours.endpoints, False),
            (ours.endpoints[:1], True),
            (beginning_with(cluster, others[0]), True),
            ((leader.endpoint, "http://127.0.0.1:1"), True),
        ):
            transport = etcd_transport(replace(config, endpoints=endpoints, own_member=own), via)
            assert await transport.spread((), 1.0) is None
            await transport.close()
        others[0].freeze()
        transport = etcd_transport(ours, via)
        assert await transport.spread((), 1.5) == others[1].endpoint
        await transport.close()

    asyncio.run(play())


def test_etcds_leader_leaves_a_host_that_is_shunned_for_one_that_is_not(
    cluster: Cluster, config: EtcdConfig, via: str
) -> None:
    """The primary's host is another than ours: etcd's leader goes to the third."""

    async def play() -> None:
        leader = cluster.leader()
        ours, third = (member for member in cluster.members if member is not leader)
        named = tuple(  # members on one machine: each gets a name of its own for it
            member.endpoint.replace("127.0.0.1", host)
            for member, host in ((ours, "127.0.0.1"), (leader, "localhost"), (third, "127.0.0.1"))
        )
        transport = etcd_transport(replace(config, endpoints=named, own_member=True), via)
        assert await transport.spread((), 1.5) is None, "it is not on our host"
        assert await transport.spread({"elsewhere"}, 1.5) is None
        assert await transport.spread({"localhost"}, 1.5) == third.endpoint
        assert cluster.leader() is third
        assert await transport.spread({"localhost"}, 1.5) is None
        await transport.close()

    asyncio.run(play())


# -------------------------------------------------------------------------------------------------------- the stop hook

LEAD = """
import asyncio, sys
from luigi_ha.ha.etcd.config import EtcdConfig
from luigi_ha.ha.etcd.opening import etcd_elector
from tests.ha.conftest import TIMING
from tests.ha.worlds import candidate

async def main():
    elector = etcd_elector(EtcdConfig((sys.argv[1],), attempt_timeout=0.4), candidate("gone"), TIMING, sys.argv[2])
    await elector.register({"able": "yes"})
    print(await elector.campaign(), flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def test_the_stop_hook_frees_the_leadership_of_a_killed_process_at_once_though_an_endpoint_is_dead(
    cluster: Cluster, config: EtcdConfig, prefix: str, via: str
) -> None:
    timing = Timing(ttl=10.0, renew_every=0.3, request_timeout=0.9, margin=0.5)

    async def play(process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None
        epoch = int(process.stdout.readline())
        process.kill()
        async with Hole(cluster.members[0].port) as hole:
            hole.swallow()
            through = replace(config, endpoints=(hole.endpoint, *config.endpoints[1:]))
            began = time.monotonic()
            hook = etcd_elector(through, Candidate("hook", ""), timing, prefix, via)
            assert await hook.release("gone", "gone was stopped")
            view = await hook.observe()
            await hook.close()
            print(f"{via}: released after {time.monotonic() - began:.3f} s, one endpoint black-holed")
            assert time.monotonic() - began < allowed(1.0 + 0.5, began)
            assert hole.swallowed
        assert view.leader is None
        assert view.farewell is not None
        assert (view.farewell.name, view.farewell.epoch) == ("gone", epoch)
        successor = etcd_elector(config, candidate("bb"), TIMING, prefix, via)
        assert await successor.members() == []
        assert await successor.campaign() > epoch
        await successor.close()

    command = [sys.executable, "-c", LEAD, config.endpoints[1], prefix]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        try:
            asyncio.run(play(process))
        finally:
            process.kill()


# -------------------------------------------------------------------------------------------- the ttl that etcd grants


@pytest.mark.parametrize(("election", "floor"), [(2600, 4), (4000, 6)])
def test_the_ttl_that_etcd_grants_is_used_and_must_fit(election: int, floor: int) -> None:
    """etcd raises a ttl to one and a half elections, and says so only in its reply."""

    async def play(endpoint: str) -> None:
        elector = etcd_elector(EtcdConfig((endpoint,)), candidate("a"), Timing(ttl=3.0), "/floor/")
        before = monotonic()
        await elector.campaign()
        assert before + floor - 0.5 <= elector.lease.deadline <= monotonic() + floor - 0.5
        before = monotonic()
        await elector.renew()
        assert before + floor - 0.5 <= elector.lease.deadline <= monotonic() + floor - 0.5
        await elector.resign()
        with pytest.raises(LeaseLost):
            await elector.renew()
        await elector.close()
        # A margin that pays for 3 s and not for what is granted: refused, and nothing is left behind.
        tight = Timing(ttl=3.0, renew_every=0.3, request_timeout=1.2, margin=0.5, clock_rate_error=0.09)
        strict = etcd_elector(EtcdConfig((endpoint,)), candidate("a"), tight, "/floor/")
        with pytest.raises(Incoherent, match=rf"0\.09 \* {floor}"):
            await strict.campaign()
        assert (await strict.observe()).leader is None
        await strict.close()

    with etcd_cluster(1, options=[f"--election-timeout={election}"]) as cluster:
        asyncio.run(play(cluster.endpoints[0]))
