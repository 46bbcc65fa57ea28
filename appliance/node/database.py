"""The node's calls to its database that can wait: for a database that is away, on a thread."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from luigi_ha.appliance import log
from luigi_ha.appliance.clock import monotonic
from luigi_ha.appliance.engine import Scheduler
from luigi_ha.appliance.node.mirror import Mirror, build
from luigi_ha.appliance.store import DatabaseAway, OlderDatabase, Position, SchemaState, Store, StoreError, behind
from luigi_ha.appliance.store.target import Kind

if TYPE_CHECKING:
    from luigi_ha.appliance.node.node import Node

RETRY_EVERY = 1.0  # s between attempts to reach the database
_log = log.get("node")
T = TypeVar("T")


def opened(node: "Node") -> Store:
    """The node's store, which is there since its start."""
    assert node.store is not None  # noqa: S101
    return node.store


async def reach(
    node: "Node",
    call: Callable[[], T],
    every: float = RETRY_EVERY,
    away: Callable[[DatabaseAway], Awaitable[None]] | None = None,
) -> T:
    """A database call on a thread, repeated for as long as the database is away. `away` is told, and may raise."""
    said = 0.0
    while True:
        try:
            return await asyncio.to_thread(call)
        except DatabaseAway as error:
            if away is not None:
                await away(error)
            if node.dispatcher.relay is None:
                node.gate.close(f"the database is away: {error}")
            if monotonic() - said > 30:
                said = monotonic()
                _log.warning("database_away", error=str(error))
            await asyncio.sleep(every)


async def reached(node: "Node") -> bool:
    """Whether the database answers from here: then what it lacks (a standby, room on its disk) it lacks for all."""
    try:
        await asyncio.to_thread(opened(node).position)
    except StoreError:
        return False
    return True


def beside_the_primary(node: "Node") -> bool:
    """Whether this node should lead rather than another: the database's primary is on its host."""
    serve, store = node.options.serve, node.store
    if serve.prefer == "any" or store is None or store.primary is None:
        return True
    host = store.primary.rpartition(":")[0].strip("[]")
    here = {node.holder, socket.gethostname(), "127.0.0.1", "::1", "localhost"}
    return host in here or host == urlsplit(serve.advertise).hostname


def require_present(node: "Node") -> None:
    """OlderDatabase if what is there is a past of what was there."""
    if (reason := behind(opened(node), node.roles.served)) is not None:
        raise OlderDatabase(reason)


async def remember(node: "Node", position: Position) -> None:
    """This has been committed: a database that has less, the next time, has lost it."""
    if (memory := opened(node).memory) is not None:
        await asyncio.to_thread(memory.remember, position)


def require_schema(node: "Node") -> None:
    """An empty database gets its tables; an old schema is upgraded on SQLite, elsewhere if the operator says so."""
    store = opened(node)
    status = store.check()
    wanted = node.options.serve.upgrade or store.target.kind is Kind.SQLITE
    if status.state is SchemaState.MISSING or (wanted and status.state is SchemaState.OLD):
        tell = _log.info if status.found or store.target.kind is Kind.SQLITE else _log.warning  # a SQLite file says so
        tell("schema_upgrade", found=status.found, wanted=status.wanted)
        status = store.upgrade()
    status.require()


async def load(node: "Node") -> Mirror:
    """A mirror from the tables."""
    store, began = opened(node), monotonic()

    def read() -> tuple[Scheduler, Position]:
        snapshot = store.load()
        return build(snapshot, node.options, node.clock), snapshot.position

    engine, position = await reach(node, read)
    _log.info(
        "loaded", epoch=position.epoch, seq=position.seq, tasks=len(engine.tasks), workers=len(engine.workers),
        seconds=monotonic() - began,
    )  # fmt: skip
    return Mirror(engine, position, node.clock)
