"""The keeper: campaigns when its scheduler is able and nobody leads, leads as long as it may, and stops in order.

    following --nobody leads--> campaigning --won--> leading --asked, or stopping--> handing_over --> following
                                     \\--refused--> following      \\--over--> following      any --> stopped

Guaranteed: whenever this process ends or fails, however it does, the deadline in the shared memory is not prolonged
any more, the address ends with it in the kernel, and no other node has won before that. An error that nobody expected
ends the keeper (and its scheduler with it), never the need for a lease.
Not promised: that the scheduler is a good one; it is only watched for progress.
"""

import asyncio
import contextlib
import gc
import os
import signal
from collections.abc import Awaitable, Callable

from luigi_ha.ha.clock import Clock, monotonic
from luigi_ha.ha.elector import Elector, View
from luigi_ha.ha.errors import Fatal, HaError, Refused
from luigi_ha.ha.keeper import why
from luigi_ha.ha.keeper.board import Board, Start, State
from luigi_ha.ha.keeper.child import Child
from luigi_ha.ha.keeper.holder import Holder
from luigi_ha.ha.keeper.lines import written_beside
from luigi_ha.ha.keeper.messages import Able, Stop
from luigi_ha.ha.keeper.news import News
from luigi_ha.ha.keeper.nurse import Nurse
from luigi_ha.ha.keeper.options import KeeperOptions
from luigi_ha.ha.keeper.reign import Reign
from luigi_ha.ha.keeper.seat import Seat
from luigi_ha.ha.lease import NEVER
from luigi_ha.ha.log import Events
from luigi_ha.ha.supervisor import Supervisor
from luigi_ha.ha.tasks import finished
from luigi_ha.ha.vip.port import Address

RETRY = (0.1, 1.0)  # s between two campaigns that failed: the first, the longest (it doubles)
RETRY_FATAL = 2.0  # s after an error that a person has to mend
SAME_SIGNAL = 0.3  # s within which a second signal is the first one, sent to the process and to its group (timeout(1))
GAVE_UP = (1.0, 10.0)  # s before a scheduler that could not lead may try again: the first, the longest

_log = Events("keeper")


class Keeper:
    """One node's keeper. `elector` and `address` belong to it from now on."""

    def __init__(
        self,
        options: KeeperOptions,
        elector: Elector,
        address: Address,
        supervisor: Supervisor | None = None,
        clock: Clock = monotonic,
        start: Start = Child,
    ) -> None:
        if options.name != elector.candidate.name:
            raise ValueError(f"two names for one node: {options.name}, {elector.candidate.name}")
        self.board = Board()
        self._options = options
        self._elector = elector
        self._address = address
        self._clock = clock
        self._holder = Holder(address, clock)
        self._nurse = Nurse(options, self.board, clock, start)
        self._news = News(options, self.board, elector, self._holder, supervisor or Supervisor())
        self._not_before = NEVER  # no campaign before this moment
        self._gave_up = GAVE_UP[0]
        self._retry = RETRY[0]
        self._complained = ""
        self._held_back = False
        self._signalled_at = NEVER

    async def run(self) -> int:
        """Until a signal (SIGTERM, SIGINT; a second one does not wait) or until the scheduler should not be started
        again. Returns the exit code. Raises Fatal if this host can never hold the address."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, signal.Signals(number).name)
        _be_quick()
        with written_beside():
            return await self.live()

    async def live(self) -> int:
        """`run`, in a process that has other things to do too: it hears no signals, `stop` is called instead."""
        _log.info("keeper_started", pid=os.getpid(), node=self._options.name, election=self._options.mode)
        try:
            await self._address.start()
            return await self._work()
        finally:
            await self._finish()
            _log.info("stopped", node=self._options.name)

    def _signalled(self, name: str) -> None:
        now = self._clock()
        twice, self._signalled_at = now - self._signalled_at < SAME_SIGNAL, now
        if not twice:
            self.stop(name)

    def stop(self, cause: str) -> None:
        """Hand over or drain, then exit; the second time: at once."""
        self.board.stops += 1
        _log.info("stopping" if self.board.stops == 1 else "stopping_at_once", cause=cause)
        self.board.tell()

    async def _work(self) -> int:
        """All tasks, until the first of them ends: `_rule`, or one that failed."""
        rule = asyncio.create_task(self._rule(), name="rule")
        urgent = asyncio.create_task(self.board.until(lambda: self.board.stops > 1), name="urgent")
        nurse = asyncio.create_task(self._nurse.run(), name="nurse")
        tasks = {rule, urgent, nurse, asyncio.create_task(self._holder.run(), name="address")}
        tasks |= {asyncio.create_task(work(self._see), name=work.__name__) for work in self._news.work}
        try:
            waiting = set(tasks)
            while not rule.done() and not urgent.done():
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()  # an error nobody expected: end here
        finally:
            if self.board.scheduler is not None:
                self.board.scheduler.not_ours()
            for task in tasks:
                task.cancel()
            await finished(asyncio.gather(*tasks, return_exceptions=True))
        return rule.result() if not rule.cancelled() else 1

    async def _finish(self) -> None:
        """Nothing of ours acts any more, then the address goes, then the leadership. In any case, also after errors."""
        self.board.enter(State.STOPPED)
        child = self._nurse.child
        if child is not None and child.alive:
            child.not_ours()
            child.kill()
            await self.board.until(lambda: not child.alive, 5.0)
        timing = self._elector.timing
        try:
            await _within(timing.ttl, self._address.close)  # by then the kernel has removed it
        finally:
            await _within(2 * timing.request_timeout, self._elector.close)

    # ---------------------------------------------------------------------------------------------------------- ruling

    async def _rule(self) -> int:
        """Campaign, lead, follow, until it is time to exit."""
        board = self.board
        while not self._stopping:
            if self._obstacle() is None:
                await self._give_way()
            if self._obstacle() is None:
                await self._campaign()
            else:
                self._tell_held_back()
                await board.until(
                    lambda: self._stopping or self._obstacle() is None,
                    max(0.0, self._not_before - self._clock()) or None,
                )
        if board.exit_code is None and board.scheduler is not None and board.scheduler.alive:
            board.scheduler.send(Stop())
        await board.until(lambda: board.exit_code is not None, self._options.drain_timeout)
        if board.exit_code is None:
            _log.warning("drain_timed_out", seconds=self._options.drain_timeout)
            return 1
        return board.exit_code

    @property
    def _stopping(self) -> bool:
        return self.board.stops > 0 or self.board.exit_code is not None

    def _obstacle(self) -> str | None:
        """Why there is no campaign now."""
        scheduler = self.board.scheduler
        if self._clock() < self._not_before:
            return "the last attempt failed a moment ago"
        if scheduler is None or not scheduler.alive:
            return "the scheduler is not running"
        return why.obstacle(self.board.view, self._options.name, scheduler.said.fit, scheduler.stalled)

    def _tell_held_back(self) -> None:
        """Nobody leads, this node could, and a pause keeps another: once for each time."""
        view, scheduler = self.board.view, self.board.scheduler
        fit = scheduler.said.fit if scheduler is not None and scheduler.alive else None
        held_back = view is not None and view.leader is None and view.keeps not in (None, self._options.name)
        if view is None or not held_back or view.successor is not None:
            self._held_back = False
        elif not self._held_back and isinstance(fit, Able):
            self._held_back = True
            last = self.board.last.name if self.board.last is not None else None
            _log.warning("failover_held_back", leader_was=last, keeps=view.keeps, help="start it, or luigi-ha resume")

    async def _give_way(self) -> None:
        """To a preferred node, for a moment, unless the leadership is reserved for us."""
        board = self.board
        scheduler, view = board.scheduler, board.view
        fit = scheduler.said.fit if scheduler is not None else None
        preferred = isinstance(fit, Able) and fit.preferred
        if (
            not preferred
            and view is not None
            and view.successor != self._options.name
            and await self._another_is_preferred()
        ):
            await board.until(lambda: self._stopping or self._obstacle(), self._options.prefer_delay)

    async def _another_is_preferred(self) -> bool:
        """A node that is present and able, and not the one that has just lost the leadership. In doubt: yes."""
        gone = {self._options.name, self.board.last.name if self.board.last is not None else ""}
        try:
            async with asyncio.timeout(self._options.prefer_delay):
                others = [member.about for member in await self._elector.members() if member.name not in gone]
        except (HaError, TimeoutError):
            return True
        return any(about.get("preferred") == about.get("able") == "yes" for about in others)

    async def _campaign(self) -> None:
        """Try once; lead if it is won."""
        board, view = self.board, self.board.view
        scheduler = board.scheduler
        if scheduler is None or view is None or not isinstance(scheduler.said.fit, Able):
            return
        above = scheduler.said.fit.above
        cause = why.cause(view, self._options.name, board.last, above, self._options.mode)
        previous = why.previous(view, board.last, board.served)
        board.enter(State.CAMPAIGNING)
        try:
            epoch = await self._elector.campaign(above)
        except HaError as error:
            board.enter(State.FOLLOWING)
            self._hold_off(RETRY_FATAL if isinstance(error, Fatal) else self._retry)
            self._retry = min(2 * self._retry, RETRY[1])
            self._complain(error)
            return
        self._complained = ""
        self._retry = RETRY[0]
        board.enter(State.LEADING)
        seat = Seat(board, self._elector, self._holder, scheduler, self._options, epoch, self._clock)
        try:
            await Reign(seat).run(cause, previous, probe=view.farewell is None and view.successor is None)
        finally:
            board.enter(State.FOLLOWING)
        if seat.gave_up:
            self._hold_off(self._gave_up)
            self._gave_up = min(2 * self._gave_up, GAVE_UP[1])
        elif self._clock() - seat.won_at > self._options.restart_reset:
            self._gave_up = GAVE_UP[0]

    def _complain(self, error: HaError) -> None:
        """Once, not at every attempt."""
        if str(error) != self._complained:
            self._complained = str(error)
            (_log.info if isinstance(error, Refused) else _log.warning)("not_won", error=str(error))

    def _hold_off(self, seconds: float) -> None:
        self._not_before = self._clock() + seconds

    def _see(self, view: View) -> None:
        """What the store says now."""
        board, before = self.board, self.board.view
        board.view = view
        leader = view.leader
        if leader is not None:
            board.last = leader
            if leader.epoch == view.served:
                board.served = leader
        if leader != (before.leader if before is not None else None):
            if leader is None:
                _log.info("nobody_leads", reserved_for=view.successor)
            elif leader.name != self._options.name:
                _log.info("following", leader=leader.name, epoch=leader.epoch)
        self._tell_held_back()
        board.tell()


async def _within(seconds: float, close: Callable[[], Awaitable[None]]) -> None:
    """Close it, or leave it after so long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await close()


def _be_quick() -> None:
    """Be scheduled before others, if this user may; and collect no garbage of the start again."""
    gc.collect()
    gc.freeze()
    with contextlib.suppress(OSError):  # what we start is not to inherit the priority
        os.sched_setscheduler(0, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, 0, -10)
