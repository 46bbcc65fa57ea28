"""The host with the leader and the database's primary is lost: what the others do meanwhile, on virtual time.

Keepers and elections are the real ones; each scheduler reads the database as a mirror does, and decides by the rule of
`luigi_ha.appliance.node.evidence`. A reading in a dead connection hangs before it fails.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from luigi_ha.appliance.node.evidence import FOR, FRESH, Reaching, reaches
from luigi_ha.ha.clock import Clock
from luigi_ha.ha.keeper.messages import Able, Lead, Over, ToScheduler
from luigi_ha.ha.keeper.options import KeeperOptions
from tests.ha.virtual import virtually
from tests.keeper.virtual_nodes import VirtualNode, VirtualScheduler, VirtualWorld

LOOK = 0.05  # s between two readings
HANGS = 5.0  # s for which a reading hangs in a connection to a host that is gone
ATTEMPT = 0.3  # s that an attempt to write takes in vain


class Reader(VirtualScheduler):
    """Opens when its database can be written; makes way for who reaches it."""

    def __init__(self, node: "Node", changed: Callable[[], None], clock: Clock) -> None:
        super().__init__(node, changed, clock)
        self.node = node
        self.reaching = Reaching(clock)
        self.away: str | None = None
        self.present_at = clock()
        self.gave_up: list[tuple[float, str]] = []
        self.tasks = [asyncio.create_task(self.read())]

    def health(self) -> dict[str, Any]:
        age = self._clock() - self.present_at
        return {"mirror": {"away": self.away, "age": age, "reached_for": self.reaching.seconds}}

    async def read(self) -> None:
        while self.alive and not self.node.dead:
            begun = self._clock()
            if self.node.reached:
                await asyncio.sleep(0.002)
                self.reaching.read(begun)
                self.away, self.present_at = None, begun
                await asyncio.sleep(LOOK)
            else:
                await asyncio.sleep(HANGS if self.away is None else ATTEMPT)
                self.away = "no answer"
                self.reaching.failed()

    def _take(self) -> None:
        message: ToScheduler = self._inbox[0]
        if isinstance(message, Lead):
            self._inbox.pop(0)
            self.node.orders.append(message)
            self.tasks.append(asyncio.create_task(self.promote(message.epoch)))
            return
        super()._take()

    def better(self) -> str | None:
        others = [node for node in self.node.everybody if node is not self.node and not node.dead and not node.cut]
        able = [node for node in others if isinstance(node.scheduler.said.fit, Able)]
        return next((node.name for node in able if reaches(node.scheduler.health())), None)

    async def promote(self, epoch: int) -> None:
        while self.alive and self._clock() < self._page[0] and self._page[1] == epoch:
            if self.node.reached:
                await asyncio.sleep(0.02)
                self._opens(epoch)
                return
            await asyncio.sleep(ATTEMPT)
            better = self.better()
            if better is not None and not self.node.reached and self.better() is not None:
                self.gave_up.append((self._clock(), better))
                self.said.gave_up, self.said.fit = f"its database is away, and {better} reaches it", None
                self._changed()
                return

    def send(self, message: ToScheduler) -> None:
        if isinstance(message, Over):
            self._after(0.01, self._quiet)
        super().send(message)


class Node(VirtualNode):
    """With a database that it reaches, or not."""

    def __init__(self, name: str, world: VirtualWorld, everybody: "list[Node]") -> None:
        self.reached = True
        self.everybody = everybody
        self.orders: list[Lead] = []
        everybody.append(self)
        super().__init__(name, world)

    @property
    def scheduler(self) -> Reader:
        found = self.schedulers[-1]
        assert isinstance(found, Reader)
        return found

    def _start(self, _options: KeeperOptions, changed: Callable[[], None], clock: Clock) -> Reader:
        self.schedulers.append(Reader(self, changed, clock))
        return self.scheduler


class World(VirtualWorld):
    """n1 leads, on the host of the primary; n2 and n3 could."""

    def __init__(self) -> None:
        self.all: list[Node] = []
        super().__init__()
        self.n1.task.cancel()
        self.leaders: list[str] = []

    async def three(self) -> list[Node]:
        await asyncio.gather(self.n1.task, return_exceptions=True)
        await asyncio.sleep(10.0)
        nodes = []
        for name in ("a", "b", "c"):
            nodes.append(Node(name, self, self.all))
            await asyncio.sleep(1.0)
        await self.until(lambda: nodes[0].serves)
        await asyncio.sleep(3.0)
        self.n1, self.n2 = nodes[0], nodes[1]
        self.watching = asyncio.create_task(self.watch())
        return nodes

    async def watch(self) -> None:
        """Who leads, in order."""
        while True:
            leader = (await self.all[-1].elector.observe()).leader
            if leader is not None and self.leaders[-1:] != [leader.name]:
                self.leaders.append(leader.name)
            await asyncio.sleep(0.05)

    async def end(self) -> None:
        self.watching.cancel()
        for node in self.all:
            for scheduler in node.schedulers:
                for task in scheduler.tasks:  # type: ignore[attr-defined]
                    task.cancel()
            node.task.cancel()
        await asyncio.gather(*(node.task for node in self.all), return_exceptions=True)


def lose(node: Node, others: list[Node]) -> None:
    """The host, with the primary."""
    node.die()
    node.scheduler.kill()
    for each in [node, *others]:
        each.reached = False


@pytest.mark.parametrize("first_again", ["b", "c"])
@pytest.mark.parametrize("after", [4.0, 9.0, 21.0])
def test_the_leadership_stays_with_whoever_won_it_until_there_is_a_primary(first_again: str, after: float) -> None:
    async def main() -> None:
        world = World()
        a, b, c = await world.three()
        lose(a, [b, c])
        await asyncio.sleep(after)
        [first] = [node for node in (b, c) if node.name == first_again]
        first.reached = True  # the primary is promoted there, and is known to the other a little later
        await asyncio.sleep(0.4)
        b.reached = c.reached = True
        await world.until(lambda: b.serves or c.serves)
        assert len(world.leaders) == 2, world.leaders  # a, and one other
        assert b.scheduler.gave_up == c.scheduler.gave_up == []
        world.check()
        await world.end()

    virtually(main)


@pytest.mark.parametrize("reaches_it", ["b", "c"])
def test_who_alone_reaches_the_primary_gets_the_leadership_once(reaches_it: str) -> None:
    async def main() -> None:
        world = World()
        a, b, c = await world.three()
        lose(a, [b, c])
        await asyncio.sleep(12.0)
        [first] = [node for node in (b, c) if node.name == reaches_it]
        first.reached = True  # for good: the other is cut off from it
        await world.until(lambda: first.serves)
        await world.until(lambda: world.leaders[-1] == reaches_it)
        assert len(world.leaders) <= 3, world.leaders
        [order] = first.orders
        assert order.previous == "a"  # who only tried in between is not who led before
        assert order.cause.startswith("no word from a: its lease ended")
        assert len(order.cause) < 150
        world.check()
        await world.end()

    virtually(main)


def test_evidence_is_a_reading_that_has_just_ended_and_has_for_a_while() -> None:
    now = [100.0]
    reaching = Reaching(lambda: now[0])

    def health(age: float = 0.05, away: str | None = None) -> dict[str, Any]:
        return {"mirror": {"away": away, "age": age, "reached_for": reaching.seconds}}

    assert not reaches(health())
    for _ in range(30):
        reaching.read(now[0] - 0.01)
        now[0] += LOOK
    assert reaches(health())
    assert not reaches(health(age=FRESH + 0.01))  # it hangs, and does not know yet
    assert not reaches(health(away="no answer"))
    reaching.failed()
    assert not reaches(health())
    reaching.read(now[0])
    assert not reaches(health())
    now[0] += FOR
    reaching.read(now[0] - 0.9)  # a slow one: what was before it does not count
    assert not reaches(health())
    now[0] += 5.0
    reaching.read(now[0])  # nothing for five seconds
    assert not reaches(health())
    for nothing in (None, {}, {"mirror": None}, {"mirror": {"away": None, "age": 0.0}}):
        assert not reaches(nothing)
