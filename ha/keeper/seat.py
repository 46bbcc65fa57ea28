"""A leadership that is ours: renewed beside everything else, published, and with it the address; and why it must end.

Renewals wait for nothing that happens here. What a renewal prolongs (the deadline that the scheduler sees, the
address) is written down in the same moment, from the same lease.
"""

import asyncio

from luigi_ha.ha.clock import Clock, monotonic
from luigi_ha.ha.elector import Elector, Epoch
from luigi_ha.ha.errors import Definitive, HaError
from luigi_ha.ha.hold import hold
from luigi_ha.ha.keeper.board import Board, Scheduler
from luigi_ha.ha.keeper.holder import Holder
from luigi_ha.ha.keeper.messages import Over
from luigi_ha.ha.keeper.options import KeeperOptions
from luigi_ha.ha.lease import NEVER
from luigi_ha.ha.log import Events
from luigi_ha.ha.tasks import finished

ADDRESS_WITHIN = 1.5  # s that taking the address may delay the promotion
ASK_AGAIN = 0.02  # s between two questions who answers for the address

_log = Events("keeper")


class Seat:
    """The leadership of `epoch`, just won by `elector`, executed by `scheduler`. Nothing is renewed before `sit`."""

    def __init__(
        self,
        board: Board,
        elector: Elector,
        holder: Holder,
        scheduler: Scheduler,
        options: KeeperOptions,
        epoch: Epoch,
        clock: Clock = monotonic,
    ) -> None:
        self.board = board
        self.elector = elector
        self.holder = holder
        self.scheduler = scheduler
        self.options = options
        self.epoch = epoch
        self.clock = clock
        self.won_at = clock()
        self.until = NEVER
        """The latest deadline that was published: the address may be held until then."""
        self.gave_up = False
        """It has ended because the scheduler could not lead."""
        self.asking = False
        """Whether another host may still have the address: it is not taken before that is known."""
        self._ours = False
        self._opened = False
        self._renewing: asyncio.Task[Definitive] | None = None

    def sit(self) -> None:
        """Publish the deadline, now and after each renewal from now on."""
        self._ours = True
        self.publish()
        self._renewing = asyncio.create_task(hold(self.elector, self.clock, self.publish), name="hold")
        self._renewing.add_done_callback(lambda _: self.board.tell())

    def publish(self) -> None:
        """What the lease allows now: for the scheduler, and for the address."""
        if self._ours and self.scheduler.alive and not self.scheduler.stalled:
            self.until = self.elector.lease.deadline
            self.scheduler.lead(self.epoch, self.until)
            self.hold_address()

    def end(self) -> None:
        """The scheduler must not act any more, from now on: whatever is renewed meanwhile is not published."""
        self._ours = False
        self.scheduler.not_ours()
        if self._renewing is not None:
            self._renewing.cancel()

    async def stand(self) -> None:
        """Renew no more. What was published stays."""
        task, self._renewing = self._renewing, None
        if task is not None:
            task.cancel()
            await finished(task)

    def over(self) -> str | None:
        """Why this leadership must end; None: it goes on."""
        self._opened |= self.open
        return self._scheduler_fails() or self._lease_is_lost()

    def _scheduler_fails(self) -> str | None:
        scheduler, name = self.scheduler, self.options.name
        if not scheduler.alive:
            return f"the scheduler of {name} died ({scheduler.end})"
        if scheduler.said.gave_up is not None:
            return f"{name} cannot lead: {scheduler.said.gave_up}"
        if scheduler.stalled:
            return f"the scheduler of {name} makes no progress"
        if not self._opened and self.clock() - self.won_at > self.options.promote_within:
            return f"the scheduler of {name} did not open within {self.options.promote_within:g} s"
        return None

    def _lease_is_lost(self) -> str | None:
        if self._renewing is not None and self._renewing.done() and not self._renewing.cancelled():
            return str(self._renewing.result())
        if not self.elector.lease.valid(self.clock()):
            return "the lease ended"
        return None

    @property
    def open(self) -> bool:
        """Whether the scheduler executes calls under this leadership."""
        return self.scheduler.said.open_epoch == self.epoch

    # ---------------------------------------------------------------------------------------------------- the address

    @property
    def address_elsewhere(self) -> bool:
        """After a planned switchover, who led before passes calls on to us until none is in flight there."""
        view = self.board.view
        lapsed = self.clock() - self.won_at > self.options.reserve_for
        return not lapsed and view is not None and view.address_holder not in (None, self.options.name)

    def hold_address(self) -> None:
        """From now on, as long as the lease; unless another has it still."""
        if not self.address_elsewhere and not self.asking:
            self.holder.hold(self.until)

    async def await_silence(self, seconds: float) -> None:
        """Take the address when nobody answers for it, after as long as a lease may last that is counted elsewhere.

        Who led before has dropped it by the end of its lease. But a store may end a lease that is being renewed (etcd
        before 3.4.31, when its frozen leader wakes: etcd#15247): then that node lives, and learns of it a moment later.
        """
        until, answering = self.won_at + self.elector.timing.ttl, None
        while self.over() is None and (mac := await self.holder.answered(seconds)) is not None:
            if mac != answering:
                answering = mac
                _log.warning("address_answered_by_another", mac=mac)
            if self.clock() >= until:  # it is ours by the lease, whoever answers
                break
            await asyncio.sleep(ASK_AGAIN)
        self.asking = False
        self.hold_address()

    async def address_taken(self) -> None:
        """Wait until it is, but not long, and not after the end."""
        if self.address_elsewhere:
            return
        taken = asyncio.create_task(self.holder.settled(ADDRESS_WITHIN), name="address")
        taken.add_done_callback(lambda _: self.board.tell())
        try:
            await self.board.until(lambda: taken.done() or self.over())
        finally:
            taken.cancel()

    # -------------------------------------------------------------------------------------------------------- the end

    async def leave(self, reason: str) -> None:
        """Stop acting; then the address goes; then the key. Harmless where there is nothing left to give up.

        A scheduler that lives and has given up itself (its database is away) has callers that wait: the address stays
        until they have been passed on to the next leader, at most until the lease would have ended.
        """
        self.end()
        self.gave_up = self.scheduler.said.gave_up is not None
        stays = self.gave_up and self.scheduler.alive and bool(self.holder.held)
        self.scheduler.said.quiet = False
        self.scheduler.send(Over(reason))
        self.board.seated = False
        await self.stand()
        if stays:
            self.holder.keep(self.until)
        else:
            await self.holder.release(self.until)
        try:
            await self.elector.resign(reason=reason, keep_address=stays)
        except HaError as error:
            _log.warning("not_resigned", error=str(error))
        if stays:
            await self._pass_on()

    async def _pass_on(self) -> None:
        """Until no call is in flight here any more, or the lease would have ended; then the address goes."""
        scheduler = self.scheduler
        await self.board.until(lambda: not scheduler.alive or scheduler.said.quiet, self.until - self.clock())
        await self.holder.release(self.until)
        try:
            await self.elector.release_address()
        except HaError as error:  # it lapses by itself
            _log.warning("address_not_released", error=str(error))
