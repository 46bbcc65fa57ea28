"""What people ask of a node, besides Luigi's calls: why, history, cluster."""

import asyncio
import functools
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from luigi_ha.appliance.api.calls import FutureCaller
from luigi_ha.appliance.api.errors import Unavailable
from luigi_ha.appliance.api.operations import JsonObject, Operations
from luigi_ha.appliance.api.views import OWN_WRITES
from luigi_ha.appliance.clock import monotonic
from luigi_ha.appliance.node.cluster import describe, failovers
from luigi_ha.appliance.node.incidents import incident
from luigi_ha.appliance.node.states import State
from luigi_ha.appliance.store import DatabaseAway, HistoryEntry
from luigi_ha.appliance.store.history import REMOVED

if TYPE_CHECKING:
    from luigi_ha.appliance.node.node import Node


def operations(node: "Node") -> Operations:
    """The node's answers. A standby answers from its mirror."""
    asked = _Asked(node)
    return Operations(node.reporter.health, asked.cluster, asked.history, asked.why, asked.failovers, asked.incident)


class _Asked:
    """The answers that are not the engine's alone."""

    def __init__(self, node: "Node") -> None:
        self._node = node

    async def cluster(self) -> JsonObject:
        return await describe(self._node)

    async def failovers(self, limit: int) -> list[JsonObject]:
        return await failovers(self._node, limit)

    async def incident(self, number: int) -> JsonObject:
        """The last but `number` change of leader that nobody had wanted. KeyError."""
        return await incident(self._node, number)

    async def why(self, task_id: str) -> JsonObject:
        """KeyError for what never was."""
        node = self._node
        asked_at = monotonic()
        await node.dispatcher.turn(FutureCaller(lambda: False), asked_at)
        engine, journal, mirror = node.engine, node.journal, node.dispatcher.executor.mirror
        mirrors = mirror is not None
        if mirror is not None:
            await mirror.catch_up_with(asked_at, OWN_WRITES)
        if engine is None or (not mirrors and (journal is None or node.life.state is not State.LEADING)):
            raise node.dispatcher.unavailable()
        try:
            result = engine.why(task_id)
        except KeyError:
            result = None
        if journal is not None and not mirrors:
            await node.dispatcher.commit(journal.appended, node.options.serve.call_budget)
        return await self._removed(task_id) if result is None else result

    async def _removed(self, task_id: str) -> JsonObject:
        """Why a task is no longer there, from the log. KeyError."""
        last = (await self._entries(task_id, 1))[-1]
        if last.status != REMOVED:
            raise KeyError(task_id)
        because = last.reason or "nobody wanted it any more"
        at = datetime.fromtimestamp(last.at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        return {
            "task_id": task_id,
            "status": REMOVED,
            "reason": f"It was removed at {at}, because {because}.",
            "facts": [{"removed_at": last.at, "by": last.method, "because": because}],
        }

    async def history(self, task_id: str, limit: int) -> list[JsonObject]:
        """KeyError for what never was."""
        return [entry._asdict() for entry in await self._entries(task_id, limit)]

    async def _entries(self, task_id: str, limit: int) -> list[HistoryEntry]:
        node = self._node
        if node.store is None:
            raise node.dispatcher.unavailable()
        try:
            found = await asyncio.to_thread(functools.partial(node.store.history, task_id, limit))
        except DatabaseAway as error:
            raise Unavailable(str(error), where="database", expected="to be asked again") from error
        if not found:
            raise KeyError(task_id)
        return found
