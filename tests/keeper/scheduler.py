"""A scheduler without tasks: it speaks through the real link, acts whenever it may, and writes down when it did.

    python -m tests.keeper.scheduler BEHAVIOUR JOURNAL

BEHAVIOUR is a JSON object; JOURNAL a file to which one JSON object a line is appended: time (`ha.clock`), pid, event.
Every 10 ms it asks `link.valid(epoch)` and, if so, acts: the line "effect".
"""

import asyncio
import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luigi_ha.ha.clock import monotonic
from luigi_ha.ha.keeper.link import Link
from luigi_ha.ha.keeper.messages import Follow, Lead

LONGEST_LIFE = 90.0  # s; nothing that a test has started outlives it for long


@dataclass(frozen=True)
class Behaviour:
    """What it does other than well."""

    name: str = "n1"
    above: int = 0
    preferred: bool = True
    able: bool = True
    unable: str = ""
    exit_at_start: int | None = None
    dies_when_told_to_lead: int = 0  # this many times, counted in the journal
    gives_up: bool = False
    hands_over: bool = True
    quiet_after: float = 0.05
    opens_after: float = 0.0
    stops: bool = True
    stuck_after: float | None = None  # s after opening: the event loop blocks
    journal_stuck_after: float | None = None  # s after opening
    on_lost: str = "exit"  # or "deadline"


class Scheduler:
    def __init__(self, behaviour: Behaviour, journal: Path) -> None:
        link = Link.from_environment(os.environ)
        assert link is not None
        self.link = link
        self.behaviour = behaviour
        self.journal = journal
        self.epoch: int | None = None
        self.opened = 0.0
        self.handed = False
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def note(self, event: str, **fields: Any) -> None:
        line = {"at": monotonic(), "node": self.behaviour.name, "pid": os.getpid(), "event": event, **fields}
        with self.journal.open("a") as file:
            file.write(json.dumps(line) + "\n")

    async def run(self) -> int:
        if self.behaviour.exit_at_start is not None:
            return self.behaviour.exit_at_start
        self.note("started")
        self.link.start(self)
        if self.behaviour.unable:
            self.link.unable(self.behaviour.unable)
        acting = asyncio.create_task(self.act())
        code = await self.ended
        acting.cancel()
        self.note("exit", code=code)
        return code

    async def act(self) -> None:
        while True:
            self.fit()
            if self.epoch is not None and self.link.valid(self.epoch):
                self.note("effect", epoch=self.epoch)
                self.misbehave()
            await asyncio.sleep(0.01)

    def fit(self) -> None:
        if self.epoch is None and self.behaviour.able and not self.behaviour.unable:
            self.link.able(self.behaviour.above, self.behaviour.preferred)
        stuck = self.behaviour.journal_stuck_after
        if stuck is None or self.epoch is None or monotonic() < self.opened + stuck:
            self.link.journal_beat()

    def misbehave(self) -> None:
        stuck = self.behaviour.stuck_after
        if stuck is not None and monotonic() > self.opened + stuck:
            self.note("stuck")
            time.sleep(8)

    # ---------------------------------------------------------------------------------------------------------- orders

    def lead(self, order: Lead) -> None:
        self.note("lead", epoch=order.epoch, cause=order.cause, previous=order.previous)
        died = sum('"dies"' in line for line in self.journal.read_text().splitlines())
        if died < self.behaviour.dies_when_told_to_lead:
            self.note("dies")
            os.kill(os.getpid(), signal.SIGKILL)
        if self.behaviour.gives_up:
            self.link.give_up("fenced")
            return
        asyncio.get_running_loop().call_later(self.behaviour.opens_after, self.open, order.epoch)

    def open(self, epoch: int) -> None:
        self.epoch, self.opened = epoch, monotonic()
        self.link.leading(epoch)

    def follow(self, order: Follow) -> None:
        self.note("follow", leader=order.leader.name if order.leader else None, paused=order.paused)
        if self.handed and order.leader is not None:
            self.handed = False
            asyncio.get_running_loop().call_later(self.behaviour.quiet_after, self.quiet)

    def quiet(self) -> None:
        self.note("quiet")
        self.link.quiet()

    def members(self, members: Any) -> None:
        pass

    def hand_over(self, successor: str) -> None:
        self.note("hand_over", to=successor)
        if self.behaviour.hands_over:
            self.handed_epoch, self.epoch, self.handed = self.epoch, None, True
            self.link.handed()

    def kept(self, reason: str) -> None:
        self.note("kept", reason=reason)
        if self.handed:
            self.epoch, self.handed = self.handed_epoch, False
        if self.epoch is not None:
            self.link.leading(self.epoch)

    def over(self, reason: str) -> None:
        self.note("over", reason=reason)
        self.epoch = None

    def stop(self) -> None:
        self.note("stop")
        if self.behaviour.stops:
            self.end(0)

    def lost(self) -> None:
        self.note("lost")
        if self.behaviour.on_lost == "exit":
            self.end(7)
        else:
            asyncio.get_running_loop().call_later(self.link.remaining(), self.end, 7)

    def end(self, code: int) -> None:
        if not self.ended.done():
            self.ended.set_result(code)


async def main() -> int:
    scheduler = Scheduler(Behaviour(**json.loads(sys.argv[1])), Path(sys.argv[2]))
    try:
        async with asyncio.timeout(LONGEST_LIFE):
            return await scheduler.run()
    except TimeoutError:
        return 9


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
