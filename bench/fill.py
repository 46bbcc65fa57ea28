"""A database with many tasks, filled by the engine and the journal themselves: HTTP would take a quarter of an hour."""

import asyncio
import random
import time
from collections.abc import Callable

from bench import shapes
from luigi_ha.appliance.engine import Scheduler, Settings
from luigi_ha.appliance.store import Journal, open_store


def fill(url: str, size: int, report: Callable[[int], None]) -> float:
    """Write `size` pending tasks of one worker; returns the seconds it took."""
    return asyncio.run(_fill(url, size, report))


async def _fill(url: str, size: int, report: Callable[[int], None]) -> float:
    begun = time.monotonic()
    store = open_store(url)
    store.upgrade()
    engine = Scheduler(Settings(), clock=time.time, random=random.Random(1))
    journal = Journal(store, store.take_leadership("bench"))
    journal.start()
    for n, call in enumerate(shapes.own(size), 1):
        engine.add_task(**call)
        journal.append(engine.take_changes().records, at=time.time(), method="add_task", actor="owner")
        if not n % 20_000:
            report(n)
            await journal.wait(journal.appended - 10_000, 120)
    await journal.wait(journal.appended, 120)
    await asyncio.to_thread(journal.close, 60)
    store.close()
    return time.monotonic() - begun
