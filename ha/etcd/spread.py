"""Keeping etcd's own leader away from a host: when that host is lost, the others then need no election first.

Without it the loss of one machine costs an election of etcd plus a lease, and the lease runs anew in full: twice the
time. Whoever leads asks for this now and then; it costs one status call while there is nothing to do.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from luigi_ha.ha.errors import HaError
from luigi_ha.ha.log import Events

BEHIND = 1000  # entries of the log by which a healthy member may be behind

_log = Events("etcd")


class Status(NamedTuple):
    """What one member says of itself. Ids are etcd's; 0 for `leader`: it knows none."""

    member: int
    leader: int
    applied: int
    learner: bool
    errors: bool


async def spread(
    own: str,
    others: Sequence[str],
    status: Callable[[str], Awaitable[Status]],
    move: Callable[[str, int], Awaitable[None]],
) -> str | None:
    """If the member at `own` leads, make it hand over to the most advanced healthy one of `others`; returns where that
    is. `move` is asked of the leader, with the id of its successor."""
    here = await status(own)
    if not here.leader or here.leader != here.member or not others:
        return None
    answers = await asyncio.gather(*(status(each) for each in others), return_exceptions=True)
    fit: list[tuple[int, str, int]] = []
    for endpoint, answer in zip(others, answers, strict=True):
        if isinstance(answer, Status):
            if _fit(answer, here):
                fit.append((answer.applied, endpoint, answer.member))
        elif not isinstance(answer, HaError):
            raise answer
    if not fit:
        return None
    _, endpoint, member = max(fit)
    await move(own, member)
    _log.info("etcd_leader_moved", to=endpoint)
    return endpoint


def _fit(there: Status, here: Status) -> bool:
    well = there.leader == here.member and there.member != here.member
    return well and not there.learner and not there.errors and there.applied >= here.applied - BEHIND
