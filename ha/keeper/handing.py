"""The planned hand-over, step by step; each step that fails leaves the leadership where it is, as long as it is ours.

    1  the scheduler parks new calls, finishes what executes, flushes its journal: Handed
    2  one more renewal, so that the address has its full time and the store is known to answer
    3  the deadline becomes 0; the leadership is resigned, reserved for the successor; the address stays
    4  the scheduler passes all calls on to the successor until none is in flight here: Quiet
    5  the address goes, at the latest when the lease would have ended

From 3 on nothing is executed here any more. If the successor does not come, the reservation lapses and anybody may win.
"""

import asyncio
import enum
from dataclasses import dataclass

from luigi_ha.ha.errors import HaError
from luigi_ha.ha.keeper.messages import HandOver, Kept
from luigi_ha.ha.keeper.seat import Seat
from luigi_ha.ha.log import Events

LAST_RENEWAL = 0.5  # s that step 2 may take; calls are parked meanwhile
REFRESH_WITHIN = 0.3  # s for the refresh of the address in step 2

_log = Events("keeper")


class How(enum.Enum):
    KEPT = "kept"  # the leadership is still ours
    OVER = "over"  # it is over, and nothing has been given up in an orderly way yet
    HANDED = "handed"  # it has been handed over; everything is given up


@dataclass(frozen=True, slots=True)
class Outcome:
    how: How
    refused: str | None = None
    """Why the successor does not lead; None: it does."""


async def hand_over(seat: Seat, to: str, cause: str) -> Outcome:
    """Hand the leadership of `seat` to `to`. `cause` is what others will read."""
    began = seat.clock()
    _log.info("hand_over_begun", to=to, cause=cause)
    outcome = await _finish(seat, to)
    if outcome is None:
        outcome = await _resign(seat, to, cause)
    if outcome is None:
        outcome = await _pass_on(seat, to)
    if outcome.refused is None:
        _log.info("hand_over_done", to=to, seconds=round(seat.clock() - began, 3))
    else:
        _log.warning("hand_over_failed", to=to, reason=outcome.refused, outcome=outcome.how.value)
        if outcome.how is How.KEPT:
            seat.scheduler.send(Kept(outcome.refused))
    return outcome


async def _finish(seat: Seat, to: str) -> Outcome | None:
    """Step 1."""
    said, within = seat.scheduler.said, seat.options.handed_within
    said.handed = said.quiet = False
    seat.scheduler.send(HandOver(to))
    await seat.board.until(lambda: seat.scheduler.said.handed or seat.over(), within)
    if (reason := seat.over()) is not None:
        return Outcome(How.OVER, reason)
    if not said.handed:
        said.open_epoch = None  # until it says so again; an answer to this order that comes late counts for none
        return Outcome(How.KEPT, f"{seat.options.name} has not finished what it executes within {within:g} s")
    return None


async def _resign(seat: Seat, to: str, cause: str) -> Outcome | None:
    """Steps 2 and 3."""
    elector = seat.elector
    await seat.stand()
    try:
        async with asyncio.timeout(LAST_RENEWAL):
            await elector.renew()
        seat.publish()
        await seat.holder.settled(REFRESH_WITHIN)
        seat.holder.keep(seat.until)
        seat.end()
        holds = bool(seat.holder.held)
        await elector.resign(to, seat.options.reserve_for, reason=cause, keep_address=holds)
    except (HaError, TimeoutError) as error:
        why = str(error) or f"the store has not answered within {LAST_RENEWAL:g} s"
        if elector.epoch is not None and elector.lease.valid(seat.clock()):
            seat.sit()
            return Outcome(How.KEPT, why)
        return Outcome(How.OVER, why)
    seat.board.seated = False
    return None


async def _pass_on(seat: Seat, to: str) -> Outcome:
    """Steps 4 and 5."""
    board, scheduler = seat.board, seat.scheduler

    def leads() -> str | None:
        leader = board.view.leader if board.view is not None else None
        return leader.name if leader is not None and leader.epoch > seat.epoch else None

    def reserved() -> bool:
        return board.view is not None and board.view.successor == to

    await board.until(lambda: not scheduler.alive or (leads() and scheduler.said.quiet), seat.until - seat.clock())
    await seat.holder.release(seat.until)
    try:
        await seat.elector.release_address()
    except HaError as error:  # it lapses by itself, like the reservation
        _log.warning("address_not_released", error=str(error))
    await board.until(lambda: leads() or not reserved(), seat.options.reserve_for)
    leader = leads()
    if leader == to:
        return Outcome(How.HANDED)
    who = f"{leader} leads instead" if leader else "anybody may lead now"
    return Outcome(How.HANDED, f"{to} has not taken over within {seat.options.reserve_for:g} s; {who}")
