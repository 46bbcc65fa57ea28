"""The planned switchover, as far as it is about leadership: from this node to a named one, or not at all.

It has succeeded only when the named node holds a newer epoch: that it was asked to is not enough. If it does not come
within its time, the reservation lapses and anybody may win again, the former leader too.
"""

import asyncio
from contextlib import aclosing

from luigi_ha.ha.elector import Elector, Leader
from luigi_ha.ha.errors import Definitive, LeaseLost, Unknown
from luigi_ha.ha.log import Events

SLACK = 1.0  # s for the news to arrive

_log = Events("handover")


class HandoverFailed(Definitive):
    """The named node did not become leader. The message says who did, if anybody."""


async def hand_over(elector: Elector, successor: str, within: float = 5.0) -> Leader:
    """Resign in favour of `successor`, and wait until it leads. Call it when this node has stopped acting as leader.

    Raises HandoverFailed; or what `resign` raises, and then `elector.lease` says whether this node still leads.
    """
    before = elector.epoch
    if before is None:
        raise LeaseLost("only the leader can hand leadership over")
    if successor == elector.candidate.name:
        raise ValueError("the successor is the leader already")
    await elector.resign(successor, within)
    try:
        async with asyncio.timeout(within + SLACK), aclosing(elector.watch()) as views:
            async for view in views:
                leader = view.leader
                if leader is not None and leader.epoch > before:
                    if leader.name != successor:
                        raise HandoverFailed(f"{leader.name} leads instead of {successor} (epoch {leader.epoch})")
                    _log.info("handed_over", successor=successor, before=before, epoch=leader.epoch)
                    return leader
    except TimeoutError:
        raise HandoverFailed(f"{successor} has not taken over within {within:g} s; anybody may now") from None
    raise Unknown("the watch ended")
