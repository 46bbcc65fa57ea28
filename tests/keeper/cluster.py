"""Nodes for the tests: keepers in this process over the election in memory, each with a real scheduler process."""

import asyncio
import gc
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from luigi_ha.ha.clock import monotonic
from luigi_ha.ha.elector import Candidate, Elector
from luigi_ha.ha.etcd.elector import EtcdElector
from luigi_ha.ha.keeper.keeper import Keeper
from luigi_ha.ha.keeper.options import KeeperOptions
from luigi_ha.ha.lease import Timing
from luigi_ha.ha.memory import Link, MemoryStore
from luigi_ha.ha.supervisor import Supervisor
from tests.keeper.addresses import MemoryAddress, Network
from tests.support.patience import patient

TIMING = Timing(ttl=2.0, renew_every=0.3, request_timeout=0.9, margin=0.3, scheduling_delay=0.2)
LONG = Timing(ttl=8.0, renew_every=0.3, request_timeout=0.9, margin=0.3, scheduling_delay=0.2)  # outlasts any load
ROOT = Path(__file__).parents[2]
PATIENCE = 15.0  # s for anything that has to happen at all; the machine may be busy


def options(name: str, journal: Path, behaviour: dict[str, Any], **more: Any) -> KeeperOptions:
    """A scheduler of `tests.keeper.scheduler` that behaves so."""
    command = [sys.executable, "-m", "tests.keeper.scheduler", json.dumps({"name": name, **behaviour}), str(journal)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return KeeperOptions(name, command, environment, **{"mode": "etcd", "version": "1", "drain_timeout": 5.0, **more})


class Story:
    """What schedulers wrote down."""

    def __init__(self, journal: Path) -> None:
        self.journal = journal
        journal.touch()

    def lines(self, event: str | None = None, **fields: Any) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self.journal.read_text().splitlines() if line.endswith("}")]
        wanted = fields if event is None else {"event": event, **fields}
        return [line for line in found if wanted.items() <= line.items()]

    def led(self) -> list[str]:
        """The nodes that were told to lead, in order."""
        return [line["node"] for line in self.lines("lead")]

    def assert_one_at_a_time(self, least: int = 5) -> None:
        """No effect of an epoch follows one of a later epoch. (Too few effects prove nothing.)"""
        effects = sorted((line["at"], line["epoch"]) for line in self.lines("effect"))
        assert len(effects) >= least
        epochs = [epoch for _, epoch in effects]
        assert epochs == sorted(epochs)


class Node:
    """One keeper in this process. `link` is its network to the store."""

    def __init__(
        self,
        name: str,
        cluster: "MemoryCluster",
        behaviour: dict[str, Any] | None = None,
        elector: Elector | None = None,
        timing: Timing = TIMING,
        **more: Any,
    ) -> None:
        self.name = name
        self.link = Link(cluster.store)
        self.elector: Elector = elector or EtcdElector(self.link, Candidate(name, f"http://{name}"), timing)
        self.address = MemoryAddress(name, cluster.network)
        self.keeper = Keeper(
            options(name, cluster.story.journal, behaviour or {}, **more), self.elector, self.address, Supervisor({})
        )
        self.task = asyncio.create_task(self.keeper.live(), name=name)

    @property
    def pid(self) -> int:
        """Of its scheduler."""
        scheduler = self.keeper.board.scheduler
        assert scheduler is not None
        return scheduler.pid  # type: ignore[attr-defined, no-any-return]

    @property
    def leads(self) -> bool:
        """It leads, and its scheduler is open."""
        scheduler, epoch = self.keeper.board.scheduler, self.elector.epoch
        valid = self.elector.lease.valid(monotonic())
        return scheduler is not None and epoch is not None and valid and scheduler.said.open_epoch == epoch

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)


def running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


class MemoryCluster:
    """Nodes over one store in memory and one network. Leaving it ends everything."""

    def __init__(self, directory: Path) -> None:
        self.store = MemoryStore()
        self.network = Network(monotonic)
        self.story = Story(directory / "story")
        self.nodes: list[Node] = []

    def node(self, name: str, behaviour: dict[str, Any] | None = None, **more: Any) -> Node:
        node = Node(name, self, behaviour, **more)
        self.nodes.append(node)
        return node

    async def two(
        self, first: dict[str, Any] | None = None, second: dict[str, Any] | None = None, **more: Any
    ) -> tuple[Node, Node]:
        """n1 leads, n2 could."""
        n1 = self.node("n1", first, **more)
        await self.until(lambda: n1.leads)
        n2 = self.node("n2", second, **more)
        await self.until(
            lambda: n2.keeper.board.scheduler is not None and n2.keeper.board.scheduler.said.fit is not None
        )
        members = {member.name: member.about["able"] for member in await n1.elector.members()}
        while members.get("n2") != "yes":
            await asyncio.sleep(0.02)
            members = {member.name: member.about["able"] for member in await n1.elector.members()}
        return n1, n2

    async def until(self, true: Callable[[], object], seconds: float = PATIENCE) -> None:
        """Wait; a node that has ended by an error ends the test."""
        async with asyncio.timeout(patient(seconds)):
            while not true():
                for node in self.nodes:
                    if node.task.done() and not node.task.cancelled() and node.task.exception() is not None:
                        node.task.result()
                await asyncio.sleep(0.005)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for node in self.nodes:
            scheduler = node.keeper.board.scheduler
            if scheduler is not None and scheduler.alive:
                os.kill(node.pid, signal.SIGCONT)
            node.task.cancel()
        await asyncio.gather(*(node.task for node in self.nodes), return_exceptions=True)


def play(directory: Path, test: Callable[[MemoryCluster], Any], seconds: float = 60.0) -> None:
    """Run `test` in real time, with an end."""

    async def main() -> None:
        async with asyncio.timeout(patient(seconds)), MemoryCluster(directory) as cluster:
            await test(cluster)

    lost: list[object] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: lost.append(context))
        await main()
        gc.collect()

    asyncio.run(watched())
    assert lost == []  # no task of the keeper ends by an error that nobody looks at
