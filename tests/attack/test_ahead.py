"""Work and memory that a client could make grow by what it sends ahead, sends slowly, or does not read."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from luigi_ha.appliance.api import fastlane, second_lane, server
from luigi_ha.appliance.api.access_roles import Role
from luigi_ha.appliance.api.fastlane import AHEAD
from tests.access.tokens import database, made
from tests.api.serving import Served, eventually, form, read_reply, run, serving, whole
from tests.support.patience import patient

WORKER = made(Role.WORKER, "etl")
KERNEL = 12 << 20  # bytes that the kernel's buffers of both ends may take from a client that is not read
LANES = {"fast": {}, "second": {"Connection": "keep-alive, other"}}


async def send_until_blocked(served: Served, piece: bytes, most: int) -> tuple[int, asyncio.StreamWriter]:
    """Send the same bytes again and again until nothing more is taken for a while; how many were taken."""
    _, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1)
    transport: Any = writer.transport
    transport.pause_reading()
    transport.set_write_buffer_limits(high=len(piece))
    taken = 0
    try:
        while taken < most:
            writer.write(piece)
            async with asyncio.timeout(2.0):
                await writer.drain()
            taken += len(piece)
    except TimeoutError:
        pass
    return taken, writer


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("auth", ["off", "on"])
def test_a_client_that_sends_ahead_and_never_reads_is_not_read_either(tmp_path: Path, auth: str, lane: str) -> None:
    async def scenario() -> None:
        database(tmp_path, WORKER)
        async with serving(tmp_path, auth=auth) as served:
            ping = whole("POST", "/api/ping", form({"worker": "w"}), LANES[lane])
            taken, writer = await send_until_blocked(served, ping * 500, 64 << 20)
            try:
                assert taken < KERNEL + len(ping) * 500, f"{taken} bytes were taken from a client that reads nothing"
                assert (await served.post("ping", {"worker": "v"}, WORKER.headers)).status == 200
            finally:
                writer.transport.abort()

    run(scenario(), 120)


@pytest.mark.parametrize("lane", LANES)
def test_requests_sent_ahead_are_all_answered_in_order(tmp_path: Path, lane: str) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            large = {"task_id": "Large_1", "worker": "w", "expl": "x" * 200_000, "status": "FAILED"}
            calls = [("add_task", {"task_id": "A_1", "worker": "w"}), ("add_task", large), ("ping", {"worker": "w"})]
            calls += [("add_task", {"task_id": f"B_{n}", "worker": "w"}) for n in range(200)]
            calls += [("fetch_error", {"task_id": "Large_1"})]
            raw = b"".join(whole("POST", f"/api/{name}", form(arguments), LANES[lane]) for name, arguments in calls)
            writer.write(raw)
            replies = [await read_reply(reader) for _ in calls]
            writer.close()
            assert {reply.status for reply in replies} == {200}
            assert len(replies[-1].response["error"]) == 200_000

    run(scenario())


def test_a_body_that_drips_costs_the_same_for_each_byte(tmp_path: Path) -> None:
    """The cost of a byte must not depend on how many came before it."""

    async def scenario() -> None:
        async with serving(tmp_path) as served:
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            size = fastlane_body()
            raw = whole("POST", "/api/ping", form({"worker": "w", "more": "x" * size}))
            head = raw[: raw.index(b"\r\n\r\n") + 4]
            writer.write(head)
            await eventually(lambda: bool(served.node.api._connections))
            lane = next(iter(served.node.api._connections))
            body = raw[len(head) :]
            pieces = 3_000

            def cost(of: bytes) -> float:
                began = time.process_time()
                for n in range(pieces):
                    lane.data_received(of[n : n + 1])
                return time.process_time() - began

            await eventually(lambda: lane._head is not None)
            first = cost(body[:pieces])
            lane.data_received(body[pieces : len(body) - pieces - 1])
            last = cost(body[len(body) - pieces - 1 : -1])
            each = f"{first / pieces * 1e6:.1f} us a byte at the beginning, {last / pieces * 1e6:.1f} later"
            assert last < 5 * first, each
            lane.data_received(body[-1:])
            assert (await read_reply(reader)).status == 200
            writer.close()

    run(scenario())


def fastlane_body() -> int:
    """The longest argument that stays in the fast lane."""
    return (1 << 18) - 1_000


@pytest.mark.parametrize("lane", LANES)
def test_replies_that_nobody_reads_do_not_pile_up(tmp_path: Path, lane: str) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            await served.add_task("Failed_1", status="FAILED", expl=json.dumps("x" * 500_000))
            ask = whole("POST", "/api/fetch_error", form({"task_id": "Failed_1"}), LANES[lane])
            _, writer = await send_until_blocked(served, ask * 200, 32 << 20)
            try:
                answered = served.node.metrics.calls.get(("fetch_error", 200), 0)
                assert 0 < answered < 40, f"{answered} replies of 0.5 MB were made for a client that reads none"
                assert (await served.post("ping", {"worker": "v"})).status == 200
            finally:
                writer.transport.abort()
            await eventually(lambda: served.node.api._traffic.held == 0)

    run(scenario(), 120)


@pytest.mark.parametrize("lane", LANES)
def test_a_client_that_reads_nothing_is_closed_and_the_log_says_so(
    tmp_path: Path, lane: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fastlane, "READ_WITHIN", 0.5)
    monkeypatch.setattr(second_lane, "READ_WITHIN", 0.5)
    monkeypatch.setattr(server, "UNREAD_EVERY", 0.1)

    async def scenario() -> None:
        async with serving(tmp_path) as served:
            await served.add_task("Failed_1", status="FAILED", expl=json.dumps("x" * 900_000))
            ask = whole("POST", "/api/fetch_error", form({"task_id": "Failed_1"}), LANES[lane])
            _, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1)
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(ask * 30)
            await eventually(lambda: any(r.msg == "slow_reader_closed" for r in caplog.records), 20)
            await eventually(lambda: not served.node.api.connections, 10)
            writer.transport.abort()

    with caplog.at_level("WARNING", logger="luigi_ha"):
        run(scenario())


def test_a_slow_reader_that_reads_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastlane, "READ_WITHIN", patient(2.0))
    monkeypatch.setattr(server, "UNREAD_EVERY", 0.1)

    async def scenario() -> None:
        async with serving(tmp_path) as served:
            await served.add_task("Failed_1", status="FAILED", expl=json.dumps("x" * 900_000))
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1 << 16)
            ask = whole("POST", "/api/fetch_error", form({"task_id": "Failed_1"}))
            writer.write(ask * 12)
            got = 0
            while got < 12 * 900_000:
                piece = await reader.read(400_000)
                assert piece, f"closed after {got} bytes"
                got += len(piece)
                await asyncio.sleep(0.2)
            writer.close()

    run(scenario(), 120)


def test_what_lies_ahead_is_bounded(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            ping = whole("POST", "/api/ping", form({"worker": "w"}))
            _, writer = await send_until_blocked(served, ping * 500, 16 << 20)
            try:
                sizes = [len(lane._buffer) for lane in served.node.api._connections]
                assert max(sizes) < AHEAD + (1 << 19), sizes
            finally:
                writer.transport.abort()

    run(scenario(), 60)


def test_a_body_in_two_pieces_behind_another_call_leaves_the_connection_alive(tmp_path: Path) -> None:
    """As a node sends calls that it passes on: head and body apart, on one connection."""

    async def scenario() -> None:
        async with serving(tmp_path) as served:
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            for n in range(5):
                small = whole("POST", "/api/add_task", form({"task_id": f"A_{n}", "worker": "w"}))
                large = whole("POST", "/api/add_task", form({"task_id": f"B_{n}", "worker": "w", "expl": "x" * 70_000}))
                writer.write(small + large[:300])
                await asyncio.sleep(0)
                writer.write(large[300:])
                assert [(await read_reply(reader)).status for _ in range(2)] == [200, 200]
                writer.write(whole("POST", "/api/ping", form({"worker": "w"})))
                assert (await read_reply(reader)).status == 200
            lane = next(iter(served.node.api._connections))
            assert not lane._paused
            writer.close()
            await eventually(lambda: not served.node.api.connections)

    run(scenario())


def test_a_connection_that_is_closed_with_unread_bytes_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastlane, "READ_WITHIN", 0.3)
    monkeypatch.setattr(server, "UNREAD_EVERY", 0.1)

    async def scenario() -> None:
        async with serving(tmp_path) as served:
            await served.add_task("Failed_1", status="FAILED", expl=json.dumps("x" * 900_000))
            _, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1)
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            ask = whole("POST", "/api/fetch_error", form({"task_id": "Failed_1"}), {"Connection": "close"})
            for _ in range(12):
                writer.write(ask)
            await eventually(lambda: served.node.metrics.calls.get(("fetch_error", 200), 0) > 0)
            await eventually(lambda: not served.node.api.connections, 20)
            writer.transport.abort()

    run(scenario())


def test_views_that_nobody_reads_are_counted(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, max_in_flight=2 << 20) as served:
            tasks = [{"task_id": f"T_{n}", "family": "T", "params": {"text": "x" * 500}} for n in range(900)]
            await served.call("rest_put_tasks", tasks=tasks)
            ask = whole("GET", "/api/task_list?data=%7B%22status%22%3A%22PENDING%22%7D", None)
            writers = []
            for _ in range(12):
                _, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1)
                writer.transport.pause_reading()  # type: ignore[attr-defined]
                writer.write(ask * 20)
                writers.append(writer)
            await eventually(lambda: served.node.api._traffic.held > 500_000, 20)
            assert served.node.api._traffic.held <= 2 << 20
            for writer in writers:
                writer.transport.abort()
            await eventually(lambda: served.node.api._traffic.held == 0, 20)

    run(scenario())


def test_a_light_call_does_not_wait_for_all_heavy_ones_that_came_before(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            await served.add_task("Failed_1", status="FAILED", expl=json.dumps("x" * 900_000))
            ask = whole("POST", "/api/fetch_error", form({"task_id": "Failed_1"}))
            assert (await served.post("fetch_error", {"task_id": "Failed_1"})).status == 200  # it is known to be heavy
            writers = []
            for _ in range(40):
                _, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1)
                writer.transport.pause_reading()  # type: ignore[attr-defined]
                writers.append(writer)
            before = served.node.metrics.calls["fetch_error", 200]
            for writer in writers:
                writer.write(ask)
            assert (await served.post("ping", {"worker": "w"})).status == 200
            done = served.node.metrics.calls["fetch_error", 200] - before
            assert done < 30, f"{done} of 40 heavy calls were done before the light one"
            await eventually(lambda: served.node.metrics.calls["fetch_error", 200] - before == 40, 20)
            for writer in writers:
                writer.transport.abort()

    run(scenario())
