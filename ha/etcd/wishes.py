"""What others than the leader may write: a switchover asked for, and the end of a leadership whose process is gone."""

import math
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from luigi_ha.ha.elector import ASKED_FOR, Asked, Reason
from luigi_ha.ha.errors import Refused, Unknown
from luigi_ha.ha.etcd.keys import Keys, asked_of, asked_value, farewell_value, leader_of
from luigi_ha.ha.etcd.transport import Change, Delete, Field, Guard, Put, Transport


class Wishes:
    """See the methods of the same names in `luigi_ha.ha.elector.Elector`. `budget`: seconds for each call."""

    def __init__(self, transport: Transport, keys: Keys, budget: float, new_id: Callable[[], int]) -> None:
        self._transport = transport
        self._keys = keys
        self._budget = budget
        self._new_id = new_id

    async def ask_switchover(self, to: str) -> Asked:
        items = (await self._transport.read(self._keys.prefix, self._budget)).items
        if self._keys.leader not in items:
            raise Refused(Reason.VACANT, "nobody leads, so there is nobody to hand over")
        item = items.get(self._keys.asked)
        before = asked_of(item)
        if before is not None and before.refused is None:
            raise Refused(Reason.ASKED, f"a switchover to {before.to} has been asked for already")
        asked, lease = Asked(to, secrets.token_hex(8)), self._new_id()
        await self._transport.grant(lease, math.ceil(ASKED_FOR), self._budget)
        guard = Guard(self._keys.asked, item.mod_revision if item else 0)
        outcome = await self._transport.txn([guard], [Put(self._keys.asked, asked_value(asked), lease)], self._budget)
        if not outcome.succeeded and await self._asked() != asked:
            raise Refused(Reason.CHANGED, "somebody else asked for a switchover meanwhile")
        return asked

    async def answer_switchover(self, asked: Asked, refused: str | None) -> None:
        item = (await self._transport.read(self._keys.asked, self._budget)).items.get(self._keys.asked)
        found = asked_of(item)
        if item is None or found is None or found.id != asked.id:
            return
        answer: Change = Delete(item.key)
        if refused is not None:
            answer = Put(item.key, asked_value(replace(found, refused=refused)), item.lease)
        await self._transport.txn([Guard(item.key, item.mod_revision)], [answer], self._budget)

    async def release_address(self, name: str) -> None:
        item = (await self._transport.read(self._keys.address, self._budget)).items.get(self._keys.address)
        if item is not None and item.value == name:
            await self._transport.txn([Guard(item.key, item.mod_revision)], [Delete(item.key)], self._budget)

    async def release(self, name: str, reason: str) -> bool:
        """The key first, so that the farewell appears with the vacancy; then the lease, whatever hangs on it."""
        items = (await self._transport.read(self._keys.prefix, self._budget)).items
        leader, address, member = (
            items.get(key) for key in (self._keys.leader, self._keys.address, self._keys.members + name)
        )
        led = leader is not None and leader_of(leader).name == name
        if leader is not None and led:
            changes: list[Change] = [Delete(leader.key)]
            if reason:
                farewell = farewell_value(name, leader_of(leader).epoch, reason)
                changes.append(Put(self._keys.farewell, farewell))
            with suppress(Unknown):  # revoking the lease removes the key as well
                guard = Guard(leader.key, leader.create_revision, Field.CREATED)
                await self._transport.txn([guard], changes, self._budget)
            await self._transport.revoke(leader.lease, self._budget)
        rest: list[Change] = [Delete(member.key)] if member else []
        if address is not None and address.value == name:
            rest.append(Delete(address.key))
        if rest:
            await self._transport.txn([], rest, self._budget)
        return led

    async def _asked(self) -> Asked | None:
        return asked_of((await self._transport.read(self._keys.asked, self._budget)).items.get(self._keys.asked))
