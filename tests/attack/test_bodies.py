"""Bytes on their way are bounded together, and only those who may call have theirs kept."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from luigi_ha.appliance.api import server
from luigi_ha.appliance.api.access_roles import Role
from luigi_ha.appliance.api.traffic import FREE, Traffic
from tests.access.tokens import database, made
from tests.api.serving import Served, eventually, form, read_reply, run, serving, whole

WORKER = made(Role.WORKER, "etl")
LANES = {"fast": {}, "second": {"Connection": "keep-alive, other"}}


async def begin(served: Served, raw: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send a part of a request, and leave it at that."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(raw)
    await writer.drain()
    return reader, writer


def most_of(body: int, headers: dict[str, str]) -> bytes:
    """All but the last byte of a call whose body has so many bytes."""
    arguments = {"task_id": "A_1", "worker": "w", "expl": "x" * body}
    return whole("POST", "/api/add_task", form(arguments), headers)[:-1]


@pytest.mark.parametrize("lane", LANES)
def test_of_who_has_no_token_no_body_is_kept(tmp_path: Path, lane: str) -> None:
    async def scenario() -> None:
        database(tmp_path, WORKER)
        async with serving(tmp_path, auth="on") as served:
            others = [await begin(served, most_of(250_000, LANES[lane])) for _ in range(40)]
            for reader, _ in others:
                assert (await read_reply(reader)).status == 401
            assert served.node.api._traffic.held == 0
            assert all(len(one._buffer) < 1 << 16 for one in served.node.api._connections)
            for _, writer in others:
                writer.close()

    run(scenario())


def test_after_a_refusal_the_rest_of_the_body_is_skipped_and_the_connection_goes_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        database(tmp_path, WORKER)
        async with serving(tmp_path, auth="on") as served:
            refused = whole("POST", "/api/ping", form({"worker": "w", "more": "x" * 200_000}))
            good = whole("POST", "/api/ping", form({"worker": "w"}), WORKER.headers)
            reader, writer = await begin(served, refused[:1_000])
            assert (await read_reply(reader)).status == 401
            writer.write(refused[1_000:] + good)
            assert (await read_reply(reader)).status == 200
            writer.close()

    run(scenario())


@pytest.mark.parametrize("lane", LANES)
def test_bodies_on_their_way_are_bounded_together(
    tmp_path: Path, lane: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Eight of 240 KB do not fit into 1 MB; those that do are held, the rest refused, and nothing stays behind."""

    async def scenario() -> None:
        database(tmp_path, WORKER)
        async with serving(tmp_path, auth="on", max_in_flight=1 << 20) as served:
            held = [await begin(served, most_of(240_000, {**WORKER.headers, **LANES[lane]})) for _ in range(8)]
            await eventually(lambda: served.node.api._traffic.held > 600_000)
            assert (await served.post("ping", {"worker": "v"}, WORKER.headers)).status == 200
            answers = [asyncio.create_task(read_reply(reader)) for reader, _ in held]
            await eventually(lambda: sum(answer.done() for answer in answers) >= 2)
            assert {answer.result().status for answer in answers if answer.done()} == {503}
            assert served.node.api._traffic.held <= 1 << 20
            for _, writer in held:
                writer.write(b"D")
            replies = await asyncio.gather(*answers)
            assert sorted({reply.status for reply in replies}) == [200, 503]
            for _, writer in held:
                writer.close()
            await eventually(lambda: served.node.api._traffic.held == 0)

    with caplog.at_level("WARNING", logger="luigi_ha"):
        run(scenario())
    assert any(record.msg == "bytes_in_flight_full" for record in caplog.records)


def test_strangers_cannot_use_up_the_budget(tmp_path: Path) -> None:
    """Without tokens being asked for nobody is a stranger; with them a body of a stranger is not read at all."""
    traffic = Traffic(100, 1 << 20, everybody_known=False)
    stranger, known = traffic.share(), traffic.share()
    assert stranger.hold(FREE + (200 << 10), known=False)
    assert not traffic.share().hold(FREE + (100 << 10), known=False)
    assert known.hold(FREE + (700 << 10), known=True)
    assert not known.hold(FREE + (900 << 10), known=True)
    assert traffic.held == 900 << 10
    stranger.close()
    stranger.close()
    known.close()
    assert traffic.held == 0
    assert Traffic(100, 1 << 20, everybody_known=True).share().hold(FREE + (1 << 20), known=False)


def test_connections_are_bounded_and_an_idle_one_makes_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "IDLE", 0.0)

    async def scenario() -> None:
        async with serving(tmp_path, max_connections=20) as served:
            idle = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(60)]
            await eventually(lambda: served.node.api.connections >= 20)
            assert (await served.post("ping", {"worker": "w"})).status == 200
            assert served.node.api.connections <= 21
            for _, writer in idle:
                writer.close()

    with caplog.at_level("WARNING", logger="luigi_ha"):
        run(scenario())
    assert any(record.msg == "connections_full" for record in caplog.records)


def test_when_no_connection_is_idle_the_new_one_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "IDLE", 600.0)

    async def scenario() -> None:
        async with serving(tmp_path, max_connections=16) as served:
            held = [await begin(served, most_of(1_000, {})) for _ in range(16)]
            await eventually(lambda: served.node.api.connections == 16)
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read(1) == b""
            writer.close()
            for reader, writer in held:
                writer.write(b"D")
                assert (await read_reply(reader)).status == 200
                writer.close()

    run(scenario())


@pytest.mark.parametrize("call", ["ping", "get_work", "add_worker", "set_task_status_message"])
def test_calls_that_add_no_tasks_have_small_bodies(tmp_path: Path, call: str) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            raw = whole("POST", f"/api/{call}", None, {"Content-Length": str(5 << 20)})
            reader, writer = await begin(served, raw)
            reply = await read_reply(reader)
            assert (reply.status, reply.error["where"]) == (413, "Content-Length")
            writer.close()

    run(scenario())
