"""What a node is, and how it becomes something else: standby, leader, or a leader that hands over.

Orders come from the keeper (`luigi_ha.ha.keeper.link`), one at a time: an order begins when the one before it has been
carried out. What must not wait does not: from the moment the lease has run out, the gate passes nothing.

Promotion, in this order, each step repeatable after a crash: the address is here already, so calls arrive and park;
fence the leader before (our epoch in the database); read what it wrote last; open.

Invariant: an engine whose journal did not end clean is discarded whole; what follows is built from the database.
"""

import asyncio
from typing import TYPE_CHECKING

from luigi_ha.appliance import log
from luigi_ha.appliance.api.errors import Unavailable
from luigi_ha.appliance.clock import monotonic
from luigi_ha.appliance.engine.changes import Epoch
from luigi_ha.appliance.node.database import beside_the_primary, load, opened
from luigi_ha.appliance.node.incidents import failover_of
from luigi_ha.appliance.node.leading import throw_away
from luigi_ha.appliance.node.mirror import Mirror
from luigi_ha.appliance.node.outage import Outage
from luigi_ha.appliance.node.past import LOOK_AT_PAST, lost_present, present_mirror
from luigi_ha.appliance.node.promotion import NotOurs, catch_up, fence, require_lease
from luigi_ha.appliance.node.states import State
from luigi_ha.appliance.store import DatabaseAway, Failover, FencedError, NotAPrefix, Position, StoreError, Unusable
from luigi_ha.ha.keeper.messages import Follow, Lead, Peer
from luigi_ha.ha.keeper.why import SWITCHOVER

if TYPE_CHECKING:
    from luigi_ha.appliance.node.node import Node

FLUSH_WITHIN = 4.0  # s for the journal to become empty in a hand-over
LAST_COMMITS = 0.3  # s that a journal whose leadership is over has to finish what is on its way
QUIET_WITHIN = 2.0  # s for connections to end before the address moves away from under them
RESUME_AFTER = 0.5  # s after which the address has moved
_log = log.get("node")


class Roles:
    """Moves one node between its states."""

    def __init__(self, node: "Node") -> None:
        self._node = node
        self._following: asyncio.Task[None] | None = None
        self.mirror: Mirror | None = None
        self.leader: Peer | None = None  # another node, as far as the keeper has told
        self._older_since: float | None = None
        self.served = 0  # the greatest epoch under which anybody is known to have led
        self.outage = Outage(node)
        self.grew_at: float | None = None  # monotonic: when the leader's log was seen to grow last
        self._seq = 0
        self._gave_way = False  # this node has asked to be relieved, and still has the address and the callers
        self._recording: asyncio.Task[None] | None = None

    # -- becoming a standby --------------------------------------------------------------------------------------

    async def stand_by(self) -> None:
        """From the start: read the state, then follow the leader's log."""
        node = self._node
        self._point_relay()  # calls need not wait for that
        self.mirror = await load(node)
        await node.sameness.compared_once()
        if node.sameness.locked_out is not None:
            return  # the node ends
        node.life.fire("stand_by", seq=self.mirror.seq, tasks=len(self.mirror.engine.tasks))
        self._begin_to_follow()

    def _begin_to_follow(self) -> None:
        self._point_relay()
        self._following = asyncio.create_task(self._follow(), name="follow")
        self._following.add_done_callback(self._node.background_ended)

    async def _follow(self) -> None:
        node = self._node
        while True:
            if self.mirror is None:
                self.mirror = await present_mirror(node)
            node.engine, node.epoch = self.mirror.engine, int(self.mirror.position.epoch)
            node.dispatcher.reflect(self.mirror.engine, self.mirror)
            self.mirror.use(opened(node))
            try:
                await self.mirror.follow(self._stepped)
            except NotAPrefix as error:
                self._tell_unable(f"reading the state anew: {error}")
                self._discard()

    def _discard(self) -> None:
        """The mirror is not what it should be."""
        if self.mirror is not None:
            self.mirror.close()
            self.mirror = None
        throw_away(self._node)

    def _stepped(self) -> None:
        """Tell the keeper how we are."""
        mirror, link = self.mirror, self._node.link
        if mirror is not None and mirror.seq != self._seq:
            self._seq, self.grew_at = mirror.seq, monotonic()
        if mirror is None or link is None or mirror.behind:
            return
        self._node.epoch = int(mirror.position.epoch)
        if mirror.position.epoch >= self.served or mirror.away is not None:
            self._older_since = None
        else:
            self._older_since = self._older_since or monotonic()
            if monotonic() - self._older_since > LOOK_AT_PAST:  # no matter of a reading that was under way
                self._older_since = None
                raise NotAPrefix(f"epoch {self.served} has served, the database is at {mirror.position.epoch}")
        if (reason := self._node.sameness.locked_out) is not None:
            self._tell_unable(reason)
            return
        self._node.sameness.joined()
        well = mirror.away is None
        link.able(int(mirror.position.epoch), preferred=well and beside_the_primary(self._node), well=well)

    def _tell_unable(self, reason: str) -> None:
        if self._node.link is not None:
            self._node.link.unable(reason)

    async def end(self) -> None:
        """Follow no more, then read no more: who follows reads."""
        await self._stop_following()
        if self.mirror is not None:
            self.mirror.close()

    async def _stop_following(self) -> None:
        following, self._following = self._following, None
        if following is not None:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    def follow(self, order: Follow) -> None:
        """Who leads now. Calls go there, unless we are about to lead ourselves."""
        node = self._node
        if order.leader is not None:
            self.outage.leads(order.leader.epoch, order.served)
        else:
            self.outage.vacant()
        same = order.leader is not None and order.leader == self.leader
        self.leader, self.served = order.leader, order.served
        if same:
            return
        if node.life.state is State.HANDING_OVER and order.leader is not None:
            name = order.leader.name
            node.order(lambda: self._handed_over(name))
        elif not node.life.acting:
            self._point_relay()
            if self._gave_way and order.leader is not None:
                node.order(self._become_quiet)

    def _point_relay(self) -> None:
        node, leader = self._node, self.leader
        node.gate.close(f"{leader.name} leads" if leader is not None else "no node leads")
        node.relay.retarget(leader.address if leader is not None else None)
        node.dispatcher.pass_on(node.relay if leader is not None else None)

    # -- becoming the leader -------------------------------------------------------------------------------------

    async def promote(self, order: Lead) -> None:
        """Take the lead under the keeper's epoch, or become a standby again."""
        node, began = self._node, monotonic()
        if not node.life.may("promote") or self.mirror is None:
            self.give_up(f"this node is {node.life.state.value}")
            return
        self.served = order.served
        if await lost_present(node, self.mirror):
            self.give_up("its database is older than what was seen of it")
            await self._stop_following()
            self._discard()
            self._begin_to_follow()
            return
        self._gave_way = False
        node.life.fire("promote", epoch=order.epoch, cause=order.cause, previous=order.previous)
        if node.primary_watch is not None:
            node.primary_watch.leads_after(order.cause)
        self.leader = None
        node.gate.close("this node is taking the lead")
        node.relay.retarget(None)
        node.dispatcher.pass_on(None)
        await self._stop_following()
        if order.cause == SWITCHOVER and node.primary_watch is not None:
            await node.primary_watch.bring_along(order.epoch)
        try:
            events, warm = await self._assume(Epoch(order.epoch), self.mirror)
        except NotOurs:
            await self.step_down("the lease ended during the promotion")
            return
        except (FencedError, DatabaseAway, Unusable) as error:
            self.give_up(str(error))
            await self.step_down(str(error))
            return
        node.life.fire("lead", epoch=node.epoch, cause=order.cause)
        toll = self.outage.over(order.cause)
        node.leading.open()
        seconds = monotonic() - began
        _log.info(
            "promoted", epoch=node.epoch, seconds=seconds, events=events, warm=warm, cause=order.cause,
            unserved=toll.seconds, waited=toll.waited, refused=toll.refused,
        )  # fmt: skip
        failover = failover_of(node, order, toll, seconds, events=events, warm=warm)
        self._recording = asyncio.create_task(self._record(failover), name="record")

    async def _record(self, failover: Failover) -> None:
        """For `luigi-ha failovers`. Not worth anything else: a record that cannot be written is left out."""
        try:
            await asyncio.to_thread(opened(self._node).record_failover, failover)
        except StoreError as error:
            _log.warning("failover_not_recorded", epoch=failover.epoch, error=str(error))

    def give_up(self, reason: str) -> None:
        """Ask the keeper to be relieved. What is parked here is passed on to the next leader."""
        if self._node.link is not None:
            self._gave_way = True
            self._node.link.give_up(reason)

    async def _assume(self, epoch: Epoch, mirror: Mirror) -> tuple[int, bool]:
        """Fence, catch up, build the journal. (how many events that took to read; whether it did without the tables)"""
        node = self._node
        mirror.use(opened(node))  # the connection before may hang in a primary that is gone
        taken = await fence(node, epoch)
        try:
            events, warm = await catch_up(node, mirror, epoch, taken), True
        except NotAPrefix as error:
            _log.warning("cold_promotion", error=str(error))
            self._discard()
            mirror = self.mirror = await load(node)
            events, warm = len(mirror.engine.tasks), False
        require_lease(node, epoch)
        mirror.close()
        self.mirror = None
        node.leading.install(mirror.engine, Position(epoch, mirror.seq, mirror.position.hash))
        return events, warm

    # -- leading no more -----------------------------------------------------------------------------------------

    async def hand_over(self, successor: str) -> None:
        """Execute nothing more, and have everything in the database; then say so."""
        node = self._node
        if not node.life.may("hand_over") or node.journal is None or node.link is None:
            return
        node.life.fire("hand_over", successor=successor)
        node.gate.close(f"{successor} takes over")
        until = monotonic() + FLUSH_WITHIN
        journal = node.journal
        while (node.dispatcher.waiting or journal.committed < journal.appended) and monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        if journal.committed == journal.appended:
            node.link.handed()  # otherwise the keeper will say Kept, and wants to hear again that we lead

    def kept(self, reason: str) -> None:
        """The hand-over came to nothing: go on."""
        if self._node.life.may("keep"):
            self._node.life.fire("keep", reason=reason)
            self._node.leading.open()

    async def _handed_over(self, successor: str) -> None:
        """The successor leads."""
        await self.step_down(f"{successor} has taken over")
        await self._become_quiet()

    async def _become_quiet(self) -> None:
        """Pass on what is here and what still comes, until nothing does; then the address may go."""
        node = self._node
        self._gave_way = False
        if node.link is None or node.life.acting:
            return
        if node.options.serve.vip:
            quiet = await node.api.become_quiet(QUIET_WITHIN)
            _log.info("quiet", connections=node.api.connections, complete=quiet)
            asyncio.get_running_loop().call_later(RESUME_AFTER, node.api.resume)
        node.link.quiet()

    async def step_down(self, reason: str) -> None:
        """Become a standby, with the same engine if everything it holds is in the database."""
        node = self._node
        if not node.life.may("step_down"):
            return
        node.life.fire("step_down", reason=reason)
        node.clock.follow()
        node.gate.close(reason)
        engine = node.engine
        journal = await node.leading.end_journal(LAST_COMMITS)
        what = f"executed, but not stored: {reason}"
        node.dispatcher.repeat(Unavailable(what, where="leadership", expected="to be asked again"))
        if journal is not None and engine is not None and journal.committed == journal.appended:
            self.mirror = Mirror(engine, journal.position, node.clock)
        if self.mirror is None:
            self._tell_unable(f"reading the state anew: {reason}")
            throw_away(node)
        self._begin_to_follow()
