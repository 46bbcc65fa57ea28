"""Leadership in memory: the election of `luigi_ha.ha.etcd.elector` over a store that lives in this process.

The store keeps etcd's rules (revisions, leases, guarded transactions, streams, compaction), is as unhelpful as etcd may
be (a lease ends exactly at its ttl), and takes its time from the running event loop. On a loop with virtual time every
interleaving of requests, replies and expiry can be played through. `Link` is the network between one node and the
store: it decides for every call how long the request and the reply take, and which of them is lost.

Not promised: anything beyond this process.
"""

import asyncio
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import TypeVar

from luigi_ha.ha.elector import Candidate
from luigi_ha.ha.errors import HaError, Unknown
from luigi_ha.ha.etcd.elector import EtcdElector
from luigi_ha.ha.etcd.failures import LeaseNotFound
from luigi_ha.ha.etcd.transport import (
    Batch,
    Change,
    Compacted,
    Delete,
    Field,
    Guard,
    Header,
    Item,
    Listing,
    Outcome,
    Put,
)
from luigi_ha.ha.lease import Timing

_Value = TypeVar("_Value")


@dataclass(slots=True)
class _Lease:
    ttl: float
    ends: float


@dataclass(frozen=True, slots=True)
class Delay:
    """What the network does to one call, in seconds; infinity: lost."""

    request: float = 0.0
    reply: float = 0.0


class MemoryStore:
    """What etcd would keep. Belongs to one event loop."""

    def __init__(self, least_ttl: float = 0.0) -> None:
        self.items: dict[str, Item] = {}
        self.leases: dict[int, _Lease] = {}
        self.least_ttl = least_ttl
        self.revision = 1
        self._history: list[tuple[int, Item | str, str]] = []  # (revision, event, key)
        self._compacted = 0
        self._streams: set[MemoryStream] = set()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    def header(self) -> Header:
        return Header(1, 1, self.revision, 1)

    def read(self, prefix: str) -> Listing:
        self._expire()
        return Listing(self.header(), {key: item for key, item in self.items.items() if key.startswith(prefix)})

    def txn(self, guards: Sequence[Guard], changes: Sequence[Change]) -> Outcome:
        self._expire()
        for guard in guards:
            item = self.items.get(guard.key)
            if _guarded(item, guard.field) != guard.revision:
                return Outcome(self.header(), False)
        for change in changes:
            if isinstance(change, Put) and change.lease and change.lease not in self.leases:
                raise LeaseNotFound(f"no lease {change.lease}")
        self._apply(changes)
        return Outcome(self.header(), True)

    def grant(self, lease: int, ttl: float) -> float:
        self._expire()
        if lease in self.leases:
            raise Unknown("lease already exists")
        ttl = max(ttl, self.least_ttl)
        self.leases[lease] = _Lease(ttl, self._now() + ttl)
        self._wake_at_expiry(ttl)
        return ttl

    def keep_alive(self, lease: int) -> float:
        self._expire()
        found = self.leases.get(lease)
        if found is None:
            return 0.0
        found.ends = self._now() + found.ttl
        self._wake_at_expiry(found.ttl)
        return found.ttl

    def revoke(self, lease: int) -> None:
        self._expire()
        if self.leases.pop(lease, None) is not None:
            self._remove_those_of({lease})

    def compact(self) -> None:
        """Forget the past: streams from an earlier revision are refused."""
        self._compacted = self.revision
        self._history.clear()

    def stream(self, prefix: str, revision: int) -> "MemoryStream":
        self._expire()
        if revision <= self._compacted:
            raise Compacted(f"events before revision {self._compacted} are gone")
        stream = MemoryStream(self, prefix)
        past = (entry for entry in self._history if entry[0] >= revision)
        for each, entries in groupby(past, key=lambda entry: entry[0]):  # of one transaction: together
            stream.tell(each, [(key, event) for _, event, key in entries])
        self._streams.add(stream)
        return stream

    def forget(self, stream: "MemoryStream") -> None:
        self._streams.discard(stream)

    def break_streams(self) -> None:
        """What watchers see when their endpoint dies."""
        for stream in self._streams:
            stream.fail(Unknown("the endpoint died"))
        self._streams.clear()

    def _apply(self, changes: Sequence[Change]) -> None:
        gone = {change.key for change in changes if not isinstance(change, Put)} & self.items.keys()
        puts = [change for change in changes if isinstance(change, Put)]
        if not gone and not puts:
            return
        self.revision += 1
        events: list[tuple[str, Item | str]] = []
        for key in sorted(gone):
            del self.items[key]
            events.append((key, key))
        for put in puts:
            item = Item(put.key, put.value, self.revision, self.revision, put.lease)
            if put.key in self.items:
                item = replace(item, create_revision=self.items[put.key].create_revision)
            self.items[put.key] = item
            events.append((put.key, item))
        self._history += [(self.revision, event, key) for key, event in events]
        for stream in self._streams:
            stream.tell(self.revision, events)

    def _expire(self) -> None:
        now = self._now()
        ended = {lease for lease, found in self.leases.items() if found.ends <= now}
        for lease in ended:
            del self.leases[lease]
        self._remove_those_of(ended)

    def _remove_those_of(self, leases: set[int]) -> None:
        """Each lease's keys go in a revision of their own, as in etcd."""
        for lease in sorted(leases):
            self._apply([Delete(item.key) for item in self.items.values() if item.lease == lease])

    def _wake_at_expiry(self, ttl: float) -> None:
        asyncio.get_running_loop().call_later(ttl, self._expire)


class MemoryStream:
    """See `luigi_ha.ha.etcd.transport.Stream`."""

    def __init__(self, store: MemoryStore, prefix: str) -> None:
        self._store = store
        self._prefix = prefix
        self._arrived: asyncio.Queue[Batch | Unknown] = asyncio.Queue()
        self.silent = False

    def tell(self, revision: int, events: Sequence[tuple[str, Item | str]]) -> None:
        ours = [event for key, event in events if key.startswith(self._prefix)]
        if ours and not self.silent:
            self._arrived.put_nowait(Batch(revision, ours))

    def fail(self, error: Unknown) -> None:
        self._arrived.put_nowait(error)

    async def next(self, seconds: float) -> Batch | None:
        try:
            async with asyncio.timeout(seconds):
                arrived = await self._arrived.get()
        except TimeoutError:
            return None
        if isinstance(arrived, Unknown):
            raise arrived
        return arrived

    async def probe(self, budget: float) -> Listing:  # noqa: ARG002 - it answers at once
        return self._store.read(self._prefix)

    async def close(self) -> None:
        self._store.forget(self)


class Link:
    """See `luigi_ha.ha.etcd.transport.Transport`: one node's way to the store. `delays` decides about each call.

    A request outlives the call that made it: late, it is executed all the same, as in a network.
    """

    def __init__(
        self, store: MemoryStore, delays: Callable[[str, int], Delay] = lambda _call, _number: Delay()
    ) -> None:
        self.store = store
        self.delays = delays
        self.calls: list[str] = []

    async def read(self, prefix: str, budget: float) -> Listing:
        return await self._through("read", budget, lambda: self.store.read(prefix))

    async def txn(self, guards: Sequence[Guard], changes: Sequence[Change], budget: float) -> Outcome:
        return await self._through("txn", budget, lambda: self.store.txn(guards, changes))

    async def grant(self, lease: int, ttl: int, budget: float) -> float:
        return await self._through("grant", budget, lambda: self.store.grant(lease, ttl))

    async def keep_alive(self, lease: int, budget: float) -> float:
        return await self._through("keep_alive", budget, lambda: self.store.keep_alive(lease))

    async def revoke(self, lease: int, budget: float) -> None:
        await self._through("revoke", budget, lambda: self.store.revoke(lease))

    async def stream(self, prefix: str, revision: int, budget: float) -> MemoryStream:
        return await self._through("stream", budget, lambda: self.store.stream(prefix, revision))

    async def spread(self, shun: Collection[str], budget: float) -> None:
        """There is one store, and nobody else."""

    async def close(self) -> None:
        """Nothing to close."""

    async def _through(self, call: str, budget: float, work: Callable[[], _Value]) -> _Value:
        loop = asyncio.get_running_loop()
        delay = self.delays(call, len(self.calls))
        self.calls.append(call)
        done: asyncio.Future[_Value] = loop.create_future()

        def execute() -> None:
            try:
                value = work()
            except HaError as error:
                answer(partial(done.set_exception, error))
            else:
                answer(lambda: done.set_result(value))

        def answer(tell: Callable[[], None]) -> None:
            if math.isfinite(delay.reply):
                loop.call_later(delay.reply, lambda: None if done.done() else tell())

        if math.isfinite(delay.request):
            loop.call_later(delay.request, execute)
        try:
            async with asyncio.timeout(max(0.0, budget)):
                return await done
        except TimeoutError:
            raise Unknown(f"{call}: no answer within {budget:.3g} s") from None


def _guarded(item: Item | None, field: Field) -> int:
    """What a guard looks at."""
    if item is None:
        return 0
    return {Field.CREATED: item.create_revision, Field.MODIFIED: item.mod_revision, Field.LEASE: item.lease}[field]


def memory_elector(link: Link, candidate: Candidate, timing: Timing, probe_every: float = 1.0) -> EtcdElector:
    """An elector over the store at the other end of `link`, on the running loop's clock."""
    clock = asyncio.get_running_loop().time
    return EtcdElector(link, candidate, timing, clock=clock, probe_every=probe_every)
