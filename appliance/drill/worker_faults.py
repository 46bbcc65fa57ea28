"""Faults of workers: what becomes of a task whose worker is gone, ends in order, or stands still."""

import random
from collections.abc import Callable
from functools import partial

from luigi_ha.appliance.drill.fault import Bite, Fails, Fault, Strike, until_true
from luigi_ha.appliance.drill.fleet import Daemon
from luigi_ha.appliance.drill.place import Breakable, now

BUSY_WITHIN = 10.0  # s until one of them has a task


def _strike(deed: Callable[[Daemon], str]) -> Strike:
    """One of the workers that have a task."""

    def strike(place: Breakable, rng: random.Random) -> Bite:
        def busy() -> list[Daemon]:
            return [each for each in place.workers if each.alive and each.at_work]

        until_true(lambda: bool(busy()), BUSY_WITHIN, "no worker has a task")
        at, chosen = now(), rng.choice(busy() or list(place.workers))
        return Bite((), at, now(), deed(chosen))

    return strike


_worker = partial(Fault, moves=False, workers=True, fails=Fails.NONE, within=5.0)
_TABLE = (
    _worker("kill-worker", "SIGKILL to a worker; started again, it reports its task as failed", _strike(Daemon.kill)),
    _worker("stop-worker", "SIGTERM to a worker: it drains and ends", _strike(Daemon.stop)),
    _worker("freeze-worker", "SIGSTOP to a worker and its task, for some seconds", _strike(Daemon.freeze), watch=5.0),
)
ALL = {fault.name: fault for fault in _TABLE}
