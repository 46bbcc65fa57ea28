"""The address follows the lease: one variable, until when, and one task that makes it so.

Renewals never wait for the network's configuration: they write the variable, this task does the rest. After each call
it looks at the clock again, because the lease may have ended during the call, and the call may have added the address
after that. The address is decided level by level: what is wanted against what the kernel shows, again and again.
"""

import asyncio

from luigi_ha.ha.clock import Clock, monotonic
from luigi_ha.ha.errors import HaError
from luigi_ha.ha.lease import NEVER
from luigi_ha.ha.log import Events
from luigi_ha.ha.vip.port import Address

AGAIN = 1.0  # s between two attempts to get rid of an address that is still there
DROP_WITHIN = 2.0  # s after which a removal that does not return is given up, and begun anew

_log = Events("address")


class Holder:
    """Drives one `Address`. Call everything on one loop; `run` until it is cancelled."""

    def __init__(self, address: Address, clock: Clock = monotonic) -> None:
        self._address = address
        self._clock = clock
        self._until = NEVER
        self._frozen = False  # do not refresh: the lifetime in the kernel is not to be prolonged any more
        self._asked = 0  # how often something was wanted, and how many of these wishes have been seen to
        self._done = 0
        self._wishes = asyncio.Event()
        self._seen_to = asyncio.Event()
        self._held = False

    def hold(self, until: float) -> None:
        """The lease is ours until then; so is the address, from now on."""
        self._want(until, frozen=False)

    def keep(self, until: float) -> None:
        """Leave the address as it is, without prolonging it, until then at the latest."""
        self._want(until, frozen=True)

    async def settled(self, seconds: float) -> bool:
        """Wait until what was wanted last has been done, or for `seconds`. Whether it has."""
        asked = self._asked
        try:
            async with asyncio.timeout(seconds):
                while self._done < asked:
                    self._seen_to.clear()
                    await self._seen_to.wait()
        except TimeoutError:
            _log.warning("address_slow", seconds=seconds)
            return False
        return True

    async def release(self, by: float) -> None:
        """Not wanted any more. Returns when the kernel does not show it any more, at the latest at `by`: until then it
        is ours, and then the kernel has removed it."""
        self._want(NEVER, frozen=False)
        while (left := by - self._clock()) > 0 and not (await self.settled(left) and not self._address.held):
            await asyncio.sleep(min(0.05, left))
            self._want(NEVER, frozen=False)

    @property
    def held(self) -> tuple[str, ...]:
        """What the kernel shows."""
        return self._address.held

    async def answered(self, seconds: float) -> str | None:
        """Who answers for the address now (a MAC), or None: nobody, or it could not be asked within `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                return await self._address.answering()
        except (HaError, OSError, TimeoutError) as error:
            _log.warning("address_not_probed", error=str(error) or f"no answer within {seconds:g} s")
            return None

    async def run(self) -> None:
        """Make it so, for ever."""
        while True:
            asked, until = self._asked, self._until
            if until <= self._clock():
                await self._drop()
            elif self._frozen:
                await self._leave()
            else:
                await self._hold(until)
                if self._until <= self._clock():  # it took longer than the lease, or the lease has ended meanwhile
                    continue
            self._done = asked
            self._seen_to.set()
            self._report()
            if asked == self._asked:
                await self._wish(until)

    def _want(self, until: float, *, frozen: bool) -> None:
        self._until, self._frozen = until, frozen
        self._asked += 1
        self._wishes.set()

    async def _wish(self, until: float) -> None:
        """Wait for another wish; not beyond the end of this one."""
        left = until - self._clock()
        if left > 0:
            wait: float | None = left
        else:
            wait = AGAIN if self._address.held else None
        self._wishes.clear()
        try:
            async with asyncio.timeout(wait):
                await self._wishes.wait()
        except TimeoutError:
            pass

    async def _hold(self, until: float) -> None:
        try:
            async with asyncio.timeout(until - self._clock()):
                await self._address.hold(until)
        except (HaError, OSError, TimeoutError) as error:
            _log.warning("address_not_held", error=str(error) or "it took longer than the lease")

    async def _leave(self) -> None:
        try:
            async with asyncio.timeout(DROP_WITHIN):
                await self._address.leaving()
        except (HaError, OSError, TimeoutError) as error:
            _log.warning("callers_not_kept", error=str(error) or f"no answer within {DROP_WITHIN:g} s")

    async def _drop(self) -> None:
        try:
            async with asyncio.timeout(DROP_WITHIN):
                await self._address.drop()
        except (HaError, OSError, TimeoutError) as error:
            _log.warning("address_not_dropped", error=str(error) or f"no answer within {DROP_WITHIN:g} s")

    def _report(self) -> None:
        held = self._address.held
        if bool(held) != self._held:
            self._held = bool(held)
            _log.info("address_held" if held else "address_dropped", addresses=" ".join(held))
