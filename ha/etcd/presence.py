"""Being seen: a key under a lease of its own, kept by a task beside the election.

It has nothing to do with leadership. Its end tells others that this keeper is dead or cut off, as soon as the end of a
leadership would: whoever moves the database's primary away from a dead host asks for it. A key that has vanished is put
again within a ttl.
"""

import asyncio
import json
import math
from collections.abc import Callable, Mapping
from contextlib import suppress

from luigi_ha.ha.errors import Definitive, HaError, Unknown
from luigi_ha.ha.etcd.transport import Put, Transport
from luigi_ha.ha.lease import NEVER, Timing
from luigi_ha.ha.log import Events

RETRY = 0.5  # s after a failure

_log = Events("presence")


class Presence:
    """One member's key, from the first `register` to `close`."""

    def __init__(self, transport: Transport, key: str, timing: Timing, new_id: Callable[[], int]) -> None:
        self._transport = transport
        self._key = key
        self._timing = timing
        self._looked = NEVER  # by the loop's clock: when the key itself was seen last
        self._budget = timing.request_timeout
        self._new_id = new_id
        self._value = ""
        self._told = ""  # what the key said then
        self._id = 0
        self._waiting: list[asyncio.Future[None]] = []
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def register(self, about: Mapping[str, str]) -> None:
        self._value = json.dumps(dict(about), sort_keys=True)
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(told)
        self._changed.set()
        if self._task is None:
            self._task = asyncio.create_task(self._keep(), name=f"presence {self._key}")
        await told

    async def close(self) -> None:
        """Vanish, or let it lapse if etcd does not answer."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        self._answer(Unknown("closed"))
        if self._id:
            with suppress(HaError):
                await self._transport.revoke(self._id, self._budget)

    async def _keep(self) -> None:
        well = True
        while True:
            self._changed.clear()
            waiting, self._waiting = self._waiting, []
            try:
                async with asyncio.timeout(self._budget):
                    await self._tell()
            except (HaError, TimeoutError) as error:
                if well:
                    _log.warning("not_registered", error=str(error))
                well, pause = False, RETRY
                self._answer(error if isinstance(error, HaError) else Unknown("no time left to register"), waiting)
            except asyncio.CancelledError:
                self._answer(Unknown("closed"), waiting)
                raise
            else:
                well, pause = True, self._timing.renew_every
                self._answer(None, waiting)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._changed.wait()

    async def _tell(self) -> None:
        if self._id and await self._transport.keep_alive(self._id, self._budget) <= 0:
            self._id = 0
        if not self._id:
            lease = self._new_id()
            await self._transport.grant(lease, math.ceil(self._timing.ttl), self._budget)
            self._id = lease
            self._looked = NEVER
        now = asyncio.get_running_loop().time()
        if self._told == self._value and now + self._timing.renew_every - self._looked < self._timing.ttl:
            return
        found = (await self._transport.read(self._key, self._budget)).items.get(self._key)
        if found is None or found.value != self._value or found.lease != self._id:
            try:
                await self._transport.txn([], [Put(self._key, self._value, self._id)], self._budget)
            except Definitive as error:
                self._id = 0
                raise Unknown(f"the lease ended meanwhile: {error}") from error
        self._looked, self._told = now, self._value

    def _answer(self, error: HaError | None, waiting: list[asyncio.Future[None]] | None = None) -> None:
        for told in self._waiting if waiting is None else waiting:
            if not told.done():
                told.set_result(None) if error is None else told.set_exception(error)
