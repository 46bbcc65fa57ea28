"""Staying leader: renew, and know when it is over.

Unknown is not a loss: the leader leads on, and asks again soon, until its deadline. Not an instant longer: the
deadline ends the leadership even in the middle of a renewal that hangs. Definitive ends it at once.
"""

import asyncio
from collections.abc import Callable

from luigi_ha.ha.clock import Clock, monotonic
from luigi_ha.ha.elector import Elector
from luigi_ha.ha.errors import Definitive, Fatal, LeaseLost, Unknown
from luigi_ha.ha.log import Events

RETRY = 0.1  # s after a renewal that failed; the renewal itself has waited for its endpoints

_log = Events("hold")


async def hold(elector: Elector, clock: Clock = monotonic, renewed: Callable[[], None] = lambda: None) -> Definitive:
    """Renew until the leadership of `elector` is over; returns why. `clock` is the one of its lease; `renewed` is
    called after each renewal that counts.

    It returns no later than the deadline, as far as the event loop runs; what must not happen after the deadline asks
    `elector.lease.valid(now)` itself.
    """
    timing = elector.timing
    late = 0
    while (left := elector.lease.remaining(started := clock())) > 0:
        try:
            async with asyncio.timeout(left):
                await elector.renew()
        except Definitive as error:
            _log.warning("leadership_lost", error=str(error))
            return error
        except (Unknown, Fatal, TimeoutError) as error:
            late += 1
            _log.warning("renewal_failed", failures=late, remaining=elector.lease.remaining(clock()), error=str(error))
            pause = RETRY
        else:
            late = 0
            renewed()
            pause = max(0.0, started + timing.renew_every - clock())
        await asyncio.sleep(min(pause, elector.lease.remaining(clock())))
    over = LeaseLost("the deadline has passed without a renewal that counts")
    _log.warning("leadership_lost", error=str(over))
    return over
