"""A call with an Idempotency-Key is done once: repeated, it is answered as the first time, by whoever leads then."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.api.serving import Served, form, reset, run, serving, whole

KEY = {"Idempotency-Key": "6f1c"}
FAST: dict[str, str] = {}
SLOW = {"Connection": "keep-alive, other"}  # moves a request over to aiohttp


async def running(served: Served) -> dict[str, Any]:
    """A task that runs, with resources: to lower them is not idempotent by itself."""
    await served.call("update_resource", resource="r", amount=10)
    await served.add_task("A_1", resources={"r": 5})
    assert (await served.call("get_work", worker="w"))["task_id"] == "A_1"
    return {"task_id": "A_1", "decrease_resources": {"r": 1}}


async def left(served: Served) -> float:
    shown = await served.call("get_running_task_resources", task_id="A_1")
    amount: float = shown["resources"]["r"]
    return amount


@pytest.mark.parametrize("lane", [FAST, SLOW], ids=["fast lane", "aiohttp"])
def test_a_repeated_call_is_done_once(tmp_path: Path, lane: dict[str, str]) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            lower = await running(served)
            replies = [await served.post("decrease_running_task_resources", lower, KEY | lane) for _ in range(3)]
            assert {(reply.status, reply.body) for reply in replies} == {(200, b'{"response": null}')}
            assert await left(served) == 4
            assert served.node.metrics.repeated == 2
            await served.post("decrease_running_task_resources", lower, lane)
            assert await left(served) == 3, "without a key, each call is a new one"

    run(scenario())


def test_both_lanes_know_the_same_keys(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            lower = await running(served)
            for lane in (FAST, SLOW, FAST):
                assert (await served.post("decrease_running_task_resources", lower, KEY | lane)).status == 200
            assert await left(served) == 4

    run(scenario())


@pytest.mark.parametrize("lane", [FAST, SLOW], ids=["fast lane", "aiohttp"])
def test_a_key_of_another_call_is_refused(tmp_path: Path, lane: dict[str, str]) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            await served.post("add_task", {"task_id": "A_1", "worker": "w"}, KEY | lane)
            for method, arguments, what in (
                ("add_task", {"task_id": "A_2", "worker": "w"}, "other arguments"),
                ("mark_as_done", {"task_id": "A_1", "worker": "w"}, "add_task"),
            ):
                refused = await served.post(method, arguments, KEY | lane)
                assert (refused.status, refused.error["where"]) == (422, "Idempotency-Key")
                assert what in refused.error["what"]
            assert list(await served.call("task_list", status="PENDING")) == ["A_1"]

    run(scenario())


@pytest.mark.parametrize("key", ["", " ", "x" * 201, "tab\tinside", "sm\xf6rg"])
def test_a_key_that_is_none_is_refused(tmp_path: Path, key: str) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            refused = await served.post("add_task", {"task_id": "A_1", "worker": "w"}, {"Idempotency-Key": key})
            assert (refused.status, refused.error["where"]) == (400, "Idempotency-Key")
            longest = {"Idempotency-Key": "x" * 200}
            assert (await served.post("add_task", {"task_id": "A_2", "worker": "w"}, longest)).status == 200
            assert list(await served.call("task_list", status="PENDING")) == ["A_2"]

    run(scenario())


def test_a_call_that_changed_nothing_is_not_remembered(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            refused = await served.post("add_task", {"task_id": 5, "worker": "w"}, KEY)
            assert refused.status == 400
            assert (await served.post("is_paused", {}, KEY)).response == {"paused": False}
            await served.call("pause")
            assert (await served.post("is_paused", {}, KEY)).response == {"paused": True}
            assert (await served.post("add_task", {"task_id": "A_1", "worker": "w"}, KEY)).status == 200

    run(scenario())


def test_no_work_is_not_remembered_and_an_assignment_is(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            take = {"worker": "w"}
            assert (await served.post("rest_take", take, KEY)).response is None
            await served.call("rest_put_task", task_id="A_1", family="A")
            await served.call("rest_put_task", task_id="A_2", family="A")
            first = (await served.post("rest_take", take, KEY)).response
            assert first["task_id"] == "A_1"
            assert (await served.post("rest_take", take, KEY)).response == first
            assert (await served.post("rest_take", take, {"Idempotency-Key": "7"})).response["task_id"] == "A_2"

    run(scenario())


def test_the_first_answer_survives_a_restart(tmp_path: Path) -> None:
    async def scenario() -> None:
        take = {"worker": "w"}
        async with serving(tmp_path) as served:
            await served.call("rest_put_task", task_id="A_1", family="A")
            first = await served.post("rest_take", take, KEY)
        async with serving(tmp_path) as served:
            again = await served.post("rest_take", take, KEY)
            assert (again.status, again.body) == (200, first.body)
            assert first.response["run_id"]

    run(scenario())


def test_answer_and_change_are_in_one_transaction(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            await served.post("add_task", {"task_id": "A_1", "worker": "w"}, KEY)
        with closing(sqlite3.connect(tmp_path / "luigi.db")) as database:
            query = "SELECT caller_key, method, reply_status, reply FROM luigi_answer"
            assert database.execute(query).fetchall() == [("6f1c", "add_task", 200, '{"response": null}')]

    run(scenario())


def test_who_asks_again_before_the_commit_waits_for_it_too(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            lower = await running(served)
            raw = whole("POST", "/api/decrease_running_task_resources", form(lower), KEY)
            _reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(raw)  # and gives up at once
            await writer.drain()
            reset(writer)
            calls = [served.post("decrease_running_task_resources", lower, KEY) for _ in range(20)]
            assert {reply.status for reply in await asyncio.gather(*calls)} == {200}
            assert await left(served) == 4

    run(scenario())


def test_the_first_answer_survives_a_reload(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            lower = await running(served)
            await served.post("decrease_running_task_resources", lower, KEY)
            before = served.node.engine
            served.node.leading.broken("test")
            assert (await served.post("decrease_running_task_resources", lower, KEY)).status == 200
            assert served.node.engine is not before
            assert await left(served) == 4

    run(scenario())
