"""The port of leadership on etcd, or on anything else that speaks the transport.

Three keys under one prefix: `leader` (under the leader's lease; its create revision is the epoch), `successor` (under a
lease that lasts as long as the reservation) and `pause` (whom the pause keeps; under no lease).

Every doubt is settled the same way: by a linearizable read of the own key. A campaign has won if that key hangs on its
lease, whatever the transaction's reply was and whether there was one (etcd#11051: won with a lease that was gone). A
renewal counts if that key is still there *after* the keepalive: a leader of etcd that is cut off may still answer
keepalives. A keepalive that finds no lease is believed if the key is gone too.

What a failed campaign leaves behind is a lease, and a late request may still put the key under it (etcd#21128). So its
id is chosen here, before the request, and revoked until that has been confirmed; the end of its ttl is the last resort.
"""

import asyncio
import json
import math
import secrets
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress

from ha.clock import Clock, monotonic
from ha.elector import Candidate, Epoch, Leader, Reason, View, refusal
from ha.errors import HaError, LeaseLost, Refused, Unknown
from ha.etcd.transport import Change, Delete, Field, Guard, Item, Listing, Put, Transport
from ha.etcd.watch import follow
from ha.lease import Lease, Timing
from ha.log import Events
from ha.tasks import finished

_log = Events("elector")


def new_lease_id() -> int:
    """A random id that nobody else uses; never 0, which means no lease."""
    return secrets.randbits(62) + 1


class EtcdElector:
    """See `ha.elector.Elector`. Owns the transport."""

    def __init__(
        self,
        transport: Transport,
        candidate: Candidate,
        timing: Timing,
        prefix: str = "/luigi-ha/default/",
        *,
        clock: Clock = monotonic,
        new_id: Callable[[], int] = new_lease_id,
        probe_every: float = 1.0,
    ) -> None:
        self.candidate = candidate
        self.timing = timing
        self.lease = Lease(timing.margin)
        self.epoch: Epoch | None = None
        self._transport = transport
        self._prefix = prefix
        self._leader, self._successor, self._pause = prefix + "leader", prefix + "successor", prefix + "pause"
        self._clock = clock
        self._new_id = new_id
        self._probe_every = probe_every
        self._id = 0  # of the lease that the key of `epoch` hangs on
        self._left_behind: set[int] = set()  # leases that may exist and must not

    # ------------------------------------------------------------------------------------------------------- campaign

    async def campaign(self) -> Epoch:
        if self.epoch is not None and self.lease.valid(self._clock()):
            return self.epoch
        self._over()
        await self._clear()
        listing = await self._read()
        refused = refusal(self._view(listing.items), self.candidate.name)
        if refused is not None:
            raise refused
        lease, lease_id = Lease(self.timing.margin), self._new_id()
        self._left_behind.add(lease_id)
        try:
            epoch = await self._win(lease, lease_id, listing)
        except BaseException:
            await self._clear_in_any_case()
            raise
        self._left_behind.discard(lease_id)
        self.lease, self._id, self.epoch = lease, lease_id, epoch
        _log.info("won", epoch=epoch, remaining=lease.remaining(self._clock()))
        return epoch

    async def _win(self, lease: Lease, lease_id: int, listing: Listing) -> Epoch:
        budget = self.timing.request_timeout
        sent = self._clock()
        ttl = await self._transport.grant(lease_id, math.ceil(self.timing.ttl), budget)
        self.timing.granted(ttl)
        lease.granted(sent, ttl, self._clock())
        with suppress(Unknown):  # the read tells whether it was executed
            await self._transport.txn(*self._taking(lease_id, listing), budget)
        found = await self._read()
        own = found.items.get(self._leader)
        if own is None or own.lease != lease_id:
            view = self._view(found.items)
            raise refusal(view, self.candidate.name) or Refused(Reason.CHANGED, "leadership changed meanwhile")
        if not lease.valid(self._clock()):
            raise LeaseLost("won, but the lease has run out meanwhile")
        return Epoch(own.create_revision)

    def _taking(self, lease_id: int, listing: Listing) -> tuple[list[Guard], list[Change]]:
        """Put the key if nothing has changed since `listing`, which allowed it."""
        about = {"name": self.candidate.name, "address": self.candidate.address, "meta": dict(self.candidate.meta)}
        changes: list[Change] = [Put(self._leader, json.dumps(about, sort_keys=True), lease_id)]
        if self._successor in listing.items:
            changes.append(Delete(self._successor))
        if self._pause in listing.items:  # a pause keeps whom a switchover put in place
            changes.append(Put(self._pause, self.candidate.name))
        keys = (self._leader, self._successor, self._pause)
        return [Guard(key, _modified(listing.items.get(key))) for key in keys], changes

    # ---------------------------------------------------------------------------------------------------------- renew

    async def renew(self) -> None:
        sent = self._clock()
        if self.epoch is None or not self.lease.valid(sent):
            self._over()
            raise LeaseLost("no valid lease to renew")
        until = sent + self.timing.request_timeout
        ttl = await self._transport.keep_alive(self._id, self.timing.request_timeout)
        listing = await self._read(until - self._clock())
        own = listing.items.get(self._leader)
        if own is None or own.lease != self._id or own.create_revision != self.epoch:
            who = self._view(listing.items).leader
            lost = LeaseLost(f"the key of epoch {self.epoch} is gone; {f'{who.name} leads' if who else 'nobody leads'}")
            self._over()
            raise lost
        if ttl <= 0:
            raise Unknown("a member knows no such lease, but the key is there")
        if not self.lease.renewed(sent, ttl, self._clock()):
            self._over()
            raise LeaseLost("the renewal was answered too late")

    # --------------------------------------------------------------------------------------------------------- resign

    async def resign(self, successor: str | None = None, within: float = 5.0) -> None:
        if self.epoch is None:
            return
        if successor is None:
            try:
                await self._release([])
            except Unknown:
                await self._clear()  # revoking the lease removes the key as well; Unknown if not confirmed either
            else:
                await self._clear_in_any_case()
            return
        reservation = self._new_id()
        self._left_behind.add(reservation)
        try:
            await self._transport.grant(reservation, math.ceil(within), self.timing.request_timeout)
            await self._release([Put(self._successor, successor, reservation)])
            self._left_behind.discard(reservation)
        finally:
            await self._clear_in_any_case()

    async def _release(self, besides: list[Put]) -> None:
        """Not leader from here on; then remove the key and put what comes in its place, in one transaction."""
        guard = Guard(self._leader, self.epoch or 0, Field.CREATED)
        self._over()
        changes: list[Change] = [Delete(self._leader), *besides]
        outcome = await self._transport.txn([guard], changes, self.timing.request_timeout)
        if not outcome.succeeded and besides:  # lost before, or the first of two attempts was executed
            items = (await self._read()).items
            if any(_lease(items.get(put.key)) != put.lease for put in besides):
                raise LeaseLost("the leadership was lost before it could be handed over")
        _log.info("resigned", successor=besides[0].value if besides else None)

    async def close(self) -> None:
        try:
            with suppress(HaError):
                await self.resign()
                await self._clear()
        finally:
            await self._transport.close()

    def _over(self) -> None:
        """Not leader from here on; what is left of it in etcd is to be revoked."""
        self.lease.end()
        self.epoch = None
        if self._id:
            self._left_behind.add(self._id)
            self._id = 0

    async def _clear(self) -> None:
        """Revoke what may be left behind. Unknown: not confirmed, it stays on the list."""
        for lease_id in list(self._left_behind):
            await self._transport.revoke(lease_id, self.timing.request_timeout)
            self._left_behind.discard(lease_id)

    async def _clear_in_any_case(self) -> None:
        """Also while being cancelled. A failure is not the caller's: what is not confirmed stays on the list."""

        async def clear() -> None:
            try:
                await self._clear()
            except HaError as error:
                _log.warning("lease_left_behind", count=len(self._left_behind), error=str(error))

        await finished(asyncio.ensure_future(clear()))

    # ----------------------------------------------------------------------------------------------- what others see

    async def observe(self) -> View:
        return self._view((await self._read()).items)

    async def watch(self) -> AsyncGenerator[View, None]:
        last: View | None = None
        budget = self.timing.request_timeout
        async with aclosing(follow(self._transport, self._prefix, budget, self._probe_every)) as steps:
            async for step in steps:
                view = self._view(step.items)
                if view != last:
                    last = view
                    yield view

    async def pause(self) -> None:
        listing = await self._read()
        leader = listing.items.get(self._leader)
        if self._pause in listing.items:
            return
        if leader is None:
            raise Refused(Reason.VACANT, "nobody leads, so there is nobody to keep")
        guards = [Guard(self._leader, leader.mod_revision), Guard(self._pause, 0)]
        put = Put(self._pause, _leader(leader).name)
        outcome = await self._transport.txn(guards, [put], self.timing.request_timeout)
        if not outcome.succeeded and self._pause not in (await self._read()).items:
            raise Refused(Reason.CHANGED, "leadership changed meanwhile")

    async def resume(self) -> None:
        await self._transport.txn([], [Delete(self._pause)], self.timing.request_timeout)

    async def _read(self, budget: float | None = None) -> Listing:
        return await self._transport.read(self._prefix, self.timing.request_timeout if budget is None else budget)

    def _view(self, items: Mapping[str, Item]) -> View:
        leader, keeps, successor = (items.get(key) for key in (self._leader, self._pause, self._successor))
        return View(
            _leader(leader) if leader else None,
            keeps.value if keeps else None,
            successor.value if successor else None,
        )


def _modified(item: Item | None) -> int:
    return item.mod_revision if item else 0


def _lease(item: Item | None) -> int:
    return item.lease if item else 0


def _leader(item: Item) -> Leader:
    """Who the key says leads; whatever it holds, somebody leads."""
    try:
        about = json.loads(item.value)
        meta = {str(key): str(value) for key, value in about["meta"].items()}
        return Leader(str(about["name"]), str(about["address"]), Epoch(item.create_revision), meta)
    except (ValueError, KeyError, TypeError, AttributeError):
        return Leader("(unreadable)", "", Epoch(item.create_revision))
