"""The address port in memory: one network, addresses that end by themselves at the end of their lifetime."""

import asyncio
from dataclasses import dataclass, field

from luigi_ha.ha.clock import Clock


@dataclass
class Network:
    """Who has the address, until when; and every moment at which two had it."""

    clock: Clock
    until: dict[str, float] = field(default_factory=dict)
    conflicts: list[tuple[float, list[str]]] = field(default_factory=list)
    taken: list[tuple[float, str]] = field(default_factory=list)

    def holders(self) -> list[str]:
        now = self.clock()
        return [name for name, until in self.until.items() if until > now]

    def add(self, name: str, until: float) -> None:
        if name not in self.holders():
            self.taken.append((self.clock(), name))
        self.until[name] = until
        if len(self.holders()) > 1:
            self.conflicts.append((self.clock(), self.holders()))


class MemoryAddress:
    """See `luigi_ha.ha.vip.port.Address`. `delay`: how long `hold` takes before it acts; `drop_delay`: the same."""

    def __init__(self, name: str, network: Network, delay: float = 0.0) -> None:
        self.name = name
        self.network = network
        self.delay = delay
        self.drop_delay = 0.0
        self.calls: list[str] = []

    async def start(self) -> None:
        self.calls.append("start")

    async def hold(self, until: float) -> None:
        """Like a kernel that is asked to add an address: the lifetime counts from when it does so, and once asked it
        does so, whatever becomes of who asked. It does not look at the clock again: whoever calls has to."""
        self.calls.append("hold")
        lifetime = until - self.network.clock()
        try:
            if self.delay:
                await asyncio.sleep(self.delay)
        finally:
            self.network.add(self.name, self.network.clock() + lifetime)

    async def drop(self) -> None:
        self.calls.append("drop")
        if self.drop_delay:
            await asyncio.sleep(self.drop_delay)
        self.network.until.pop(self.name, None)

    async def leaving(self) -> None:
        self.calls.append("leaving")

    async def close(self) -> None:
        self.calls.append("close")
        self.network.until.pop(self.name, None)

    @property
    def held(self) -> tuple[str, ...]:
        return ("10.0.0.100",) if self.name in self.network.holders() else ()

    async def answering(self) -> str | None:
        others = [name for name in self.network.holders() if name != self.name]
        return f"02:00:{others[0]}" if others else None
