"""A node does not follow, and does not lead on, a database that is older than what was seen of it; see
`luigi_ha.appliance.store.past`."""

import asyncio
from typing import TYPE_CHECKING

from luigi_ha.appliance import log
from luigi_ha.appliance.node.database import load, opened, reach
from luigi_ha.appliance.node.mirror import Mirror
from luigi_ha.appliance.store import DatabaseAway, behind

if TYPE_CHECKING:
    from luigi_ha.appliance.node.node import Node

LOOK_AT_PAST = 1.0  # s between two looks at a database that is older than what was seen
_log = log.get("node")


async def present_mirror(node: "Node") -> Mirror:
    """A mirror of the database, once that is no past; until then this node says that it cannot lead."""
    said = None
    while (reason := await reach(node, lambda: _older(node))) is not None:
        if reason != said:
            said = reason
            _log.error("database_is_older", error=reason)
        if node.link is not None:
            node.link.unable(reason)
        await asyncio.sleep(LOOK_AT_PAST)
    return await load(node)


async def lost_present(node: "Node", mirror: Mirror) -> bool:
    """Whether what is about to be led on is a past. A database that is away is for the promotion to find."""
    if mirror.position.epoch >= node.roles.served and opened(node).memory is None:
        return False  # what a promotion of a cluster needs not wait for
    try:
        return await asyncio.to_thread(_older, node) is not None
    except DatabaseAway:
        return False


def _older(node: "Node") -> str | None:
    return behind(opened(node), node.roles.served)
