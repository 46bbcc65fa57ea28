"""Waiting for work: it comes as soon as there is some, to nobody who has gone, and costs little meanwhile."""

import asyncio
import time
from pathlib import Path
from typing import Any

from luigi_ha.appliance.api.rest.polls import RATE
from tests.api.serving import Served, eventually, reset, run, serving, whole
from tests.rest.asking import ask, beat, good, put, report, take
from tests.support.patience import allowed

BODY = b'{"worker": "v", "wait": 20}'


def polls(served: Served) -> int:
    return len(served.node.api._rest.polls)


async def waiting(served: Served, worker: str = "v", wait: float = 20, **more: Any) -> "asyncio.Task[Any]":
    """Somebody who waits for work."""
    before = polls(served)
    task = asyncio.create_task(take(served, worker, wait=wait, **more))
    await eventually(lambda: polls(served) > before or task.done())
    return task


async def arrives(call: "asyncio.Task[Any]", within: float = 0.9) -> Any:
    """Sooner than the second after which each of them asks again anyway."""
    return await asyncio.wait_for(call, within)


def test_work_arrives_as_soon_as_there_is_some(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            call = await waiting(served)
            await asyncio.sleep(0.1)
            assert not call.done()
            await put(served, "A_1", "A_2", "B_1", deps=[])
            first = await arrives(call)
            assert first["task_id"] == "A_1"
            await put(served, "C_1", deps=["A_1"])
            for name in ("A_2", "B_1"):
                assert (await take(served))["task_id"] == name
            call = await waiting(served)
            await beat(served, report(first, "DONE"))
            assert (await arrives(call))["task_id"] == "C_1", "its dependency is done"

    run(scenario())


def test_work_arrives_when_the_pause_ends_and_when_a_resource_is_free(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            await put(served, "A_1", "A_2", resources={"db": 1})
            await good(served, "PUT", "/api/scheduler", {"paused": True})
            call = await waiting(served)
            await good(served, "PUT", "/api/scheduler", {"paused": False})
            first = await arrives(call)
            call = await waiting(served)
            await beat(served, report(first, "DONE"))
            assert (await arrives(call))["task_id"] == "A_2"

    run(scenario())


def test_each_is_given_other_work(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            calls = [await waiting(served, f"v{i}") for i in range(8)]
            await good(
                served, "POST", "/api/tasks", {"tasks": [{"task_id": f"A_{i}", "family": "A"} for i in range(8)]}
            )
            found = await asyncio.gather(*(arrives(call, 5) for call in calls))
            assert sorted(run["task_id"] for run in found) == [f"A_{i}" for i in range(8)]

    run(scenario())


def test_who_has_waited_long_enough_is_told_that_there_is_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            began = time.monotonic()
            assert await take(served, wait=0.5) is None
            assert 0.45 < time.monotonic() - began < allowed(3, began)
            assert polls(served) == 0

    run(scenario())


def test_who_waits_is_alive(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, scheduler={"worker_disconnect_delay": 2.0}, prune_every=0.2) as served:
            call = await waiting(served)
            await asyncio.sleep(4)
            assert [worker["worker_id"] for worker in await good(served, "GET", "/api/worker")] == ["v"]
            call.cancel()

    run(scenario())


def test_a_client_that_leaves_gets_no_task(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            _reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(whole("POST", "/api/task", BODY))
            await eventually(lambda: polls(served) == 1)
            reset(writer)
            await eventually(lambda: polls(served) == 0, 0.6)  # sooner than it would have asked again
            await put(served, "A_1")
            await asyncio.sleep(0.3)
            assert (await good(served, "GET", "/api/task/A_1"))["attempt"] == 0

    run(scenario())


def test_a_key_repeats_the_assignment_that_ended_the_wait(tmp_path: Path) -> None:
    async def scenario() -> None:
        key = {"Idempotency-Key": "k"}
        async with serving(tmp_path) as served:
            call = asyncio.create_task(ask(served, "POST", "/api/task", BODY, key))
            await eventually(lambda: polls(served) == 1)
            await put(served, "A_1", "A_2")
            first = (await call).json
            assert (await ask(served, "POST", "/api/task", BODY, key)).json == first

    run(scenario())


def test_many_who_wait_ask_seldom(tmp_path: Path) -> None:
    """Something moves all the time, and something is ready that none of them may take."""

    async def scenario() -> None:
        async with serving(tmp_path) as served:
            await put(served, "A_1", capabilities=["gpu"])
            calls = [await waiting(served, f"v{i}") for i in range(100)]
            before = served.node.metrics.calls.get(("rest_take", 200), 0)
            began = time.monotonic()
            while time.monotonic() - began < 2:
                await put(served, "B_1", priority=time.monotonic(), capabilities=["gpu"])
            took = time.monotonic() - began
            asked = served.node.metrics.calls["rest_take", 200] - before
            assert asked < took * RATE * 1.5
            assert asked >= 100, "each of them still asked, once a second"
            for call in calls:
                call.cancel()

    run(scenario(), 120)


def test_nobody_waits_for_a_node_that_stops(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            call = await waiting(served)
            began = time.monotonic()
            served.node.stop("test")
            assert await call is None
            assert time.monotonic() - began < allowed(5, began)

    run(scenario())
