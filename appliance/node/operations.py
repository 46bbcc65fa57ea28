"""What people ask of a node, besides Luigi's calls: why, history, cluster."""

import asyncio
import functools
from typing import TYPE_CHECKING

from appliance.api.calls import FutureCaller
from appliance.api.errors import Unavailable
from appliance.api.operations import JsonObject, Operations
from appliance.api.views import OWN_WRITES
from appliance.clock import monotonic
from appliance.node.cluster import describe, failovers
from appliance.node.states import State
from appliance.store import DatabaseAway

if TYPE_CHECKING:
    from appliance.node.node import Node


def operations(node: "Node") -> Operations:
    """The node's answers. A standby answers from its mirror."""

    async def why(task_id: str) -> JsonObject:
        asked_at = monotonic()
        await node.dispatcher.turn(FutureCaller(lambda: False), asked_at)
        engine, journal, mirror = node.engine, node.journal, node.dispatcher.executor.mirror
        if engine is not None and mirror is not None:
            await mirror.catch_up_with(asked_at, OWN_WRITES)
            return engine.why(task_id)
        if engine is None or journal is None or node.life.state is not State.LEADING:
            raise node.dispatcher.unavailable()
        result = engine.why(task_id)
        await node.dispatcher.commit(journal.appended, node.options.serve.call_budget)
        return result

    async def history(task_id: str, limit: int) -> list[JsonObject]:
        if node.store is None:
            raise node.dispatcher.unavailable()
        try:
            entries = await asyncio.to_thread(functools.partial(node.store.history, task_id, limit))
        except DatabaseAway as error:
            raise Unavailable(str(error), where="database", expected="to be asked again") from error
        if not entries:
            raise KeyError(task_id)
        return [entry._asdict() for entry in entries]

    async def cluster() -> JsonObject:
        return await describe(node)

    async def changes(limit: int) -> list[JsonObject]:
        return await failovers(node, limit)

    return Operations(node.reporter.health, cluster, history, why, changes)
