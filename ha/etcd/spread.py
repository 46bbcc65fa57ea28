"""Keeping etcd's own leader away from the hosts that matter: when one is lost, the others then need no election first.

Without it the loss of one machine costs an election of etcd plus a lease, and the lease runs anew in full: twice the
time. Those hosts are the scheduler leader's, and the one of the database's primary if that is another. Whoever leads
asks for this now and then; while both are one host it costs one status call.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

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
    shun: Collection[str],
    status: Callable[[str], Awaitable[Status]],
    move: Callable[[str, int], Awaitable[None]],
) -> str | None:
    """If the member at `own`, or one on a host of `shun`, leads, make it hand over to the most advanced healthy one of
    the rest; returns where that is. Where no other is left, those of `shun` take it from `own`. `move` is asked of the
    leader, with the id of its successor."""
    here = await status(own)
    shunned = [endpoint for endpoint in others if urlsplit(endpoint).hostname in shun]
    if not here.leader or not others or (here.leader != here.member and not shunned):
        return None
    found = {own: here, **await _asked(others, status)}
    leader = next((each for each in (own, *shunned) if each in found and found[each].member == here.leader), None)
    if leader is None:
        return None
    fit = [each for each in others if each in found and _fit(found[each], found[leader])]
    fit = [each for each in fit if each not in shunned] or (fit if leader == own else [])
    if not fit:
        return None
    endpoint = max(fit, key=lambda each: (found[each].applied, each))
    await move(leader, found[endpoint].member)
    _log.info("etcd_leader_moved", to=endpoint)
    return endpoint


async def _asked(endpoints: Sequence[str], status: Callable[[str], Awaitable[Status]]) -> dict[str, Status]:
    """What those say that answer."""
    answers = await asyncio.gather(*(status(each) for each in endpoints), return_exceptions=True)
    found = {}
    for endpoint, answer in zip(endpoints, answers, strict=True):
        if isinstance(answer, Status):
            found[endpoint] = answer
        elif not isinstance(answer, HaError):
            raise answer
    return found


def _fit(there: Status, leader: Status) -> bool:
    well = there.leader == leader.member and there.member != leader.member
    return well and not there.learner and not there.errors and there.applied >= leader.applied - BEHIND
