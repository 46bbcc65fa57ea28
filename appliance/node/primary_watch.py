"""Moving the database's primary away from a host that is dead, without waiting for its manager to believe it.

Every node looks at the primary; only the node that leads acts, so it is one at a time. It acts when all of this holds:

* The keeper of the primary's host is not present in etcd any more.
* Nothing on that host answers this node, neither PostgreSQL nor its manager, and no other node is answered either.
* No pause keeps the leadership where it is.
* The manager's own conditions, read anew (`luigi_ha.ha.primary`).

In every other case the manager's own time applies. A planned switchover moves the primary along with the leadership.

Invariant: the lease is asked once more immediately before the move, which itself is guarded against what comes later.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from luigi_ha.appliance import log
from luigi_ha.appliance.clock import monotonic
from luigi_ha.appliance.node.evidence import FRESH
from luigi_ha.ha.elector import Elector
from luigi_ha.ha.errors import HaError
from luigi_ha.ha.keeper.why import is_silent
from luigi_ha.ha.primary import Outlook, PrimaryMover, Server

if TYPE_CHECKING:
    from luigi_ha.appliance.node.node import Node

LOOK_EVERY = 2.0  # s between two looks at the manager's keys
NOTICE_EVERY = 0.5  # s between two questions whether the primary answers
ACT_EVERY = 0.02  # s between two looks at whether we lead, while it does not
AGAIN = 0.1  # s between two attempts, at first
AGAIN_LATER = 1.0  # s, when it has been silent for
SOON_LOST = 10.0  # s: a database that is away for long, with its keeper alive, is no reason to ask etcd all the time
ANSWER_WITHIN = 0.5  # s for a server to take a connection
PROMOTED_WITHIN = 3.0  # s for the standby to become the primary, in a planned switchover

_log = log.get("node")


@dataclass(frozen=True, slots=True)
class PrimaryAccess:
    """What is opened on the node's event loop, once."""

    mover: Callable[[Callable[[], int | None]], PrimaryMover]
    """Given what tells the database's system identifier, None while it is not known."""
    observer: Callable[[], Elector]
    """Sees the election without taking part in it."""


class PrimaryWatch:
    """What one node knows of the primary, and what it does about it. Belongs to the node's event loop."""

    def __init__(self, node: "Node", access: PrimaryAccess) -> None:
        self._node = node
        self._mover = access.mover(self._system)
        self._observer = access.observer()
        self._outlook = Outlook(why_not="not looked yet")
        self._looked_at = float("-inf")
        self._nodes: dict[str, str] = {}  # a host's name or address -> the node there, also while that is gone
        self._silent_since: float | None = None
        self._said: str | None = ""
        self._fell_silent: str | None = None  # who led before us, if its lease ended without a word

    @property
    def why_not(self) -> str | None:
        """Why the primary would not be moved at once if its host were lost now; None: it would."""
        outlook, link = self._outlook, self._node.link
        if outlook.why_not is not None:
            return outlook.why_not
        if outlook.primary is not None and self._node_of(outlook.primary) is None:
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
        outlook, since = self._outlook, self._silent_since
        return {
            "armed": self.why_not is None,
            "why_not": self.why_not,
            "primary": outlook.primary.name if outlook.primary is not None else None,
            "standby": outlook.standby.name if outlook.standby is not None else None,
            "primary_silent_for": monotonic() - since if since is not None else None,
        }

    def leads_after(self, previous: str | None, cause: str) -> None:
        """This node leads from now on. The end of a leader's lease is as good as the end of its presence."""
        self._fell_silent = previous if is_silent(cause) else None

    async def run(self) -> None:
        """For as long as the node runs."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._keep_noticing(), name="notice the primary")
                tasks.create_task(self._keep_acting(), name="move the primary")
        finally:
            await self._mover.close()
            await self._observer.close()

    async def _keep_noticing(self) -> None:
        while True:
            await self._look()
            await self._notice()
            await asyncio.sleep(NOTICE_EVERY)

    async def _keep_acting(self) -> None:
        while True:
            since = self._silent_since
            if since is not None and self._leads is not None and not await self._act():
                await asyncio.sleep(AGAIN if monotonic() - since < SOON_LOST else AGAIN_LATER)
            await asyncio.sleep(ACT_EVERY if since is not None else NOTICE_EVERY)

    async def bring_along(self, epoch: int) -> None:
        """In a planned switchover to this node, under this epoch, while calls wait: make the standby of our host the
        primary. Ends with the primary where it was if that cannot be."""
        try:
            if self._node.options.serve.prefer != "primary":
                return
            outlook = await self._mover.look()
            standby = outlook.standby
            if outlook.why_not is not None or standby is None or self._node_of(standby) != self._node.holder:
                return
            if self._node.link is None or not self._node.link.valid(epoch):
                return
            began = monotonic()
            await self._mover.move(outlook)
            self._expect(standby)
            done = await self._mover.promoted(standby, PROMOTED_WITHIN)
        except HaError as error:
            _log.warning("primary_not_brought_along", error=str(error))
        else:
            _log.info("primary_brought_along", now=standby.name, promoted=done, seconds=monotonic() - began)

    # -- looking -------------------------------------------------------------------------------------------------

    def _system(self) -> int | None:
        store = self._node.store
        return store.system if store is not None else None

    @property
    def _leads(self) -> int | None:
        return self._node.link.leads if self._node.link is not None else None

    async def _look(self) -> None:
        for name, about in self._node.peers.known.items():
            for host in (name, about.get("host"), _host(about.get("address", ""))):
                if host:
                    self._nodes[host] = name
        if monotonic() - self._looked_at < LOOK_EVERY:
            return
        self._looked_at = monotonic()
        try:
            seen = await self._mover.look()
        except HaError as error:
            seen = Outlook(why_not=f"etcd does not say who is the primary: {error}")
        before = self._outlook.primary
        if self._silent_since is not None and before is not None and (not seen.primary or seen.primary == before):
            return  # what is read while the primary is lost says how it is lost, not how it would be moved
        if seen.primary != before:
            self._silent_since = None
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
            self._silent_since = None
            return
        reads = mirror is not None and mirror.away is None and mirror.age <= FRESH
        if reads or await answers(primary):
            self._silent_since = None
        elif self._silent_since is None:
            self._silent_since = begun

    def _node_of(self, server: Server) -> str | None:
        return self._nodes.get(server.host) or self._nodes.get(server.name)

    # -- acting --------------------------------------------------------------------------------------------------

    async def _act(self) -> bool:
        """Move the primary if its host is dead, by all the evidence there is. Whether it was moved."""
        outlook, epoch, link = self._outlook, self._leads, self._node.link
        primary, standby = outlook.primary, outlook.standby
        if primary is None or standby is None or epoch is None or link is None or self.why_not is not None:
            return False
        try:
            if not await self._is_lost(primary) or not link.valid(epoch):
                return False
            since = self._silent_since
            _log.warning("primary_lost", primary=primary.name, silent_for=monotonic() - since if since else None)
            await self._mover.move(outlook)
        except HaError as error:
            _log.warning("primary_not_moved", primary=primary.name, error=str(error))
            return False
        self._expect(standby)
        _log.warning("primary_replaced", before=primary.name, now=standby.name)
        self._outlook, self._silent_since = Outlook(why_not="the primary has just been moved"), None
        self._looked_at = float("-inf")
        return True

    async def _is_lost(self, primary: Server) -> bool:
        """Whether its host is dead: its keeper is not heard of any more, and it answers nobody."""
        name = self._node_of(primary)
        present = {member.name: member.about for member in await self._observer.members()}
        if name in present and name != self._fell_silent:
            return False  # its keeper lives: what ails the database is its manager's to judge
        others = [about.get("address", "") for each, about in present.items() if each not in (self._node.holder, name)]
        return not await self._others_are_answered(others, primary)

    def _expect(self, standby: Server) -> None:
        """Who asks for the primary need not wait for the one before."""
        if self._node.store is not None:
            self._node.store.expect_primary(standby.host, standby.port)

    async def _others_are_answered(self, addresses: list[str], primary: Server) -> bool:
        """Whether another node says that the primary's host answers it. One that says nothing is not asked twice."""
        peers = self._node.peers
        found = await asyncio.gather(*(peers.ask(address, ANSWER_WITHIN) for address in addresses))
        said = [(health or {}).get("database_failover") or {} for health in found]
        return any(each.get("primary") == primary.name and each.get("primary_silent_for") is None for each in said)


async def answers(server: Server) -> bool:
    """Whether PostgreSQL or its manager on this server takes a connection."""
    api = urlsplit(server.api)
    places = [(server.host, server.port)]
    if api.hostname:
        places.append((api.hostname, api.port or (443 if api.scheme == "https" else 80)))
    tries = [asyncio.ensure_future(_connects(host, port)) for host, port in places]
    try:
        for each in asyncio.as_completed(tries):
            if await each:
                return True
    finally:
        for one in tries:
            one.cancel()
    return False


def _host(url: str) -> str | None:
    """The host of what a node says of its address; None: none."""
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


async def _connects(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(ANSWER_WITHIN):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
