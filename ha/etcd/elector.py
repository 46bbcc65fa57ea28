"""The port of leadership on etcd, or on anything else that speaks the transport.

The keys and what they say are in `luigi_ha.ha.etcd.keys`: above all `leader`, under the leader's lease, whose create
revision is the epoch (plus an offset, if etcd has ever lost its past).

Every doubt is settled the same way: by a linearizable read of the own key. A campaign has won if that key hangs on its
lease, whatever the transaction's reply was and whether there was one (etcd#11051: won with a lease that was gone). A
renewal counts if that key is still there *after* the keepalive: a leader of etcd that is cut off may still answer
keepalives. A keepalive that finds no lease is believed if the key is gone too.

What a failed campaign leaves behind is a lease, and a late request may still put the key under it (etcd#21128). So its
id is chosen here, before the request, and revoked until that has been confirmed; the end of its ttl is the last resort.
"""

import asyncio
import math
import secrets
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import aclosing, suppress

from luigi_ha.ha.clock import Clock, monotonic
from luigi_ha.ha.elector import Asked, Candidate, Epoch, Member, Reason, View, refusal
from luigi_ha.ha.errors import HaError, LeaseLost, Refused, Unknown
from luigi_ha.ha.etcd.keys import Keys, asked_of, farewell_value, leader_of, leader_value
from luigi_ha.ha.etcd.presence import Presence
from luigi_ha.ha.etcd.transport import Change, Delete, Field, Guard, Item, Listing, Put, Transport
from luigi_ha.ha.etcd.watch import follow
from luigi_ha.ha.etcd.wishes import Wishes
from luigi_ha.ha.lease import Lease, Timing
from luigi_ha.ha.log import Events
from luigi_ha.ha.tasks import finished

_log = Events("elector")


def new_lease_id() -> int:
    """A random id that nobody else uses; never 0, which means no lease."""
    return secrets.randbits(62) + 1


class EtcdElector:
    """See `luigi_ha.ha.elector.Elector`. Owns the transport."""

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
        self._keys = keys = Keys(prefix)
        self._clock = clock
        self._new_id = new_id
        self._probe_every = probe_every
        self._presence = Presence(transport, keys.members + candidate.name, timing, new_id)
        self._wishes = Wishes(transport, keys, timing.request_timeout, new_id)
        self._id = 0  # of the lease that the key of `epoch` hangs on
        self._created = 0  # the create revision of that key
        self._left_behind: set[int] = set()  # leases that may exist and must not

    # ------------------------------------------------------------------------------------------------------- campaign

    async def campaign(self, above: int = 0) -> Epoch:
        if self.epoch is not None and self.epoch > above and self.lease.valid(self._clock()):
            return self.epoch
        self._over()
        await self._clear()
        listing = await self._read()
        refused = refusal(self._keys.view(listing.items), self.candidate.name)
        if refused is not None:
            raise refused
        lease, lease_id = Lease(self.timing.margin), self._new_id()
        self._left_behind.add(lease_id)
        try:
            own = await self._win(lease, lease_id, listing, above)
        except BaseException:
            await self._clear_in_any_case()
            raise
        self._left_behind.discard(lease_id)
        self.lease, self._id, self._created = lease, lease_id, own.create_revision
        self.epoch = epoch = leader_of(own).epoch
        _log.info("won", epoch=epoch, remaining=lease.remaining(self._clock()))
        return epoch

    async def _win(self, lease: Lease, lease_id: int, listing: Listing, above: int) -> Item:
        """The own key, seen after it was put."""
        budget = self.timing.request_timeout
        sent = self._clock()
        ttl = await self._transport.grant(lease_id, math.ceil(self.timing.ttl), budget)
        self.timing.granted(ttl)
        lease.granted(sent, ttl, self._clock())
        with suppress(Unknown):  # the read tells whether it was executed
            await self._transport.txn(*self._taking(lease_id, listing, above), budget)
        found = await self._read()
        own = found.items.get(self._keys.leader)
        if own is None or own.lease != lease_id:
            view = self._keys.view(found.items)
            raise refusal(view, self.candidate.name) or Refused(Reason.CHANGED, "leadership changed meanwhile")
        if not lease.valid(self._clock()):
            raise LeaseLost("won, but the lease has run out meanwhile")
        return own

    def _taking(self, lease_id: int, listing: Listing, above: int) -> tuple[list[Guard], list[Change]]:
        """Put the key if nothing has changed since `listing`, which allowed it."""
        keys, items, name = self._keys, listing.items, self.candidate.name
        offset = max(self._keys.offset_of(items), above - listing.header.revision)  # created after that revision
        changes: list[Change] = [Put(keys.leader, leader_value(self.candidate, offset), lease_id)]
        if offset > self._keys.offset_of(items):
            changes.append(Put(keys.offset, str(offset)))
        changes += [Delete(key) for key in (keys.successor, keys.farewell) if key in items]
        asked = asked_of(items.get(keys.asked))
        if asked is not None and asked.to == name:  # done
            changes.append(Delete(keys.asked))
        if keys.pause in items:  # a pause keeps whom a switchover put in place
            changes.append(Put(keys.pause, name))
        guarded = (keys.leader, keys.successor, keys.pause, keys.offset)
        return [Guard(key, _modified(items.get(key))) for key in guarded], changes

    # ---------------------------------------------------------------------------------------------------------- renew

    async def renew(self) -> None:
        sent = self._clock()
        if self.epoch is None or not self.lease.valid(sent):
            self._over()
            raise LeaseLost("no valid lease to renew")
        until = sent + self.timing.request_timeout
        ttl = await self._transport.keep_alive(self._id, self.timing.request_timeout)
        listing = await self._read(until - self._clock())
        own = listing.items.get(self._keys.leader)
        if own is None or own.lease != self._id or own.create_revision != self._created:
            who = self._keys.view(listing.items).leader
            lost = LeaseLost(f"the key of epoch {self.epoch} is gone; {f'{who.name} leads' if who else 'nobody leads'}")
            self._over()
            raise lost
        if ttl <= 0:
            raise Unknown("a member knows no such lease, but the key is there")
        if not self.lease.renewed(sent, ttl, self._clock()):
            self._over()
            raise LeaseLost("the renewal was answered too late")

    # --------------------------------------------------------------------------------------------------------- resign

    async def resign(
        self, successor: str | None = None, within: float = 5.0, *, reason: str = "", keep_address: bool = False
    ) -> None:
        if self.epoch is None:
            return
        farewell = farewell_value(self.candidate.name, self.epoch, reason)
        last_words = [Put(self._keys.farewell, farewell)] if reason else []
        if successor is None and not keep_address:
            try:
                await self._release(last_words)
            except Unknown:
                await self._clear()  # revoking the lease removes the key as well; Unknown if not confirmed either
            else:
                await self._clear_in_any_case()
            return
        reservation = self._new_id()
        self._left_behind.add(reservation)
        try:
            await self._transport.grant(reservation, math.ceil(within), self.timing.request_timeout)
            reserved = [Put(self._keys.successor, successor, reservation)] if successor is not None else []
            kept = [Put(self._keys.address, self.candidate.name, reservation)] if keep_address else []
            await self._release([*reserved, *kept, *last_words])
            self._left_behind.discard(reservation)
        finally:
            await self._clear_in_any_case()

    async def _release(self, besides: list[Put]) -> None:
        """Not leader from here on; then remove the key and put what comes in its place, in one transaction."""
        guard = Guard(self._keys.leader, self._created, Field.CREATED)
        self._over()
        changes: list[Change] = [Delete(self._keys.leader), *besides]
        outcome = await self._transport.txn([guard], changes, self.timing.request_timeout)
        reserved = [put for put in besides if put.lease]
        if not outcome.succeeded and reserved:  # lost before, or the first of two attempts was executed
            items = (await self._read()).items
            if any(_lease(items.get(put.key)) != put.lease for put in reserved):
                raise LeaseLost("the leadership was lost before it could be handed over")
        _log.info("resigned", **{put.key.removeprefix(self._keys.prefix): put.value for put in besides})

    async def release_address(self) -> None:
        await self._wishes.release_address(self.candidate.name)

    async def close(self) -> None:
        try:
            with suppress(HaError):
                await self.resign()
                await self._clear()
            await self._presence.close()
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
        return self._keys.view((await self._read()).items)

    async def watch(self) -> AsyncGenerator[View, None]:
        last: View | None = None
        budget = self.timing.request_timeout
        async with aclosing(follow(self._transport, self._keys.prefix, budget, self._probe_every)) as steps:
            async for step in steps:
                view = self._keys.view(step.items)
                if view != last:
                    last = view
                    yield view

    async def pause(self) -> None:
        listing = await self._read()
        leader, pause = listing.items.get(self._keys.leader), self._keys.pause
        if pause in listing.items:
            return
        if leader is None:
            raise Refused(Reason.VACANT, "nobody leads, so there is nobody to keep")
        guards = [Guard(leader.key, leader.mod_revision), Guard(pause, 0)]
        put = Put(pause, leader_of(leader).name)
        outcome = await self._transport.txn(guards, [put], self.timing.request_timeout)
        if not outcome.succeeded and pause not in (await self._read()).items:
            raise Refused(Reason.CHANGED, "leadership changed meanwhile")

    async def resume(self) -> None:
        await self._transport.txn([], [Delete(self._keys.pause)], self.timing.request_timeout)

    async def remember(self, served: int) -> None:
        change = Put(self._keys.served, str(served)) if served else Delete(self._keys.served)
        guards = [Guard(self._keys.leader, self._created, Field.CREATED)] if served else []
        await self._transport.txn(guards, [change], self.timing.request_timeout)

    async def ask_switchover(self, to: str) -> Asked:
        return await self._wishes.ask_switchover(to)

    async def answer_switchover(self, asked: Asked, refused: str | None) -> None:
        await self._wishes.answer_switchover(asked, refused)

    async def register(self, about: Mapping[str, str]) -> None:
        await self._presence.register(about)

    async def members(self) -> list[Member]:
        return self._keys.members_of((await self._read()).items)

    async def spread(self, shun: Collection[str] = ()) -> str | None:
        return await self._transport.spread(shun, self.timing.request_timeout)

    async def release(self, name: str, reason: str = "") -> bool:
        return await self._wishes.release(name, reason)

    async def _read(self, budget: float | None = None) -> Listing:
        budget = self.timing.request_timeout if budget is None else budget
        return await self._transport.read(self._keys.prefix, budget)


def _modified(item: Item | None) -> int:
    return item.mod_revision if item else 0


def _lease(item: Item | None) -> int:
    return item.lease if item else 0
