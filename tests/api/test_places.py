"""Where a view is made: by the leader, by a mirror that has caught up with its caller, or by the leader for a node that
has no mirror yet. Whatever waits is released."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from luigi_ha.appliance.api import Dispatcher, Gate, Limits, Metrics
from luigi_ha.appliance.api.calls import PLAIN, Call, FutureCaller, Terms
from luigi_ha.appliance.api.errors import Reply, Unavailable
from luigi_ha.appliance.api.views import Views
from luigi_ha.appliance.clock import SchedulerClock, monotonic
from luigi_ha.appliance.engine import Scheduler, Settings
from tests.api.serving import eventually, run


class MemoryMirror:
    """A mirror that has caught up when it is told so."""

    def __init__(self) -> None:
        self.seq = 1
        self.age = 0.0
        self.current = True
        self.asked = 0

    async def catch_up_with(self, moment: float, longest: float) -> bool:
        self.asked += 1
        return self.current


class MemoryRelay:
    """Passes calls on to a leader that answers at once, or gives them back: there is none."""

    def __init__(self, give_back: Callable[[Call], None]) -> None:
        self.leader: Reply | None = None
        self.carried: list[str] = []
        self._give_back = give_back

    def carry(self, call: Call) -> None:
        self.carried.append(call.method)
        if self.leader is None:
            self._give_back(call)
        else:
            call.caller.answer(self.leader)


class Standby:
    """The API of a node that does not lead."""

    def __init__(self, budget: float = 5.0) -> None:
        self.dispatcher = Dispatcher(Gate("n1 leads"), Limits(budget), Metrics(), SchedulerClock())
        self.relay = MemoryRelay(self.dispatcher.take_back)
        self.views = Views(self.dispatcher)
        self.mirror = MemoryMirror()
        self.engine = Scheduler(Settings(), clock=lambda: 1.0)
        self.engine.add_task(task_id="A_1", worker="w")
        self.engine.take_changes()
        self.dispatcher.start()

    def ask(self, terms: Terms = PLAIN) -> "asyncio.Task[Any]":
        caller = FutureCaller(lambda: False)
        data = json.dumps({"status": "PENDING"})
        return asyncio.create_task(
            self.views.fetch("task_list", data, caller, monotonic(), terms, compress=False)
        )  # fmt: skip


def made_here(result: Any) -> bool:
    return isinstance(result, list) and b"A_1" in b"".join(result)


def test_a_view_asked_before_the_mirror_is_there_is_released_by_it() -> None:
    async def scenario() -> None:
        node = Standby()
        asked = node.ask()
        await eventually(lambda: node.dispatcher.parked == 1)
        node.dispatcher.reflect(node.engine, node.mirror)
        assert made_here(await asked)

    run(scenario())


def test_a_view_asked_before_the_mirror_is_there_is_answered_by_the_leader() -> None:
    async def scenario() -> None:
        node = Standby()
        asked = node.ask()
        await eventually(lambda: node.dispatcher.parked == 1)
        node.relay.leader = Reply(200, b"the leader's")
        node.dispatcher.pass_on(node.relay)
        assert await asked == node.relay.leader

    run(scenario())


def test_a_view_asked_while_nobody_can_be_reached_is_made_once_the_mirror_is_there() -> None:
    async def scenario() -> None:
        node = Standby()
        node.dispatcher.pass_on(node.relay)
        asked = node.ask()
        await eventually(lambda: len(node.relay.carried) > 2)
        node.dispatcher.reflect(node.engine, node.mirror)
        assert made_here(await asked)

    run(scenario())


def test_a_view_that_nobody_can_make_is_refused_when_its_time_is_up() -> None:
    async def scenario() -> None:
        for relay in (False, True):
            node = Standby(budget=0.3)
            if relay:
                node.dispatcher.pass_on(node.relay)
            with pytest.raises(Unavailable):
                await node.ask()

    run(scenario())


def test_a_mirror_that_does_not_catch_up_has_the_leader_asked() -> None:
    async def scenario() -> None:
        node = Standby()
        node.dispatcher.reflect(node.engine, node.mirror)
        node.dispatcher.pass_on(node.relay)
        assert made_here(await node.ask())
        assert (node.mirror.asked, node.relay.carried) == (1, [])
        node.mirror.current = False
        node.relay.leader = Reply(200, b"the leader's")
        assert await node.ask() == node.relay.leader
        node.relay.leader = None  # it cannot be reached: what is here, with its age
        assert made_here(await node.ask())
        assert made_here(await node.ask(Terms(left=3)))  # another node asks: it is not passed on twice

    run(scenario())


def test_calls_that_wait_beside_views_keep_waiting() -> None:
    async def scenario() -> None:
        node = Standby(budget=1.0)
        caller = FutureCaller(lambda: False)
        node.dispatcher.submit(Call("get_work", '{"worker": "w"}', caller, monotonic()))
        asked = node.ask()
        await eventually(lambda: node.dispatcher.parked == 2)
        node.dispatcher.reflect(node.engine, node.mirror)
        assert made_here(await asked)
        assert node.dispatcher.parked == 1
        assert (await caller.reply).status == 503

    run(scenario())
