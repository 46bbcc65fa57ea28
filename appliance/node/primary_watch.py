"""Moving the database's primary away from a host that is dead, without waiting for its manager to believe it.

Every node looks at the primary; only the node that leads acts, so it is one at a time. It acts when all of this holds:

* The keeper of the primary's host is not present in etcd any more.
* Nothing on that host answers this node, neither PostgreSQL nor its manager, for a while; and no other node is answered
  either.
* No pause keeps the leadership where it is.
* The manager's own conditions, read anew (`luigi_ha.ha.primary`).

In every other case the manager's own time applies. A planned switchover moves the primary along with the leadership.

Invariant: the lease is asked once more immediately before the move, which itself is guarded against what comes later.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from luigi_ha.appliance import log
from luigi_ha.appliance.clock import monotonic
from luigi_ha.appliance.node.evidence import FRESH
from luigi_ha.appliance.node.primary_evidence import ANSWER_WITHIN, Hosts, Silence, all_silent, answers
from luigi_ha.ha.elector import Elector
from luigi_ha.ha.errors import HaError
from luigi_ha.ha.keeper.why import silent_one
from luigi_ha.ha.primary import LeftAlone, NotMoved, Outlook, PrimaryMover, Server

if TYPE_CHECKING:
    from luigi_ha.appliance.node.node import Node

LOOK_EVERY = 2.0  # s between two looks at the manager's keys
NOTICE_EVERY = 0.5  # s between two questions whether the primary answers
ACT_EVERY = 0.02  # s between two looks at whether we lead, while it does not
AGAIN = 0.1  # s between two attempts, at first
AGAIN_LATER = 1.0  # s, when it has been silent for
SOON_LOST = 10.0  # s: a database that is away for long, with its keeper alive, is no reason to ask etcd all the time
BRING_WITHIN = 4.0  # s for the primary to come along in a planned switchover, while calls wait

_log = log.get("node")


@dataclass(frozen=True, slots=True)
class PrimaryAccess:
    """What is opened on the node's event loop, once."""

    mover: Callable[[Callable[[], int | None]], PrimaryMover]
    """Given what tells the database's system identifier, None while it is not known. HaError if it cannot work."""
    observer: Callable[[], Elector]
    """Sees the election without taking part in it."""


class PrimaryWatch:
    """What one node knows of the primary, and what it does about it. Belongs to the node's event loop."""

    def __init__(self, node: "Node", access: PrimaryAccess) -> None:
        self._node = node
        try:
            self._mover = access.mover(self._system)
        except HaError as error:
            _log.error("database_failover_impossible", error=str(error))
            self._mover = LeftAlone(str(error))
        self._observer = access.observer()
        self._outlook = Outlook(why_not="not looked yet")
        self._looked_at = float("-inf")
        self._hosts = Hosts()
        self._silence = Silence()
        self._said: str | None = ""
        self._fell_silent: tuple[str, float] | None = None  # who led before us, if its lease ended; and until when

    @property
    def why_not(self) -> str | None:
        """Why the primary would not be moved at once if its host were lost now; None: it would."""
        outlook, link = self._outlook, self._node.link
        if outlook.why_not is not None:
            return outlook.why_not
        if outlook.primary is not None and self._hosts.node_on(outlook.primary) is None:
            return f"no node of ours is known on the primary's host, {outlook.primary.host}"
        if link is not None and link.keeps is not None:
            return "automatic failover is paused"
        return None

    @property
    def managed(self) -> bool:
        """Whether the database has a manager that we know."""
        return self._outlook.managed

    def said(self) -> dict[str, Any]:
        """For /health."""
        outlook = self._outlook
        return {
            "armed": self.why_not is None,
            "why_not": self.why_not,
            "primary": outlook.primary.name if outlook.primary is not None else None,
            "standby": outlook.standby.name if outlook.standby is not None else None,
            "primary_silent_for": self._silence.seconds(monotonic()) if self._silence.since is not None else None,
        }

    def leads_after(self, cause: str) -> None:
        """This node leads from now on. For as long as a lease lasts, the end of a leader's lease is as good as the end
        of its presence, which may come a moment later."""
        name = silent_one(cause)
        self._fell_silent = (name, monotonic() + self._node.options.serve.lease_ttl) if name is not None else None

    async def run(self) -> None:
        """For as long as the node runs."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._keep_noticing(), name="notice the primary")
                tasks.create_task(self._keep_acting(), name="move the primary")
        finally:
            await self._mover.close()
            await self._observer.close()

    async def bring_along(self, epoch: int) -> None:
        """In a planned switchover to this node, under this epoch, while calls wait: make the standby of our host the
        primary. If that does not come to its end in time, the promotion goes on, and looks for the primary itself."""
        link, began = self._node.link, monotonic()
        if link is None or self._node.options.serve.prefer != "primary":
            return
        try:
            async with asyncio.timeout(BRING_WITHIN):
                outlook = await self._mover.look()
                ours = [each for each in outlook.standbys if self._hosts.node_on(each) == self._node.holder]
                if outlook.why_not is not None or not ours:
                    return
                standby = await self._mover.move(outlook, lambda: link.valid(epoch), ours[0])
                self._expect(standby)
                await self._mover.promoted(standby, BRING_WITHIN)
        except (HaError, TimeoutError) as error:
            _log.warning("primary_not_brought_along", error=str(error) or f"not within {BRING_WITHIN:g} s")
        else:
            _log.info("primary_brought_along", now=standby.name, seconds=monotonic() - began)

    # -- looking -------------------------------------------------------------------------------------------------

    def _system(self) -> int | None:
        store = self._node.store
        return store.system if store is not None else None

    @property
    def _leads(self) -> int | None:
        return self._node.link.leads if self._node.link is not None else None

    async def _keep_noticing(self) -> None:
        while True:
            self._hosts.update(self._node.peers.known)
            await self._look()
            await self._notice()
            await asyncio.sleep(NOTICE_EVERY)

    async def _look(self) -> None:
        if monotonic() - self._looked_at < LOOK_EVERY:
            return
        self._looked_at = monotonic()
        try:
            seen = await self._mover.look()
        except HaError as error:
            seen = Outlook(why_not=f"etcd does not say who is the primary: {error}")
        before = self._outlook.primary
        if self._silence.since is not None and before is not None:
            # What is read while the primary is lost says how it is lost, not how it would be moved.
            if seen.primary is None or (seen.primary == before and seen.why_not is not None):
                return
            if seen.primary != before:
                self._silence.over()
        self._outlook = seen
        self._tell()

    def _tell(self) -> None:
        why_not = self.why_not
        if why_not != self._said:
            self._said = why_not
            outlook = self._outlook
            if why_not is None and outlook.primary is not None and outlook.standby is not None:
                _log.info("database_failover_armed", primary=outlook.primary.name, standby=outlook.standby.name)
            elif self.managed:
                _log.warning("database_failover_not_armed", reason=why_not)

    async def _notice(self) -> None:
        primary, mirror = self._outlook.primary, self._node.roles.mirror
        begun = monotonic()
        if primary is None:
            self._silence.over()
            return
        reads = mirror is not None and mirror.away is None and mirror.age <= FRESH
        if reads or await answers(primary):
            self._silence.broken(witnessed=self._hosts.node_on(primary) in self._node.peers.known)
        else:
            self._silence.lasts(begun)

    # -- acting --------------------------------------------------------------------------------------------------

    async def _keep_acting(self) -> None:
        while True:
            silent = self._silence.since is not None
            if silent and self._leads is not None and not await self._act():
                soon = self._silence.seconds(monotonic()) < SOON_LOST
                await asyncio.sleep(AGAIN if soon else AGAIN_LATER)
            await asyncio.sleep(ACT_EVERY if silent else NOTICE_EVERY)

    async def _act(self) -> bool:
        """Move the primary if its host is dead, by all the evidence there is. Whether it was moved."""
        outlook, epoch, link, now = self._outlook, self._leads, self._node.link, monotonic()
        primary = outlook.primary
        if primary is None or epoch is None or link is None or self.why_not is not None:
            return False
        try:
            if not self._silence.long_enough(now) or not await self._is_lost(primary, now):
                return False
            _log.warning("primary_lost", primary=primary.name, silent_for=self._silence.seconds(now))
            standby = await self._mover.move(outlook, lambda: link.valid(epoch))
        except NotMoved as error:
            _log.warning("primary_not_moved", primary=primary.name, error=str(error))
            return False
        except HaError as error:
            _log.warning("primary_not_moved", primary=primary.name, error=f"not known: {error}")
            return False
        self._expect(standby)
        _log.warning("primary_replaced", before=primary.name, now=standby.name)
        self._outlook, self._looked_at = Outlook(why_not="the primary has just been moved"), float("-inf")
        self._silence.over()
        return True

    async def _is_lost(self, primary: Server, now: float) -> bool:
        """Whether its host is dead: its keeper is not heard of any more, and it answers nobody."""
        name = self._hosts.node_on(primary)
        if name == self._node.holder:
            return False  # we live, so our host does
        present = {member.name: member.about for member in await self._observer.members()}
        gone = self._fell_silent is not None and self._fell_silent[0] == name and now < self._fell_silent[1]
        if name in present and not gone:
            return False  # its keeper lives: what ails the database is its manager's to judge
        others = [about.get("address", "") for each, about in present.items() if each not in (self._node.holder, name)]
        said = await asyncio.gather(*(self._node.peers.ask(address, ANSWER_WITHIN) for address in others))
        return all_silent(primary.name, said, self._silence.seconds(now))

    def _expect(self, standby: Server) -> None:
        """Who asks for the primary need not wait for the one before."""
        if self._node.store is not None:
            self._node.store.expect_primary(standby.host, standby.port)
