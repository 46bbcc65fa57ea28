"""Each implementation of the elector port, ready for the contract: how to make a candidate, how to lose a lease."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest

from luigi_ha.ha.clock import Clock, monotonic
from luigi_ha.ha.elector import Candidate, Elector
from luigi_ha.ha.errors import Refused
from luigi_ha.ha.etcd.config import EtcdConfig
from luigi_ha.ha.etcd.elector import EtcdElector
from luigi_ha.ha.etcd.opening import etcd_elector
from luigi_ha.ha.filelock import FileLockElector
from luigi_ha.ha.lease import Timing
from luigi_ha.ha.memory import Link, MemoryStore, memory_elector
from tests.ha.conftest import TIMING
from tests.ha.virtual import virtually
from tests.support.patience import patient


def candidate(name: str) -> Candidate:
    return Candidate(name, f"10.0.0.{len(name)}:8082", {"version": "1"})


class World(Protocol):
    """Made inside the running loop."""

    clock: Clock

    def elector(self, name: str) -> Elector: ...

    async def take_away(self, elector: Elector) -> None:
        """End the lease of a leader behind its back."""


class MemoryWorld:
    def __init__(self, timing: Timing = TIMING) -> None:
        self.store = MemoryStore()
        self.clock: Clock = asyncio.get_running_loop().time
        self.timing = timing

    def elector(self, name: str) -> EtcdElector:
        return memory_elector(Link(self.store), candidate(name), self.timing)

    async def take_away(self, elector: Elector) -> None:
        assert isinstance(elector, EtcdElector)
        self.store.revoke(elector._id)


class EtcdWorld:
    def __init__(self, config: EtcdConfig, prefix: str) -> None:
        self.config = config
        self.prefix = prefix
        self.clock: Clock = monotonic

    def elector(self, name: str) -> EtcdElector:
        return etcd_elector(self.config, candidate(name), TIMING, self.prefix)

    async def take_away(self, elector: Elector) -> None:
        assert isinstance(elector, EtcdElector)
        await elector._transport.revoke(elector._id, 2.0)


class FileWorld:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock: Clock = monotonic

    def elector(self, name: str) -> FileLockElector:
        return FileLockElector(self.directory, candidate(name), TIMING)

    async def take_away(self, elector: Elector) -> None:
        (self.directory / "leader.lock").unlink()


Test = Callable[[World], Coroutine[Any, Any, None]]
Play = Callable[[Test], None]


def play_in_memory(test: Test) -> None:
    async def main() -> None:
        await test(MemoryWorld())

    virtually(main)


def play_for_real(make: Callable[[], World], test: Test) -> None:
    async def main() -> None:
        async with asyncio.timeout(patient(20)):
            await test(make())

    asyncio.run(main())


@asynccontextmanager
async def electors(world: World, *names: str) -> AsyncIterator[list[Elector]]:
    made = [world.elector(name) for name in names]
    try:
        yield made
    finally:
        for each in made:
            await each.close()


async def refused(elector: Elector) -> str:
    with pytest.raises(Refused) as error:
        await elector.campaign()
    return error.value.reason
