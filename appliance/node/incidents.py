"""Failovers as incidents: those that nobody had wanted, the last one first, each with its story."""

import asyncio
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from luigi_ha.appliance.api.errors import Unavailable
from luigi_ha.appliance.clock import wall
from luigi_ha.appliance.engine.changes import Epoch
from luigi_ha.appliance.node.outage import Toll
from luigi_ha.appliance.store import DatabaseAway, Failover
from luigi_ha.ha.keeper.messages import Lead
from luigi_ha.ha.keeper.why import is_planned

if TYPE_CHECKING:
    from luigi_ha.appliance.node.node import Node
    from luigi_ha.appliance.store import Store

LOOKED_AT = 10_000  # changes of leader, among which incidents are counted


def failover_of(node: "Node", order: Lead, toll: Toll, seconds: float, *, events: int, warm: bool) -> Failover:
    """What is to be remembered of a promotion that took so long, and read so many events."""
    began = wall() - (toll.seconds or 0.0)
    story = node.recent.story(began, unserved=toll.seconds, waited=toll.waited, refused=toll.refused)
    return Failover(
        epoch=Epoch(order.epoch), at=wall(), holder=node.holder, previous=order.previous,
        cause=order.cause + toll.shown, parked_seconds=toll.seconds, promotion_seconds=seconds, warm=warm,
        events_read=events, story=json.dumps(story),
    )  # fmt: skip


async def incident(node: "Node", number: int) -> dict[str, Any]:
    """The last (1), the one before (2), ...; KeyError if there are not so many."""
    if node.store is None:
        raise node.dispatcher.unavailable()
    try:
        return await asyncio.to_thread(_read, node.store, number)
    except DatabaseAway as error:
        raise Unavailable(str(error), where="database", expected="to be asked again") from error


def _read(store: "Store", number: int) -> dict[str, Any]:
    unwanted = [each for each in reversed(store.failovers(LOOKED_AT)) if not is_planned(each.cause)]
    if number > len(unwanted):
        raise KeyError(number)
    found = store.story(int(unwanted[number - 1].epoch))
    if found is None:
        raise KeyError(number)
    return {**asdict(found), "story": json.loads(found.story) if found.story is not None else None}
