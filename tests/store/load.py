"""Calls in a row while something happens to the database; what was acknowledged is in the log once."""

import asyncio

from luigi_ha.appliance.store import Journal, JournalState, Store
from tests.store.samples import add, change, creation, loaded, replayed, run, until


class Load:
    """Calls in a row, each waiting for its commit; remembers which were acknowledged."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.acknowledged: list[int] = []
        self.sent = 0
        self.stopping = False

    async def caller(self) -> None:
        while not self.stopping:
            self.sent += 1
            num = self.sent
            await self.journal.wait(add(self.journal, creation(num), change(num, status="RUNNING")), 60)
            self.acknowledged.append(num)
            await asyncio.sleep(0.001)

    async def run(self, trouble) -> None:
        callers = [asyncio.ensure_future(self.caller()) for _ in range(16)]
        await until(lambda: len(self.acknowledged) > 50)
        await trouble()
        before = len(self.acknowledged)
        await until(lambda: len(self.acknowledged) > before + 50, 60)
        self.stopping = True
        await asyncio.gather(*callers)

    def check(self, store: Store) -> None:
        """After everything was acknowledged: every call is in the log once, and in the tables."""
        numbers = [entry.change.num for entry in store.log(0, 1_000_000)]
        assert sorted(numbers) == sorted([*range(1, self.sent + 1)] * 2)
        assert len(self.acknowledged) == self.sent
        assert loaded(store) == replayed(store)


def under_load(store: Store, trouble) -> Journal:
    """Run `trouble(journal)` while calls are made; check the log; the journal as it was at the end."""

    async def scenario() -> tuple[Journal, Load]:
        journal = Journal(store, store.take_leadership("leader"))
        journal.start()
        load = Load(journal)
        await load.run(lambda: trouble(journal))
        assert journal.state is JournalState.WRITING
        assert await asyncio.to_thread(journal.close, 5)
        return journal, load

    journal, load = run(scenario())
    load.check(store)
    return journal
