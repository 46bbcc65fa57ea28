"""The transport and the election against a real three-member etcd whose members die, freeze, vanish and come back.

`pytest -s` prints the gaps that were measured.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import pytest

from ha.clock import monotonic
from ha.errors import Definitive, Fatal, HaError, LeaseLost, Unknown
from ha.etcd.config import EtcdConfig
from ha.etcd.elector import EtcdElector
from ha.etcd.opening import etcd_transport
from ha.etcd.transport import Delete, Guard, Item, Put
from ha.etcd.watch import follow
from ha.hold import hold
from ha.lease import Timing
from tests.ha.blackhole import Hole
from tests.ha.conftest import TIMING
from tests.ha.stale import stale_member
from tests.ha.worlds import candidate
from tests.support.etcd import Cluster, Member, etcd_cluster

AnyTransport = Any  # Gateway | Grpc
LONG = Timing(ttl=6.0, renew_every=0.3, request_timeout=2.5, margin=0.5)


@asynccontextmanager
async def opened(config: EtcdConfig, via: str) -> AsyncIterator[AnyTransport]:
    made = etcd_transport(config, via)
    try:
        yield made
    finally:
        await made.close()


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


def both(play: Callable[[str], Coroutine[Any, Any, None]]) -> None:
    """Over each transport, at the same time."""

    async def main() -> None:
        await asyncio.gather(*(play(via) for via in ("gateway", "grpc")))

    asyncio.run(main())


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


def first(cluster: Cluster, member: Member) -> tuple[str, ...]:
    """All endpoints, beginning with this member's."""
    return (member.endpoint, *(each for each in cluster.endpoints if each != member.endpoint))


def follower(cluster: Cluster) -> Member:
    leader = cluster.leader()
    return next(each for each in cluster.members if each is not leader)


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


async def write(transport: AnyTransport, key: str, count: int, every: float) -> None:
    for number in range(count):
        while True:
            try:
                await transport.txn([], [Put(key, str(number))], 1.0)
            except Unknown:
                continue
            break
        await asyncio.sleep(every)


@asynccontextmanager
async def values(transport: AnyTransport, prefix: str) -> AsyncIterator[list[str]]:
    """Every value that is put from now on, once; a transaction sent twice puts the same value twice."""
    seen: list[str] = []
    listed = asyncio.Event()
    watching = asyncio.create_task(collect(transport, prefix, seen, listed))
    try:
        await listed.wait()
        yield seen
    finally:
        watching.cancel()
        await asyncio.wait([watching])


async def collect(transport: AnyTransport, prefix: str, seen: list[str], listed: asyncio.Event) -> None:
    async for step in follow(transport, prefix, 1.0, 0.3):
        listed.set()
        for event in step.events:
            if isinstance(event, Item) and event.value not in seen[-1:]:
                seen.append(event.value)


async def eventually(true: Callable[[], bool], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def campaign_until_won(elector: EtcdElector) -> int:
    async with asyncio.timeout(10):
        while True:
            with suppress(Unknown, Definitive):
                return await elector.campaign()
            await asyncio.sleep(0.1)


def test_quorum_lost_is_unknown_until_the_deadline_then_over(cluster: Cluster, config: EtcdConfig, prefix: str) -> None:
    async def unknown(elector: EtcdElector) -> None:
        began, deadline = monotonic(), elector.lease.deadline
        with pytest.raises(Unknown):
            await elector.renew()
        assert monotonic() - began < TIMING.request_timeout + 0.4
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


def test_a_watch_whose_member_dies_loses_nothing_and_repeats_nothing(
    cluster: Cluster, config: EtcdConfig, prefix: str, via: str
) -> None:
    async def play() -> None:
        victim = follower(cluster)
        through = replace(config, endpoints=first(cluster, victim))
        others = replace(config, endpoints=through.endpoints[1:])
        async with opened(through, via) as watcher, opened(others, via) as writer, values(watcher, prefix) as seen:
            writing = asyncio.create_task(write(writer, prefix + "k", 80, 0.01))
            await eventually(lambda: len(seen) > 10)
            victim.kill()
            await writing
            await eventually(lambda: len(seen) == 80)
            assert seen == [str(number) for number in range(80)]
            assert watcher.endpoints.current != 0

    asyncio.run(play())


def test_a_watch_from_a_compacted_revision_lists_anew(
    cluster: Cluster, config: EtcdConfig, prefix: str, via: str
) -> None:
    async def play() -> None:
        async with Hole(cluster.members[0].port) as hole, opened(config, via) as writer:
            only = replace(config, endpoints=(hole.endpoint,))
            async with opened(only, via) as watcher, aclosing(follow(watcher, prefix, 1.0, 0.2)) as steps:
                await anext(steps)
                await writer.txn([], [Put(prefix + "a", "1")], 1.0)
                assert [*(await anext(steps)).items] == [prefix + "a"]
                hole.swallow()
                later = asyncio.ensure_future(anext(steps))
                await asyncio.sleep(0.8)  # found silent
                await writer.txn([], [Put(prefix + "b", "2")], 1.0)
                done = await writer.txn([], [Delete(prefix + "a")], 1.0)
                await asyncio.to_thread(cluster.members[0].ask, "/v3/kv/compaction", revision=done.header.revision)
                hole.release()
                step = await later
                assert [*step.items] == [prefix + "b"]
                await writer.txn([], [Put(prefix + "c", "3")], 1.0)
                while prefix + "c" not in step.items:
                    step = await anext(steps)

    asyncio.run(play())


def test_a_reply_from_the_past_is_refused_and_another_member_asked(
    cluster: Cluster, config: EtcdConfig, prefix: str, via: str
) -> None:
    """patroni#3314, patroni#3359: a stale member answered after a partition healed, and the new leader stepped down."""

    async def play() -> None:
        async with opened(config, via) as fresh:
            past = (await fresh.read(prefix, 1.0)).header
            await fresh.txn([], [Put(prefix + "leader", "x")], 1.0)
            async with stale_member(via, past) as stale:
                endpoints = (config.endpoints[0], stale.endpoint)
                async with opened(replace(config, endpoints=endpoints), via) as both:
                    await both.read(prefix, 1.0)
                    both.endpoints.current = 1
                    assert prefix + "leader" in (await both.read(prefix, 1.0)).items
                    assert stale.asked
                async with opened(replace(config, endpoints=endpoints), via) as only_stale_left:
                    await only_stale_left.read(prefix, 1.0)
                    only_stale_left.endpoints.urls = endpoints[1:]
                    only_stale_left.endpoints.current = 0
                    with pytest.raises(Unknown, match="answers from the past"):
                        await only_stale_left.read(prefix, 0.3)

    asyncio.run(play())


def test_an_endpoint_of_another_cluster_is_refused(cluster: Cluster, config: EtcdConfig, prefix: str, via: str) -> None:
    async def play() -> None:
        with etcd_cluster(1) as other:
            async with opened(config, via) as ours:
                for _ in range(5):  # newer than anything in the other one
                    await ours.txn([], [Put(prefix + "leader", "x")], 1.0)
            async with opened(replace(config, endpoints=(other.endpoints[0], config.endpoints[0])), via) as mixed:
                await mixed.read(prefix, 1.0)
                mixed.endpoints.current = 1
                assert not (await mixed.read(prefix, 1.0)).items

    asyncio.run(play())


def test_nobody_there_is_unknown_within_the_budget(via: str) -> None:
    async def play() -> None:
        async with opened(EtcdConfig(("http://127.0.0.1:1", "http://127.0.0.1:2")), via) as nobody:
            began = time.monotonic()
            with pytest.raises(Unknown, match=r"127\.0\.0\.1:2"):
                await nobody.read("/x", 0.4)
            assert 0.3 < time.monotonic() - began < 0.9

    asyncio.run(play())


def test_a_put_under_a_lease_that_is_gone_is_definitive(config: EtcdConfig, prefix: str, via: str) -> None:
    async def play() -> None:
        async with opened(config, via) as transport:
            assert await transport.keep_alive(4711, 1.0) == 0
            await transport.revoke(4711, 1.0)
            with pytest.raises(HaError, match="lease not found") as refused:
                await transport.txn([Guard(prefix + "k", 0)], [Put(prefix + "k", "v", 4711)], 1.0)
            assert not isinstance(refused.value, Unknown | Fatal)

    asyncio.run(play())


def test_keys_and_values_survive_the_wire(config: EtcdConfig, prefix: str, via: str) -> None:
    async def play() -> None:
        async with opened(config, via) as transport:
            key, value = prefix + "ключ/\x00\u00ff", '{"name": "knoten-ä", "x": "\\u0000"}'
            await transport.txn([], [Put(key, value)], 1.0)
            found = (await transport.read(prefix, 1.0)).items
            assert found[key].value == value
            assert (await transport.txn([Guard(key, found[key].mod_revision)], [Delete(key)], 1.0)).succeeded
            assert not (await transport.txn([Guard(key, found[key].mod_revision)], [Put(key, "")], 1.0)).succeeded
            assert key not in (await transport.read(prefix, 1.0)).items

    asyncio.run(play())
