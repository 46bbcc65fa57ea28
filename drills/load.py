"""One round's load: all clients at work, until they are stopped or the scheduler is gone.

Not promised: that clients start at once. While the scheduler starts, they wait until it accepts connections.
"""

import asyncio
import time

from drills.clients import Client
from drills.ledger import Ledger, Outcome
from drills.scheduler import Scheduler


class Load:
    """The clients at work, for one round."""

    def __init__(
        self, clients: list[Client], ledger: Ledger, family: str, starting: Scheduler | None, *, together: bool
    ) -> None:
        self._together = together
        self.stop = asyncio.Event()
        self._ledger = ledger
        self._first = len(ledger.calls)
        self._tasks = [asyncio.create_task(self._run(client, family, starting)) for client in clients]

    async def _run(self, client: Client, family: str, starting: Scheduler | None) -> None:
        while starting is not None and not await listens(starting.port):
            if self.stop.is_set():
                return
            await asyncio.sleep(0.02)
        await client.load(family, self.stop, together=self._together)

    def acknowledged(self) -> int:
        """Calls of this round that were acknowledged."""
        calls = self._ledger.calls
        return sum(calls[n].outcome is Outcome.ACKNOWLEDGED for n in range(self._first, len(calls)))

    def calls(self) -> int:
        """Calls of this round."""
        return len(self._ledger.calls) - self._first

    async def resumes(self, acknowledged: int, until: float) -> None:
        """Wait for so many acknowledged calls, as long as there are clients, at most until then (monotonic)."""
        while self.acknowledged() < acknowledged and time.monotonic() < until:
            if all(task.done() for task in self._tasks):
                return
            await asyncio.sleep(0.02)

    async def ended(self) -> None:
        """Every client has its answer, or knows that there will be none."""
        await asyncio.gather(*self._tasks)


async def listens(port: int) -> bool:
    """Whether anybody accepts connections there."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
