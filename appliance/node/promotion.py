"""The steps of a promotion that wait for the database, and when to give up for the sake of a node that reaches it.

Each step asks first whether the lease is still ours. While the database is away for all, a promotion waits, with the
lead: nobody is served better by a leadership, and an address, that go round.
"""

import asyncio
from typing import TYPE_CHECKING

from luigi_ha.appliance import log
from luigi_ha.appliance.clock import monotonic
from luigi_ha.appliance.engine.changes import Epoch
from luigi_ha.appliance.node.database import opened, reach, reached
from luigi_ha.appliance.node.mirror import Mirror
from luigi_ha.appliance.store import DatabaseAway, Position

if TYPE_CHECKING:
    from luigi_ha.appliance.node.node import Node

TAKE_EVERY = 0.1  # s between attempts to take the lead in the database, while calls are parked here
TROUBLE_AFTER = 0.5  # s a leader waits for its database before it makes way
_log = log.get("node")


class NotOurs(Exception):  # noqa: N818 - no fault
    """The lease has run out in the middle of something."""


def require_lease(node: "Node", epoch: Epoch) -> None:
    """NotOurs if it has run out."""
    if node.link is not None and not node.link.valid(int(epoch)):
        raise NotOurs


async def fence(node: "Node", epoch: Epoch) -> Position:
    """Write our epoch. DatabaseAway if another node reaches the database, and this one does not."""
    began, store = monotonic(), opened(node)
    looking: asyncio.Task[str | None] | None = None  # beside the attempts: a node that is gone does not answer

    async def away(_error: DatabaseAway) -> None:
        nonlocal looking
        require_lease(node, epoch)
        if looking is None and monotonic() - began > TROUBLE_AFTER:
            looking = asyncio.create_task(better_placed(node), name="better")
        elif looking is not None and looking.done():
            better, looking = looking.result(), None
            if better is not None:
                raise DatabaseAway(f"its database is away, and {better} reaches it")

    require_lease(node, epoch)
    try:
        return await reach(node, lambda: store.take_leadership(node.holder, epoch), TAKE_EVERY, away)
    finally:
        if looking is not None:
            looking.cancel()


async def better_placed(node: "Node") -> str | None:
    """Another node that reaches the database now, and has for a while, and goes on while this one tries in vain."""
    if node.pair or not await node.peers.reaching() or await reached(node):
        return None
    return next(iter(await node.peers.reaching()), None)


async def catch_up(node: "Node", mirror: Mirror, epoch: Epoch, end: Position) -> int:
    """Read what the leader before wrote last; how many events that is."""
    while True:
        require_lease(node, epoch)
        try:
            return await mirror.catch_up(end)
        except DatabaseAway as error:
            _log.warning("database_away", error=str(error))
            await asyncio.sleep(TAKE_EVERY)
