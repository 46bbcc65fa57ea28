"""All faults by their names, two in a row, and so many at random."""

import random
from collections.abc import Sequence

from luigi_ha.appliance.drill import host_faults, process_faults, promotion_faults, worker_faults
from luigi_ha.appliance.drill.fault import Fails, Fault, together
from luigi_ha.appliance.drill.place import DrillError

ALL = process_faults.ALL | promotion_faults.ALL | worker_faults.ALL | host_faults.ALL
TWICE = "+"
PLACES = {"pair": "a pair", "lab": "a lab", "hosts": "your own hosts"}


def chosen(names: Sequence[str], kind: str) -> list[Fault]:
    """The faults of these names, "one+two" for two of them in a row, on a place of this kind. DrillError for a name
    that is none, and for what cannot be done there."""
    found = []
    for name in names:
        parts = name.split(TWICE)
        unknown = [part for part in parts if part not in ALL]
        if unknown or len(parts) > 2:
            raise DrillError(f"no fault {', '.join(unknown) or name}; expected some of {', '.join(ALL)}, or ONE+TWO")
        fault = ALL[parts[0]] if len(parts) == 1 else together(ALL[parts[0]], ALL[parts[1]])
        if kind not in fault.on:
            raise DrillError(
                f"{name} cannot be done on {PLACES[kind]}; expected --on {' or '.join(fault.on) or 'nothing'}"
            )
        found.append(fault)
    return found


def drawn(count: int, kind: str, rng: random.Random) -> list[Fault]:
    """So many at random, of what can be done on a place of this kind: each once before any is drawn anew, and every
    third with another one right after it."""
    here = [fault for fault in ALL.values() if kind in fault.on]
    # What is planned may be refused, after another fault.
    seconds = [fault for fault in here if fault.second and fault.fails is not Fails.NONE]
    found: list[Fault] = []
    pool: list[Fault] = []
    for number in range(count):
        if not pool:
            pool = rng.sample(here, len(here))
        fault = pool.pop()
        # The same filter twice is one. A cold start under a wrong date is one that nobody can tell from the right one.
        others = [each for each in seconds if each.name != fault.name and (each.recovers or not fault.clocks)]
        found.append(together(fault, rng.choice(others)) if number % 3 == 2 and fault.recovers and others else fault)
    return found
