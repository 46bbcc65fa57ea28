"""Those who wait for work: when each of them asks again.

Nothing is pushed: who waits asks the scheduler again when something has moved since, if anything is ready at all; in
any case once a second, which also says that the worker lives. All who wait on one node ask at most RATE times a
second between them, so a thousand idle workers cost no more than that.

One timer looks, for all of them, and only while somebody waits. It sees as soon whose client has gone.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from luigi_ha.appliance.api.dispatch import Dispatcher
from luigi_ha.appliance.clock import monotonic

LOOK_EVERY = 0.02  # s
RATE = 500.0  # questions a second, by all who wait on this node
AT_LATEST = 1.0  # s after which each of them asks again, whatever happened


@dataclass(frozen=True, slots=True)
class Turn:
    """One question: when it was asked, and what had happened until then."""

    asked_at: float  # monotonic
    stand: int | None


@dataclass(frozen=True, slots=True)
class Waiter:
    turn: Turn
    until: float  # monotonic
    gone: Callable[[], bool]
    again: "asyncio.Future[bool]"


class Polls:
    """The long polls of one node."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._waiters: list[Waiter] = []
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._waiters)

    def turn(self) -> Turn:
        """Before a question is asked: what happens from here on is news."""
        return Turn(monotonic(), self._dispatcher.executor.stand)

    async def wait(self, turn: Turn, until: float, gone: Callable[[], bool]) -> bool:
        """Until it is worth asking again. False: not any more (the time is up, the client has gone, or this node wants
        to be rid of its clients)."""
        again: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiters.append(Waiter(turn, until, gone, again))
        if self._timer is None:
            self._look_soon()
        return await again

    def hang_up(self) -> None:
        """Nobody waits here any longer."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            _settle(waiter, again=False)

    def _look_soon(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(LOOK_EVERY, self._look)

    def _look(self) -> None:
        now, stand = monotonic(), self._dispatcher.executor.stand
        pause = min(AT_LATEST, len(self._waiters) / RATE)
        ready = self._anything_ready()
        keep: list[Waiter] = []
        for waiter in self._waiters:
            asked_at = waiter.turn.asked_at
            news = ready and stand != waiter.turn.stand and now >= asked_at + pause
            if waiter.again.done():
                continue
            if waiter.gone() or now >= waiter.until:
                _settle(waiter, again=False)
            elif news or now >= asked_at + AT_LATEST:
                _settle(waiter, again=True)
            else:
                keep.append(waiter)
        self._waiters = keep
        self._timer = None
        if keep:
            self._look_soon()

    def _anything_ready(self) -> bool:
        """As far as this node knows; True if it knows nothing."""
        engine = self._dispatcher.executor.engine
        return engine is None or engine.anything_ready


def _settle(waiter: Waiter, *, again: bool) -> None:
    if not waiter.again.done():
        waiter.again.set_result(again)
