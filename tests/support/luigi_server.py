"""A process that serves many schedulers, each a whole node of ours (API, engine, journal, SQLite) on a port of its own.

For Luigi's own tests over HTTP, which make a new scheduler for every test, with options of their own, and set the
time. Two things differ from `luigi-ha serve`: the scheduler's clock can be set, and the empty database is a copy of
one that is already migrated. Everything else is the program as it is.

    python -m tests.support.luigi_server DIRECTORY     prints the control port; ends when its standard input closes

Control, by POST with a JSON body: /new {options, resources} -> {port}; /time {port, now or null}; /reset.
"""

import asyncio
import itertools
import json
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import uvloop
from aiohttp import web

import luigi_ha.appliance.node.node
from luigi_ha.appliance import log
from luigi_ha.appliance.config import load
from luigi_ha.appliance.node import ExitCode, Node, NodeOptions
from luigi_ha.appliance.store import open_store
from tests.support.patience import patient

START_SECONDS = 30.0


class SettableClock:
    """Stands in for `SchedulerClock`: wall time, or the time a test has set; it may go back."""

    def __init__(self) -> None:
        self.frozen: float | None = None
        self.last = 0.0

    def __call__(self) -> float:
        self.last = time.time() if self.frozen is None else self.frozen
        return self.last

    apart = 0.0

    def follow(self) -> None:
        """A test's time may be any."""

    def lead(self, *, hold: bool) -> None:
        """A test's time may be any."""

    def not_before(self, moment: float) -> None:
        """A test's time may be any."""


@dataclass
class Instance:
    node: Node
    ending: "asyncio.Task[ExitCode]"
    port: int


class Schedulers:
    """The nodes of one process."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numbers = itertools.count()
        self._instances: dict[int, Instance] = {}
        self._template = directory / "template.db"
        open_store(f"sqlite:///{self._template}").upgrade()

    async def new(self, options: Mapping[str, Any], resources: Mapping[str, float]) -> int:
        """Start a node; its port."""
        database = self._directory / f"{next(self._numbers)}.db"
        shutil.copy(self._template, database)
        url = f"sqlite:///{database}"
        serve = {"database": url, "host": "127.0.0.1", "port": 0, "log_level": "error"}
        serve["prune_every"] = 3600  # tests prune when they mean to, and with delays of a few seconds
        loaded = load(serve, None, {})
        scheduler = replace(loaded.options.scheduler, **options)
        node = Node(NodeOptions(replace(loaded.options, scheduler=scheduler, resources=dict(resources)), url))
        leading = asyncio.Event()
        ending = asyncio.create_task(node.run(lambda _node: leading.set()))
        started = asyncio.create_task(leading.wait())
        await asyncio.wait((ending, started), return_when=asyncio.FIRST_COMPLETED, timeout=patient(START_SECONDS))
        started.cancel()
        if not leading.is_set():
            raise web.HTTPInternalServerError(text=f"the node ended: {ending}")
        port = int(node.api.addresses[0].rpartition(":")[2])
        self._instances[port] = Instance(node, ending, port)
        return port

    def set_time(self, port: int, now: float | None) -> None:
        clock: Any = self._instances[port].node.clock
        clock.frozen = now

    async def reset(self) -> None:
        """End all nodes."""
        instances, self._instances = self._instances, {}
        for instance in instances.values():
            instance.node.stop("reset")
        await asyncio.gather(*(instance.ending for instance in instances.values()))


async def serve(directory: Path) -> None:
    """Until standard input closes."""
    schedulers = Schedulers(directory)

    async def control(request: web.BaseRequest) -> web.Response:
        asked = json.loads(await request.text() or "{}")
        reply: dict[str, Any] = {}
        if request.path == "/new":
            reply["port"] = await schedulers.new(asked["options"], asked["resources"])
        elif request.path == "/time":
            schedulers.set_time(asked["port"], asked["now"])
        else:
            await schedulers.reset()
        return web.json_response(reply)

    loop = asyncio.get_running_loop()
    listener = await loop.create_server(web.Server(control), "127.0.0.1", 0)
    print(listener.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.buffer.read)
    await schedulers.reset()


def main() -> None:
    luigi_ha.appliance.node.node.SchedulerClock = SettableClock  # type: ignore[assignment,misc]
    log.configure("keyvalue", "error")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(Path(sys.argv[1])))


if __name__ == "__main__":
    main()
