"""The end of a node that follows: nobody reads any more after it."""

import asyncio
import gc
from pathlib import Path

import pytest

from luigi_ha.appliance.clock import SchedulerClock
from luigi_ha.appliance.config.options import Options, Serve
from luigi_ha.appliance.exit_codes import ExitCode
from luigi_ha.appliance.node import Node, NodeOptions
from luigi_ha.appliance.node.mirror import Mirror, build
from luigi_ha.appliance.store import open_store


@pytest.mark.parametrize("after", [0.0, 0.01, 0.12])
def test_a_standby_that_is_stopped_reads_no_more(tmp_path: Path, after: float) -> None:
    """At any moment: before its first reading, in the middle of one, between two."""
    url = f"sqlite:///{tmp_path}/luigi.db"
    store = open_store(url)
    store.upgrade()
    complaints: list[object] = []

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        node = Node(NodeOptions(Options(serve=Serve(host="127.0.0.1", port=0)), url))
        await node.api.start()
        node.store = store
        clock = SchedulerClock()
        node.roles.mirror = Mirror(build(store.load(), node.options, clock), store.position(), clock)
        node.roles._begin_to_follow()
        following = node.roles._following
        await asyncio.sleep(after)
        node.life.fire("drain")
        assert await node._end(ExitCode.OK) is ExitCode.OK
        assert following is not None
        assert following.done()
        assert following.cancelled() or following.exception() is None
        await asyncio.sleep(0.2)  # a reading would be due four times

    asyncio.run(scenario())
    gc.collect()
    assert complaints == []
