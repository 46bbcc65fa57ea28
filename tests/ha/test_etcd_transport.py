"""What a transport promises, against a real three-member cluster and members that are not what they seem."""

import asyncio
import time
from contextlib import aclosing
from dataclasses import replace

import pytest

from luigi_ha.ha.errors import Fatal, HaError, Unknown
from luigi_ha.ha.etcd.config import EtcdConfig
from luigi_ha.ha.etcd.transport import Delete, Guard, Item, Put, Transport
from luigi_ha.ha.etcd.watch import follow
from luigi_ha.ha.memory import Link, MemoryStore
from tests.ha.blackhole import Hole
from tests.ha.faults import eventually, first, follower, opened, values, write
from tests.ha.stale import stale_member
from tests.support.etcd import Cluster, etcd_cluster
from tests.support.patience import allowed


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


async def the_past_as_it_happened(transport: Transport, prefix: str) -> None:
    """The events of a transaction come together, also if it was executed before the stream began: between a key that
    goes and the one that says why, there is no state."""
    before = (await transport.txn([], [Put(prefix + "a", "1")], 2.0)).header.revision
    await transport.txn([], [Delete(prefix + "a"), Put(prefix + "b", "2"), Put(prefix + "c", "3")], 2.0)
    stream = await transport.stream(prefix, before + 1, 2.0)
    try:
        batch = await stream.next(5.0)
    finally:
        await stream.close()
    assert batch is not None
    keys = [event.key if isinstance(event, Item) else event for event in batch.events]
    assert sorted(keys) == [prefix + "a", prefix + "b", prefix + "c"]
    assert batch.revision == before + 1


def test_a_stream_tells_the_past_in_whole_transactions(
    cluster: Cluster, config: EtcdConfig, prefix: str, via: str
) -> None:
    async def play() -> None:
        async with opened(config, via) as transport:
            await the_past_as_it_happened(transport, prefix)

    asyncio.run(play())


def test_a_stream_in_memory_tells_the_past_in_whole_transactions() -> None:
    async def play() -> None:
        await the_past_as_it_happened(Link(MemoryStore()), "/ours/")

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
            assert 0.3 < time.monotonic() - began < allowed(0.9, began)

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
