"""What the keeper hears and passes on, beside ruling: who leads, who is present, how it is, that it lives.

Each is one loop that compares what is true with what was said last. None of them decides anything, and a failure of
the store in one of them is waited out.
"""

import asyncio
import socket
from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing
from urllib.parse import urlsplit

from luigi_ha.ha.elector import Elector, View
from luigi_ha.ha.errors import HaError
from luigi_ha.ha.keeper.board import Board, Scheduler, State
from luigi_ha.ha.keeper.holder import Holder
from luigi_ha.ha.keeper.messages import Able, Follow, Members, Peer, Unable
from luigi_ha.ha.keeper.options import KeeperOptions
from luigi_ha.ha.log import Events
from luigi_ha.ha.supervisor import Supervisor

AGAIN = 1.0  # s before the store is asked or told again after a failure
LOOK_EVERY = 1.0  # s between two looks at whether this node leads in peace
MEMBERS_EVERY = 1.0  # s between two looks at who is present
AT_MOST_EVERY = 0.2  # s between two changes of what others see of this member

See = Callable[[View], None]

_log = Events("keeper")


class News:
    """The loops are `work`; each runs until it is cancelled."""

    def __init__(
        self, options: KeeperOptions, board: Board, elector: Elector, holder: Holder, supervisor: Supervisor
    ) -> None:
        self._options = options
        self._board = board
        self._elector = elector
        self._holder = holder
        self._supervisor = supervisor
        self._ready = False

    @property
    def work(self) -> Sequence[Callable[[See], Coroutine[None, None, None]]]:
        return (
            self.watch,
            self.tell_scheduler,
            self.be_present,
            self.report,
            self.be_alive,
            self.spread,
            self.tell_members,
        )

    async def watch(self, see: See) -> None:
        """What the store says of leadership."""
        while True:
            try:
                async with aclosing(self._elector.watch()) as views:
                    async for view in views:
                        see(view)
            except HaError as error:
                _log.warning("watch_failed", error=str(error))
            await asyncio.sleep(AGAIN)

    async def tell_scheduler(self, _see: See) -> None:
        """Whom to follow, while it does not lead."""

        def news() -> tuple[Scheduler, Follow] | None:
            scheduler = self._board.scheduler
            if self._board.seated or scheduler is None or self._board.view is None:
                return None
            return scheduler, self._follow(self._board.view)

        told = None
        while True:
            await self._board.until(lambda: news() not in (None, told))  # noqa: B023 - called before it changes
            told = news()
            if told is not None:
                told[0].send(told[1])

    async def be_present(self, _see: See) -> None:
        """Be a member, and say how it is."""
        told: dict[str, str] = {}
        while True:
            await self._board.until(lambda: self._about() != told)  # noqa: B023 - called before it changes
            about = self._about()
            try:
                await self._elector.register(about)
            except HaError as error:
                _log.warning("not_registered", error=str(error))
                await asyncio.sleep(AGAIN)
            else:
                told = about
                await asyncio.sleep(AT_MOST_EVERY)

    async def report(self, _see: See) -> None:
        """To the supervisor: ready once the scheduler can serve; and how it is."""
        told = ""
        while True:
            await self._board.until(lambda: self._status() != told)  # noqa: B023 - called before it changes
            told = self._status()
            said = self._board.scheduler.said if self._board.scheduler is not None else None
            if self._board.stops:
                self._supervisor.stopping(told)
            elif not self._ready and said is not None and (isinstance(said.fit, Able) or said.open_epoch is not None):
                self._ready = True
                self._supervisor.ready(told)
            else:
                self._supervisor.status(told)

    async def be_alive(self, _see: See) -> None:
        """Tell a supervisor that watches that this loop turns."""
        every = self._supervisor.watchdog_every
        while True:
            if every is not None:
                self._supervisor.alive()
            await asyncio.sleep(every if every is not None else 3600.0)

    async def spread(self, _see: See) -> None:
        """While leading in peace, keep the store's own leader off this host. In peace: serving for `spread_every`."""
        loop = asyncio.get_running_loop()
        epoch, since = None, loop.time()
        while True:
            await asyncio.sleep(min(LOOK_EVERY, self._options.spread_every))
            scheduler = self._board.scheduler
            serves = scheduler.said.open_epoch if scheduler is not None else None
            if self._board.state is not State.LEADING or serves is None or serves != epoch:
                epoch, since = serves, loop.time()
            if serves is None or loop.time() - since < self._options.spread_every:
                continue
            since = loop.time()
            try:
                moved = await self._elector.spread(await self._beside_the_primary())
            except HaError as error:
                _log.info("store_not_spread", error=str(error))
            else:
                if moved is not None:
                    _log.info("store_spread", leader=moved)

    async def _beside_the_primary(self) -> set[str]:
        """The host of another member that has the database's primary: etcd's leader is better on a third."""
        others = (each.about for each in await self._elector.members() if each.name != self._options.name)
        hosts = {urlsplit(about.get("address", "")).hostname for about in others if about.get("preferred") == "yes"}
        return {host for host in hosts if host}

    async def tell_members(self, _see: See) -> None:
        """Who is present, and whom a pause keeps, to the scheduler."""
        told: tuple[object, object, object] = (None, None, None)
        while True:
            scheduler, seen = self._board.scheduler, self._seen()
            try:
                found = {member.name: dict(member.about) for member in await self._elector.members()}
            except HaError:
                pass  # it is asked again
            else:
                keeps = self._keeps()
                if scheduler is not None and (scheduler, found, keeps) != told:
                    scheduler.send(Members(found, keeps))
                    told = (scheduler, found, keeps)
            await asyncio.sleep(AT_MOST_EVERY)
            await self._board.until(lambda: self._seen() != seen, MEMBERS_EVERY - AT_MOST_EVERY)  # noqa: B023 - the same

    def _seen(self) -> tuple[object, ...]:
        """After a change of this, who is present is asked at once."""
        view = self._board.view
        return self._board.scheduler, view.leader if view is not None else None, self._keeps()

    def _keeps(self) -> str | None:
        return self._board.view.keeps if self._board.view is not None else None

    def _follow(self, view: View) -> Follow:
        leader = view.leader
        if leader is None or leader.name == self._options.name:  # the latter: an earlier life of ours
            return Follow(None, view.paused, view.served)
        return Follow(Peer(leader.name, leader.address, leader.epoch), view.paused, view.served)

    def _about(self) -> dict[str, str]:
        """For other members. Short strings."""
        scheduler, candidate = self._board.scheduler, self._elector.candidate
        fit = scheduler.said.fit if scheduler is not None and scheduler.alive else None
        leads = self._board.state in (State.LEADING, State.HANDING_OVER)
        why = ""
        if self._board.stops:
            why = "it is stopping"
        elif scheduler is None or not scheduler.alive:
            why = "its scheduler is not running"
        elif scheduler.stalled:
            why = "its scheduler makes no progress"
        elif isinstance(fit, Unable):
            why = fit.reason
        elif fit is None and not leads:
            why = "its scheduler is not ready to lead yet"
        return {
            **self._options.about,
            "address": candidate.address,
            "able": "no" if why else "yes",
            "why": why,
            "role": "leader" if leads else "standby",
            "host": socket.gethostname(),
            "version": self._options.version or candidate.meta.get("version", ""),
            "well": "yes" if isinstance(fit, Able) and fit.well else "no",
            "preferred": "yes" if isinstance(fit, Able) and fit.preferred else "no",
        }

    def _status(self) -> str:
        """For people: one line."""
        board, scheduler = self._board, self._board.scheduler
        if board.stops:
            return "stopping"
        if board.state in (State.LEADING, State.HANDING_OVER):
            epoch = self._elector.epoch
            opened = scheduler is not None and epoch is not None and scheduler.said.open_epoch == epoch
            return f"leading, epoch {epoch}" if opened else "taking over or handing over"
        about = self._about()
        leader = board.view.leader if board.view is not None else None
        who = f"{leader.name} leads, epoch {leader.epoch}" if leader is not None else "nobody leads"
        return f"standby, {who}" if not about["why"] else f"cannot lead: {about['why']}; {who}"
