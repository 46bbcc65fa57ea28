"""Park, don't refuse: calls wait while the database is away, unexecuted, for a bounded time and in bounded number."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from luigi_ha.appliance.engine import BadArgument, Scheduler
from luigi_ha.appliance.node import State
from tests.api.serving import Served, eventually, form, request, reset, run, serving, whole
from tests.support.patience import allowed


@contextmanager
def database_away(directory: Path) -> Iterator[None]:
    """Somebody else holds the database's write lock: no commit succeeds until the end of the block."""
    with closing(sqlite3.connect(directory / "luigi.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


async def provoke(served: Served) -> "asyncio.Task[Any]":
    """Make the node notice that the database is away: a call that writes, and waits for its commit."""
    call = asyncio.create_task(served.post("add_task", {"task_id": "Provoking_1", "worker": "w"}))
    await eventually(lambda: not served.node.gate.is_open)
    return call


def test_calls_wait_for_a_database_that_is_away_and_none_is_lost(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, database_timeout=0.2) as served:
            with database_away(tmp_path):
                calls = [await provoke(served)]
                calls += [asyncio.create_task(served.add_task(f"A_{i}")) for i in range(20)]
                calls.append(asyncio.create_task(served.post("ping", {"worker": "w"})))
                calls.append(asyncio.create_task(served.get("/api/dep_graph?data=%7B%22task_id%22%3A%22A_1%22%7D")))
                await eventually(lambda: served.node.dispatcher.parked == 22)
                await asyncio.sleep(0.3)
                assert not any(call.done() for call in calls)
                assert served.node.engine is not None
                assert "A_1" not in served.node.engine.tasks, "parked calls are not executed"
                health = (await served.get("/health")).json
                assert health["leading"]
                assert not health["ready"]
                assert health["journal"]["state"] == "waiting"
                assert (await served.get("/ready")).status == 503
            replies = await asyncio.gather(*calls)
            assert replies[0].status == 200
            assert "A_1" in replies[-1].response
            assert len(await served.call("task_list", status="")) == 21

    run(scenario())


def test_a_call_that_waited_too_long_gets_503_and_was_not_executed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, database_timeout=0.1, call_budget=0.8) as served:
            loop = asyncio.get_running_loop()
            with database_away(tmp_path):
                executed = await provoke(served)
                began = loop.time()
                replies = await asyncio.gather(
                    served.post("add_task", {"task_id": "A_1", "worker": "w"}),
                    served.get("/api/is_paused"),
                    served.get("/api/dep_graph?data=%7B%22task_id%22%3A%22A_1%22%7D"),
                )
                assert 0.7 < loop.time() - began < allowed(1.6, began)
                for reply in replies:
                    assert reply.status == 503
                    assert reply.headers["retry-after"] == "1"
                    assert "database is away" in reply.error["what"]
                    assert "not executed" in reply.error["what"]
                assert (await executed).status == 503
                assert "may still take effect" in (await executed).error["what"]
            await eventually(lambda: served.node.gate.is_open)
            assert list(await served.call("task_list", status="")) == ["Provoking_1"]

    run(scenario())


def test_a_request_whose_client_has_gone_is_not_executed(tmp_path: Path) -> None:
    async def leave(served: Served, task_id: str, headers: dict[str, str], *, hard: bool) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", served.port)
        parked = served.node.dispatcher.parked
        writer.write(whole("POST", "/api/add_task", form({"task_id": task_id, "worker": "w"}), headers))
        await eventually(lambda: served.node.dispatcher.parked == parked + 1)
        if hard:
            reset(writer)
        else:
            writer.close()
            await writer.wait_closed()

    async def scenario() -> None:
        async with serving(tmp_path, database_timeout=0.2) as served:
            tasks = len(asyncio.all_tasks())
            with database_away(tmp_path):
                provoking = await provoke(served)
                await leave(served, "Gone_1", {}, hard=False)
                await leave(served, "Gone_2", {}, hard=True)
                await leave(served, "Gone_3", {"Connection": "keep-alive, other"}, hard=True)
                staying = asyncio.create_task(served.add_task("Stays_1"))
                await eventually(lambda: served.node.dispatcher.parked >= 1)
                await asyncio.sleep(0.1)
            await asyncio.gather(provoking, staying)
            assert sorted(await served.call("task_list", status="")) == ["Provoking_1", "Stays_1"]
            assert served.node.metrics.dropped == 3
            await eventually(lambda: len(asyncio.all_tasks()) <= tasks, 10)

    run(scenario())


def test_the_number_of_waiting_calls_is_bounded(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, database_timeout=0.2, max_waiting=5) as served:
            with database_away(tmp_path):
                calls = [await provoke(served)]
                calls += [asyncio.create_task(served.post("ping", {"worker": "w"})) for _ in range(5)]
                await eventually(lambda: served.node.dispatcher.parked == 5)
                refused = await served.post("ping", {"worker": "w"})
                assert refused.status == 503
                assert "5 calls" in refused.error["what"]
            assert [reply.status for reply in await asyncio.gather(*calls)] == [200] * 6

    run(scenario())


def test_workers_are_not_forgotten_because_the_database_was_away(tmp_path: Path) -> None:
    async def scenario() -> None:
        limits = {"worker_disconnect_delay": 2.0, "worker_grace": 2.0}
        async with serving(tmp_path, database_timeout=0.1, scheduler=limits, prune_every=0.05) as served:
            await served.add_task("A_1")
            with database_away(tmp_path):
                provoking = await provoke(served)
                await asyncio.sleep(2.5)
            await provoking
            assert [w["name"] for w in await served.call("worker_list")] == ["w"]
            engine = served.node.engine
            assert engine is not None
            await eventually(lambda: not engine.workers)

    run(scenario())


def test_an_engine_that_fails_is_rebuilt_from_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault is injected into the real engine: half-way through a call, after it has changed something."""

    async def scenario() -> None:
        async with serving(tmp_path) as served:
            await served.add_task("A_1")
            engine = served.node.engine
            assert engine is not None

            def half_done(self: Scheduler, worker: str, **_more: object) -> None:
                self.tasks.clear()
                raise ZeroDivisionError("a defect")

            monkeypatch.setattr(Scheduler, "disable_worker", half_done)
            served.node.dispatcher.executor._methods["disable_worker"] = engine.disable_worker
            failing = asyncio.create_task(served.post("disable_worker", {"worker": "w"}))
            following = asyncio.create_task(served.post("count_pending", {"worker": "w"}))
            failed = await failing
            assert failed.status == 500
            assert "reloaded" in failed.error["what"]
            assert (await following).response["n_pending_tasks"] == 1
            assert served.node.engine is not engine
            assert served.node.life.state is State.LEADING
            assert served.node.epoch == 2
            assert list(await served.call("task_list", status="")) == ["A_1"]

    run(scenario())


def test_a_refused_call_is_no_failure_of_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        def refusing(self: Scheduler, **_arguments: object) -> None:
            raise BadArgument("worker", "is wrong", "another one")

        monkeypatch.setattr(Scheduler, "disable_worker", refusing)
        async with serving(tmp_path) as served:
            engine = served.node.engine
            reply = await served.post("disable_worker", {"worker": "w"})
            assert (reply.status, reply.error["where"]) == (400, "worker")
            assert served.node.engine is engine

    run(scenario())


def test_calls_park_while_the_node_starts(tmp_path: Path) -> None:
    """The sockets open before the database does: who calls during a start waits for it."""
    sqlite3.connect(tmp_path / "luigi.db").close()

    async def scenario() -> None:
        with database_away(tmp_path):
            starting = asyncio.create_task(_first_call(tmp_path))
            await asyncio.sleep(1.0)
            assert not starting.done()
        assert (await starting) == 200

    run(scenario())


async def _first_call(directory: Path) -> int:
    from luigi_ha.appliance.config import load
    from luigi_ha.appliance.node import Node, NodeOptions

    url = f"sqlite:///{directory}/luigi.db"
    options = load({"database": url, "host": "127.0.0.1", "port": 0, "database_timeout": 0.2}, None, {}).options
    node = Node(NodeOptions(options, url))
    ending = asyncio.create_task(node.run())
    await eventually(lambda: bool(node.api.addresses))
    port = int(node.api.addresses[0].rpartition(":")[2])
    reply = await request(port, "POST", "/api/ping", form({"worker": "w"}))
    node.stop("test")
    await ending
    return reply.status
