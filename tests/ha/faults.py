"""What the tests of a cluster in trouble share."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from luigi_ha.ha.errors import Unknown
from luigi_ha.ha.etcd.config import EtcdConfig
from luigi_ha.ha.etcd.grpc_library import library
from luigi_ha.ha.etcd.opening import etcd_transport
from luigi_ha.ha.etcd.transport import Item, Put
from luigi_ha.ha.etcd.watch import follow
from tests.support.etcd import Cluster, Member
from tests.support.patience import patient

AnyTransport = Any  # Gateway | Grpc


@asynccontextmanager
async def opened(config: EtcdConfig, via: str) -> AsyncIterator[AnyTransport]:
    made = etcd_transport(config, via)
    try:
        yield made
    finally:
        await made.close()


def both(play: Callable[[str], Coroutine[Any, Any, None]]) -> None:
    """Over each transport, at the same time."""

    async def main() -> None:
        await asyncio.gather(*(play(via) for via in ("gateway", "grpc")))

    library()  # loading it takes a second, in which nobody could renew anything
    asyncio.run(main())


def first(cluster: Cluster, member: Member) -> tuple[str, ...]:
    """All endpoints, beginning with this member's."""
    return (member.endpoint, *(each for each in cluster.endpoints if each != member.endpoint))


def follower(cluster: Cluster) -> Member:
    leader = cluster.leader()
    return next(each for each in cluster.members if each is not leader)


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
    deadline = time.monotonic() + patient(seconds)
    while not true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
