"""Two whole keepers on virtual time: real elections over the store in memory, schedulers and addresses in memory.

Faults are those of machines: a process dies, a process freezes, a network is cut. What must never happen is looked for
all the time, not only at the end.
"""

import asyncio
import signal
from collections.abc import Callable
from typing import Any

from luigi_ha.ha.clock import Clock
from luigi_ha.ha.elector import Candidate
from luigi_ha.ha.keeper.board import Said
from luigi_ha.ha.keeper.keeper import Keeper
from luigi_ha.ha.keeper.messages import Able, Follow, HandOver, Kept, Lead, Over, Stop, ToScheduler
from luigi_ha.ha.keeper.options import KeeperOptions
from luigi_ha.ha.lease import Timing
from luigi_ha.ha.memory import Delay, Link, MemoryStore, memory_elector
from luigi_ha.ha.supervisor import Supervisor
from tests.keeper.addresses import MemoryAddress, Network

TIMING = Timing()
TICK = 0.05  # s between two effects of a scheduler that may act
LOST = Delay(request=float("inf"))


class VirtualScheduler:
    """See `luigi_ha.ha.keeper.board.Process`. Acts at every tick at which its page says that it may."""

    pid = 0

    def __init__(self, node: "VirtualNode", changed: Callable[[], None], clock: Clock) -> None:
        self.said = Said()
        self.stalled = False
        self.code: int | None = None
        self.started = clock()
        self.was_able = False
        self.quiet_after = 0.05
        self.disobedient = False
        """It goes on executing after it has said Handed."""
        self._node = node
        self._changed = changed
        self._clock = clock
        self._page = (0.0, 0)  # deadline, epoch
        self._open: int | None = None
        self._before = 0
        self._handed = False
        self._inbox: list[ToScheduler] = []
        self._loop = asyncio.get_running_loop()
        self._after(0.3, self._able)
        self._after(TICK, self._tick)

    @property
    def alive(self) -> bool:
        return self.code is None

    @property
    def end(self) -> str:
        return f"code {self.code}"

    def lead(self, epoch: int, deadline: float) -> None:
        if not self._node.dead:
            self._page = (deadline, epoch)

    def not_ours(self) -> None:
        if not self._node.dead:
            self._page = (0.0, self._page[1])

    def kill(self) -> None:
        if not self._node.dead:
            self._exit(-signal.SIGKILL)

    def freeze(self, seconds: float) -> None:
        self.stalled = True
        self._changed()
        self._loop.call_later(seconds, self._wake)

    def send(self, message: ToScheduler) -> None:
        if isinstance(message, Over):
            self.said = Said()
        if not self._node.dead:
            self._inbox.append(message)
            self._after(0.001, self._take)

    def _wake(self) -> None:
        self.stalled = False
        self._changed()

    def _take(self) -> None:
        match self._inbox.pop(0):  # in order, also after a freeze
            case Lead(epoch):
                self._after(0.02, self._opens, epoch)
            case HandOver():
                self._before = self._open or 0
                if not self.disobedient:
                    self._open = None
                self._after(0.03, self._hand)
            case Kept():
                self._handed = False
                self._opens(self._before)
            case Over():
                self._open = None
                self._after(0.3, self._able)
            case Follow(leader) if leader is not None and self._handed:
                self._handed = False
                self._after(self.quiet_after, self._quiet)
            case Stop():
                self._after(0.05, self._exit, 0)

    def _opens(self, epoch: int) -> None:
        if self._clock() >= self._page[0]:
            return  # over already
        self._open = epoch
        self.said.open_epoch, self.said.opened_at = epoch, self._clock()
        self._changed()

    def _hand(self) -> None:
        self._handed = True
        self.said.handed, self.said.open_epoch, self.said.fit = True, None, None
        self._after(0.3, self._able)
        self._changed()

    def _quiet(self) -> None:
        self.said.quiet = True
        self._changed()

    def _able(self) -> None:
        if self._open is None:
            self.said.fit, self.was_able = Able(0, True), True
            self._changed()

    def _exit(self, code: int) -> None:
        if self.alive:
            self.code = code
            self._changed()

    def _tick(self) -> None:
        deadline, epoch = self._page
        now = self._clock()
        if now < deadline and self._open == epoch:
            self._node.world.effects.append((now, epoch, self._node.name))
        self._after(TICK, self._tick)

    def _after(self, seconds: float, what: Callable[..., None], *args: Any) -> None:
        """Later, if it lives then; not while it is frozen."""

        def due() -> None:
            if self.stalled:
                self._loop.call_later(0.1, due)
            elif self.alive:
                what(*args)

        self._loop.call_later(seconds, due)


class VirtualAddress(MemoryAddress):
    """Does nothing any more once its node is dead; the kernel's lifetimes go on."""

    dead = False

    async def hold(self, until: float) -> None:
        if not self.dead:
            await super().hold(until)

    async def drop(self) -> None:
        if not self.dead:
            await super().drop()

    async def close(self) -> None:
        if not self.dead:
            await super().close()


class VirtualNode:
    def __init__(self, name: str, world: "VirtualWorld") -> None:
        self.name = name
        self.world = world
        self.dead = False
        self.cut = False
        self.schedulers: list[VirtualScheduler] = []
        self.link = Link(world.store, self._delays)
        self.address = VirtualAddress(name, world.network)
        self.elector = memory_elector(self.link, Candidate(name, name), TIMING)
        options = KeeperOptions(name, ["none"], {}, "etcd", drain_timeout=5.0)
        self.keeper = Keeper(options, self.elector, self.address, Supervisor({}), world.clock, self._start)
        self.task = asyncio.create_task(self.keeper.live(), name=name)

    @property
    def scheduler(self) -> VirtualScheduler:
        return self.schedulers[-1]

    @property
    def serves(self) -> bool:
        """It leads, is open, and has the address."""
        deadline, epoch = self.scheduler._page
        leads = self.world.clock() < deadline and self.scheduler._open == epoch and self.scheduler.alive
        return leads and self.world.network.holders() == [self.name]

    def die(self) -> None:
        """kill -9 of the keeper: nothing it does from now on has an effect; its scheduler lives until the deadline."""
        self.dead = self.address.dead = self.cut = True
        self.task.cancel()

    def _start(self, _options: KeeperOptions, changed: Callable[[], None], clock: Clock) -> VirtualScheduler:
        self.schedulers.append(VirtualScheduler(self, changed, clock))
        return self.scheduler

    def _delays(self, _call: str, _number: int) -> Delay:
        self.world.called()
        return LOST if self.cut else Delay(0.001, 0.001)


class VirtualWorld:
    """n1 leads, n2 could. `fault` happens at the store call with the number `at`, counted from `arm`."""

    def __init__(self) -> None:
        self.clock: Clock = asyncio.get_running_loop().time
        self.store = MemoryStore()
        self.network = Network(self.clock)
        self.effects: list[tuple[float, int, str]] = []
        self.calls = 0
        self._fault: Callable[[], None] | None = None
        self._at = 0
        self.n1 = VirtualNode("n1", self)

    async def two(self) -> None:
        await self.until(lambda: self.n1.schedulers and self.n1.serves)
        self.n2 = VirtualNode("n2", self)
        await asyncio.sleep(1.0)

    def arm(self, at: int, fault: Callable[[], None]) -> None:
        self.calls, self._at, self._fault = 0, at, fault

    @property
    def struck(self) -> bool:
        return self._fault is None

    def called(self) -> None:
        if self._fault is not None and self.calls >= self._at:
            fault, self._fault = self._fault, None
            fault()
        self.calls += 1

    async def until(self, true: Callable[[], object], seconds: float = 30.0) -> None:
        end = self.clock() + seconds
        while not true():
            assert self.clock() < end, (self.n1.keeper.board.state, self.n2.keeper.board.state, self.effects[-3:])
            await asyncio.sleep(0.01)

    def check(self) -> None:
        """Nobody acts under an epoch after somebody has acted under a later one; the address is never held twice."""
        epochs = [epoch for _, epoch, _ in self.effects]
        assert epochs == sorted(epochs)
        assert self.network.conflicts == []

    async def close(self) -> None:
        for node in (self.n1, self.n2):
            node.task.cancel()
        await asyncio.gather(self.n1.task, self.n2.task, return_exceptions=True)
