"""Faults of workers: what becomes of a task whose worker is gone, ends in order, or stands still."""

import random
from collections.abc import Callable
from functools import partial

from luigi_ha.appliance.drill.fault import Bite, Fails, Fault, Strike
from luigi_ha.appliance.drill.fleet import Daemon
from luigi_ha.appliance.drill.place import Breakable, DrillError, now


def _strike(deed: Callable[[Daemon], str]) -> Strike:
    """One of the workers that have a task, if there is such a one."""

    def strike(place: Breakable, rng: random.Random) -> Bite:
        busy = [each for each in place.workers if each.at_work()] or list(place.workers)
        if not busy:
            raise DrillError("no worker runs")
        at = now()
        proof = deed(rng.choice(busy))
        return Bite((), at, now(), proof)

    return strike


_worker = partial(Fault, moves=False, workers=True, fails=Fails.NONE, within=5.0)
_TABLE = (
    _worker("kill-worker", "SIGKILL to a worker; started again, it reports its task as failed", _strike(Daemon.kill)),
    _worker("stop-worker", "SIGTERM to a worker: it drains and ends", _strike(Daemon.stop)),
    _worker("freeze-worker", "SIGSTOP to a worker and its task, for some seconds", _strike(Daemon.freeze), watch=5.0),
)
ALL = {fault.name: fault for fault in _TABLE}
