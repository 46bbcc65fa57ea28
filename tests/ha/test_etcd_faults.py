"""The transport and the election against a real three-member etcd whose members die, freeze, vanish and come back.

`pytest -s` prints the gaps that were measured.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import pytest

from luigi_ha.ha.clock import monotonic
from luigi_ha.ha.errors import Definitive, LeaseLost, Unknown
from luigi_ha.ha.etcd.config import EtcdConfig
from luigi_ha.ha.etcd.elector import EtcdElector
from luigi_ha.ha.etcd.opening import etcd_transport
from luigi_ha.ha.hold import hold
from luigi_ha.ha.lease import Timing
from tests.ha.blackhole import Hole
from tests.ha.conftest import TIMING
from tests.ha.faults import AnyTransport, both, eventually, first, follower, opened, values, write
from tests.ha.worlds import candidate
from tests.support.etcd import Cluster, Member
from tests.support.patience import allowed, patient

LONG = Timing(ttl=6.0, renew_every=0.3, request_timeout=2.5, margin=0.5)


@dataclass
class Kept:
    """What a leader went through."""

    renewals: int = 0
    longest: float = 0.0  # s, one renewal
    failures: int = 0
    invalid: int = 0


async def keep(elector: EtcdElector, kept: Kept) -> None:
    """Lead as `hold` does, and measure."""
    while True:
        began = time.monotonic()
        try:
            await elector.renew()
        except Unknown:
            kept.failures += 1
        else:
            kept.renewals += 1
            kept.longest = max(kept.longest, time.monotonic() - began)
        kept.invalid += not elector.lease.valid(monotonic())
        await asyncio.sleep(max(0.0, elector.timing.renew_every - (time.monotonic() - began)))


async def lead_through(
    config: EtcdConfig, prefix: str, via: str, timing: Timing, trouble: Callable[[AnyTransport], None], seconds: float
) -> Kept:
    """Lead, meet the trouble, lead on; the lease must not have ended."""
    transport = etcd_transport(config, via)
    elector = EtcdElector(transport, candidate("a"), timing, prefix)
    epoch = await elector.campaign()
    kept = Kept()
    keeping = asyncio.create_task(keep(elector, kept))
    await asyncio.sleep(0.5)
    used = transport.endpoints.current
    trouble(transport)
    await asyncio.sleep(seconds)
    keeping.cancel()
    await asyncio.wait([keeping])
    assert keeping.cancelled(), keeping.exception()
    assert elector.lease.valid(monotonic())
    assert elector.epoch == epoch
    assert kept.invalid == 0
    assert kept.renewals >= 3
    assert transport.endpoints.current != used, "the trouble did not touch the endpoint in use"
    await elector.close()
    return kept


def in_use(cluster: Cluster, transport: AnyTransport) -> Member:
    return next(
        each for each in cluster.members if each.endpoint == transport.config.endpoints[transport.endpoints.current]
    )


def test_the_member_in_use_is_killed_and_the_lease_kept(cluster: Cluster, config: EtcdConfig, prefix: str) -> None:
    config = replace(config, endpoints=first(cluster, follower(cluster)))

    async def play(via: str) -> None:
        kept = await lead_through(config, prefix + via, via, TIMING, lambda used: in_use(cluster, used).kill(), 1.2)
        print(f"{via}: member killed: longest renewal {kept.longest:.3f} s")
        assert kept.longest < 1.0

    both(play)


def test_the_etcd_leader_is_killed_and_the_lease_kept(cluster: Cluster, config: EtcdConfig, prefix: str) -> None:
    leader = cluster.leader()
    config = replace(config, endpoints=first(cluster, leader))

    async def play(via: str) -> None:
        kept = await lead_through(config, prefix + via, via, LONG, lambda _used: leader.kill(), 2.5)
        print(f"{via}: etcd's leader killed (500 ms elections): longest renewal {kept.longest:.3f} s, "
              f"{kept.failures} failed")  # fmt: skip
        assert kept.longest < 3.0

    both(play)


def test_a_frozen_member_in_use_costs_half_an_attempt(cluster: Cluster, config: EtcdConfig, prefix: str) -> None:
    config = replace(config, endpoints=first(cluster, follower(cluster)))

    async def play(via: str) -> None:
        kept = await lead_through(config, prefix + via, via, TIMING, lambda used: in_use(cluster, used).freeze(), 1.5)
        print(f"{via}: member frozen: longest renewal {kept.longest:.3f} s (attempt {config.attempt_timeout} s)")
        assert config.attempt_timeout / 2 <= kept.longest < config.attempt_timeout + 0.4

    both(play)


def test_a_black_holed_endpoint_costs_half_an_attempt_and_no_event(
    cluster: Cluster, config: EtcdConfig, prefix: str
) -> None:
    """Two of three are healthy. The lease is kept, and a watch through the hole loses nothing."""

    async def play(via: str) -> None:
        key = prefix + via
        async with Hole(port) as hole, opened(config, via) as writer:
            through = replace(config, endpoints=(hole.endpoint, *config.endpoints))
            async with opened(through, via) as watcher, values(watcher, key + "/w/") as seen:
                writing = asyncio.create_task(write(writer, key + "/w/k", 80, 0.03))
                kept = await lead_through(through, key + "/e/", via, TIMING, lambda _used: hole.swallow(), 2.0)
                await writing
                await eventually(lambda: len(seen) == 80)
                assert seen == [str(number) for number in range(80)]
                assert hole.swallowed, "the fault did not bite"
        print(f"{via}: endpoint black-holed: longest renewal {kept.longest:.3f} s (attempt {config.attempt_timeout} s)")
        assert config.attempt_timeout / 2 <= kept.longest < config.attempt_timeout + 0.4

    port = follower(cluster).port
    both(play)


async def campaign_until_won(elector: EtcdElector) -> int:
    async with asyncio.timeout(patient(10)):
        while True:
            with suppress(Unknown, Definitive):
                return await elector.campaign()
            await asyncio.sleep(0.1)


def test_quorum_lost_is_unknown_until_the_deadline_then_over(cluster: Cluster, config: EtcdConfig, prefix: str) -> None:
    async def unknown(elector: EtcdElector) -> None:
        began, deadline = monotonic(), elector.lease.deadline
        with pytest.raises(Unknown):
            await elector.renew()
        assert monotonic() - began < allowed(TIMING.request_timeout + 0.4, began)
        assert isinstance(await hold(elector), LeaseLost)
        print(f"quorum lost: stopped {monotonic() - deadline:+.3f} s from the deadline")
        assert deadline <= monotonic() < deadline + 0.3
        with pytest.raises(Unknown):
            await elector.campaign()

    async def play() -> None:
        electors = [
            EtcdElector(etcd_transport(config, via), candidate("a"), TIMING, prefix + via + "/")
            for via in ("gateway", "grpc")
        ]
        epochs = [await each.campaign() for each in electors]
        for each in electors:
            await each.renew()
        for member in cluster.members[1:]:
            member.kill()
        await asyncio.gather(*(unknown(each) for each in electors))
        await asyncio.to_thread(cluster.start)
        for each, epoch in zip(electors, epochs, strict=True):
            assert await campaign_until_won(each) > epoch
            await each.close()

    asyncio.run(play())


def test_quorum_lost_and_back_before_the_deadline_keeps_the_epoch(
    cluster: Cluster, config: EtcdConfig, prefix: str
) -> None:
    async def play() -> None:
        electors = [
            EtcdElector(etcd_transport(config, via), candidate("a"), LONG, prefix + via + "/")
            for via in ("gateway", "grpc")
        ]
        epochs = [await each.campaign() for each in electors]
        holding = [asyncio.create_task(hold(each)) for each in electors]
        for member in cluster.members[1:]:
            member.freeze()
        await asyncio.sleep(1.0)
        assert not any(each.done() for each in holding)
        for member in cluster.members[1:]:
            member.thaw()
        before = [each.lease.deadline for each in electors]
        await eventually(lambda: all(each.lease.deadline > was for each, was in zip(electors, before, strict=True)))
        assert [each.epoch for each in electors] == epochs
        for task in holding:
            task.cancel()
        await asyncio.wait(holding)
        for each in electors:
            await each.close()

    asyncio.run(play())
