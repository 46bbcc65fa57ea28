"""One leadership, from the moment it is won to the moment it is over.

Order, at the start: publish the deadline, take the address, then tell the scheduler. At the end: the deadline becomes
0, the address goes, then the store is told (a key released before that is two leaders: pinniped PR 800). Whatever goes
wrong in between leads to the same end.
"""

import asyncio
from functools import partial

from luigi_ha.ha.elector import Asked
from luigi_ha.ha.errors import HaError
from luigi_ha.ha.keeper import why
from luigi_ha.ha.keeper.board import State
from luigi_ha.ha.keeper.handing import How, hand_over
from luigi_ha.ha.keeper.messages import Lead, Stop
from luigi_ha.ha.keeper.seat import Seat
from luigi_ha.ha.log import Events

LOOK_AGAIN = 1.0  # s; what depends on time alone may be noticed this late
PROBE_WITHIN = 0.3  # s for the question whether another host answers for the address

_log = Events("keeper")


class Reign:
    """Leads from `seat`."""

    def __init__(self, seat: Seat) -> None:
        self._seat = seat
        self._board = seat.board
        self._name = seat.options.name
        self._answered: set[str] = set()  # requests to switch over that were dealt with
        self._handed = False
        self._serving = False
        self._remembering: asyncio.Task[None] | None = None

    async def run(self, cause: str, previous: str | None, *, probe: bool) -> str:
        """Lead; `probe`: wait first until no other host answers for the address. Returns why it is over, when
        everything is given up. However it ends, the deadline is 0 afterwards."""
        seat = self._seat
        self._board.seated = True
        seat.scheduler.said.gave_up = None  # that was about an earlier leadership
        try:
            seat.asking = probe
            seat.sit()
            if probe:
                await seat.await_silence(PROBE_WITHIN)
            await seat.address_taken()
            if seat.over() is None:
                served = self._board.view.served if self._board.view is not None else 0
                seat.scheduler.send(Lead(seat.epoch, cause, previous, served))
                _log.info("leading", epoch=seat.epoch, cause=cause, previous=previous)
            reason = await self._lead()
        finally:
            seat.end()
            if self._remembering is not None:
                self._remembering.cancel()
        _log.info("leadership_over", epoch=seat.epoch, reason=reason)  # before another's can show in the same log
        if not self._serving:
            reason = why.carried(cause, previous, reason)
        if not self._handed:
            await seat.leave(reason)
        return reason

    async def _lead(self) -> str:
        """Until it is over, one way or another."""
        seat = self._seat
        elsewhere = seat.address_elsewhere
        while (reason := seat.over()) is None:
            if elsewhere and not seat.address_elsewhere:
                elsewhere = False
                seat.hold_address()
            if seat.open and not self._serving:
                self._serving = True
                self._remembering = asyncio.create_task(self._remember(), name="remember")
                _log.info("serving", epoch=seat.epoch, seconds=round(seat.clock() - seat.won_at, 3))
            if self._board.stops:
                return await self._retire()
            asked = self._asked()
            if asked is not None:
                await self._switch_over(asked)
                if self._handed:
                    return f"handed over to {asked.to}"
                continue
            await self._board.until(partial(self._due, elsewhere), LOOK_AGAIN)
        return reason

    async def _remember(self) -> None:
        """That a leader serves under this epoch: a database that has not seen it is an old one from now on."""
        while True:
            try:
                await self._seat.elector.remember(self._seat.epoch)
            except HaError as error:
                _log.info("not_remembered", error=str(error))
                await asyncio.sleep(LOOK_AGAIN)
            else:
                return

    def _due(self, address_elsewhere: bool) -> bool:
        """Whether `_lead` has something to do."""
        seat = self._seat
        return (
            seat.over() is not None
            or self._board.stops > 0
            or self._asked() is not None
            or (address_elsewhere and not seat.address_elsewhere)
            or (seat.open and not self._serving)
        )

    # ----------------------------------------------------------------------------------------------------- switchover

    def _asked(self) -> Asked | None:
        """The request to switch over that can be dealt with now."""
        asked = self._board.view.asked if self._board.view is not None else None
        if asked is None or asked.refused is not None or asked.id in self._answered:
            return None
        return asked if self._seat.open else None

    async def _switch_over(self, asked: Asked) -> None:
        self._answered.add(asked.id)
        refused = await self._unfit(asked.to)
        if refused is not None:
            _log.warning("hand_over_refused", to=asked.to, reason=refused)
        else:
            refused = await self._hand_over(asked.to, why.SWITCHOVER)
        try:
            await self._seat.elector.answer_switchover(asked, refused)
        except HaError as error:
            _log.warning("switchover_not_answered", error=str(error))

    async def _unfit(self, name: str) -> str | None:
        """Why leadership cannot be handed to `name`."""
        if name == self._name:
            return f"{name} leads already"
        try:
            members = {member.name: member.about for member in await self._seat.elector.members()}
        except HaError as error:
            return f"it is not known who is present: {error}"
        if name not in members:
            return f"no node {name} is present; there are: {', '.join(sorted(members)) or 'none'}"
        if members[name].get("able") != "yes":
            return f"{name} cannot lead: {members[name].get('why') or 'it does not say why'}"
        return None

    async def _hand_over(self, to: str, cause: str) -> str | None:
        """None: `to` leads now."""
        self._board.enter(State.HANDING_OVER)
        outcome = await hand_over(self._seat, to, cause)
        self._handed = outcome.how is How.HANDED
        self._board.enter(State.LEADING if outcome.how is How.KEPT else State.FOLLOWING)
        return outcome.refused

    # ----------------------------------------------------------------------------------------------------------- stop

    async def _retire(self) -> str:
        """Asked to stop: hand over to whoever can lead, so that nobody notices; otherwise finish, then stop."""
        seat = self._seat
        successor = await self._successor()
        if successor is not None:
            await self._hand_over(successor, f"{self._name}{why.STOPPED}")
            if self._handed:
                return f"handed over to {successor}"
        if seat.over() is None:
            seat.scheduler.send(Stop())
            await self._board.until(
                lambda: not seat.scheduler.alive or not seat.elector.lease.valid(seat.clock()),
                seat.options.drain_timeout,
            )
        return f"{self._name}{why.STOPPED}"

    async def _successor(self) -> str | None:
        """Any node that can lead, one with its database first, then a preferred one. None: nobody can, or a pause keeps
        the leadership here."""
        if not self._seat.open or self._board.view is None or self._board.view.paused:
            return None
        try:
            members = await self._seat.elector.members()
        except HaError:
            return None
        fit = [each for each in members if each.about.get("able") == "yes" and each.name != self._name]
        fit.sort(key=lambda each: (each.about.get("well") == "no", each.about.get("preferred") != "yes", each.name))
        return fit[0].name if fit else None
