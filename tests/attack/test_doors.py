"""Internal names, keys, large calls and defects: no second door, nothing without a bound, no needless reload."""

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from luigi_ha.appliance.api import large, large_text
from luigi_ha.appliance.api.access_roles import Role
from luigi_ha.appliance.api.executor import INTERNAL
from luigi_ha.appliance.engine import Scheduler, Settings, lifecycle
from luigi_ha.appliance.node.database import load
from tests.access.tokens import database, made
from tests.api.serving import eventually, form, read_reply, request, run, serving, whole

VIEWER, OPERATOR = made(Role.VIEWER, "eyes"), made(Role.OPERATOR, "boss")
MARK = {"luigi-ha-relayed": "5"}
HOSTILE: list[Any] = [None, [], {}, 0, -1, 1e400, "", "x" * 600, True, [[]], {"a": []}, "\x00", "\ud800"]


@pytest.mark.parametrize("name", sorted(INTERNAL))
def test_internal_names_are_no_paths(tmp_path: Path, name: str) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            for raw in (
                await request(served.port, "GET", f"/api/{name}?data=%7B%7D"),
                await request(served.port, "POST", f"/api/{name}", form({"worker": "w"})),
            ):
                assert raw.status == 404

    run(scenario())


def test_behind_the_mark_arguments_are_checked_as_at_the_paths(tmp_path: Path) -> None:
    async def scenario() -> None:
        database(tmp_path, VIEWER, OPERATOR)
        async with serving(tmp_path, auth="on") as served:
            epoch = served.node.epoch
            asked = {"data": json.dumps({"status": []})}
            found = await request(
                served.port, "GET", "/api/rest_tasks?" + urlencode(asked), None, {**VIEWER.headers, **MARK}
            )
            assert (found.status, found.error["where"]) == (400, "status")
            for name in sorted(INTERNAL):
                for argument in ("task_id", "worker", "status", "tasks", "limit", "name", "total", "paused", "nothing"):
                    for value in HOSTILE:
                        reply = await served.post(name, {argument: value}, {**OPERATOR.headers, **MARK})
                        assert reply.status in (200, 400, 404, 409), (name, argument, value, reply)
            assert served.node.epoch == epoch

    run(scenario(), 120)


def test_a_defect_that_changed_nothing_is_that_calls_500(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            await served.add_task("A_1")
            engine, epoch = served.node.engine, served.node.epoch

            def defective(**_arguments: Any) -> None:
                raise ZeroDivisionError("a defect")

            served.node.dispatcher.executor._methods["is_paused"] = defective
            monkeypatch.setattr(Scheduler, "task_list", defective)
            failed = await served.post("is_paused", {})
            assert (failed.status, "nothing was changed" in failed.error["what"]) == (500, True)
            assert (await served.post("task_list", {"status": ""})).status in (200, 500)
            assert (served.node.engine, served.node.epoch) == (engine, epoch)
            await served.call("ping", worker="w")

    with caplog.at_level("ERROR", logger="luigi_ha"):
        run(scenario())
    assert any(record.msg == "call_failed" and record.exc_info for record in caplog.records)


def test_first_answers_are_bounded_in_bytes(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, scheduler={"answers_bytes": 1 << 20}) as served:
            large = {"data": "x" * 100_000}
            for n in range(40):
                await served.add_task(f"A_{n}", params=large)
            for n in range(40):
                reply = await served.post("get_work", {"worker": "w"}, {"Idempotency-Key": f"k-{n}"})
                assert reply.response["task_id"]
            engine = served.node.engine
            assert engine is not None
            assert sum(len(put.reply) for put in engine._answers.values()) <= 1 << 20
            again = await served.post("get_work", {"worker": "w"}, {"Idempotency-Key": "k-39"})
            assert again.body == reply.body

    run(scenario())


def test_what_answers_take_is_counted_right() -> None:
    now = [0.0]
    engine = Scheduler(Settings(answers_bytes=10_000, answers_kept=100.0), clock=lambda: now[0])
    for n in range(200):
        engine.remember(f"k-{n % 50}", "ping", "f", 200, "x" * (n * 7 % 900))
        now[0] += 1.0
    assert engine._answers_bytes == sum(len(put.reply) + len(put.key) + 400 for put in engine._answers.values())
    assert engine._answers_bytes <= 10_000
    now[0] += 1_000.0
    engine.prune()
    assert (engine._answers_bytes, engine.answered("k-49")) == (0, None)


def test_a_call_about_many_tasks_is_done_and_others_are_served_meanwhile(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            deps = [f"Leaf_{n}" for n in range(12_000)]
            large = asyncio.create_task(served.add_task("Root_1", deps=deps))
            beside = 0
            while not large.done():
                await served.call("ping", worker="v")
                beside += 1
                if beside % 10 == 0:
                    await served.add_task(f"Beside_{beside}", worker="v")
            await large
            assert beside > 30, f"{beside} calls were served beside the large one"
            engine = served.node.engine
            assert engine is not None
            assert engine.tasks["Root_1"].unmet == 12_000
        async with serving(tmp_path) as served:
            engine = served.node.engine
            assert engine is not None
            assert (engine.tasks["Root_1"].unmet, engine.counts()["UNKNOWN"]) == (12_000, 12_000)

    run(scenario(), 120)


def test_a_large_call_that_outlasts_its_clients_patience_goes_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, call_budget=0.3) as served:
            deps = [f"Leaf_{n}" for n in range(20_000)]
            replies = []
            while not replies or replies[-1] != 200:
                reply = await served.post("add_task", {"task_id": "Root_1", "worker": "w", "deps": deps})
                replies.append(reply.status)
            assert set(replies) == {200, 503} or replies == [200], replies
            engine = served.node.engine
            assert engine is not None
            await eventually(lambda: engine.tasks["Root_1"].unmet == 20_000)
            assert engine.tasks["Root_1"].status == "PENDING"

    run(scenario(), 120)


def test_a_large_call_with_a_key_is_done_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            key = {"Idempotency-Key": "k-1"}
            tasks = [{"task_id": f"A_{n}", "family": "A"} for n in range(1_500)]
            first = await served.post("rest_put_tasks", {"tasks": tasks}, key)
            again = await served.post("rest_put_tasks", {"tasks": tasks}, key)
            assert first.response == {"added": 1_500, "known": 0}
            assert again.body == first.body
            other = [{"task_id": f"B_{n}", "family": "B"} for n in range(1_500)]
            assert (await served.post("rest_put_tasks", {"tasks": other}, key)).status == 422
            assert served.node.engine is not None
            assert "B_1" not in served.node.engine.tasks

    run(scenario())


def test_a_large_call_is_answered_once_whatever_its_time(tmp_path: Path) -> None:
    """Its time may be up at any moment; on the same connection the next call gets its own answer."""

    async def scenario() -> None:
        async with serving(tmp_path) as served:
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            deps: list[Any] = [f"D_{n}" for n in range(6_000)]
            for n, last in enumerate((["E"], [1], ["E"], [1])):
                large = {"task_id": f"L_{n}", "worker": "w", "deps": deps + last}
                writer.write(whole("POST", "/api/add_task", form(large), {"luigi-ha-relayed": "0"}))
                reply = await read_reply(reader)
                assert reply.status in (200, 400, 503), reply
                writer.write(whole("POST", "/api/ping", form({"worker": "w"})))
                assert "rpc_messages" in (await read_reply(reader)).response
            writer.close()

    run(scenario())


@pytest.mark.parametrize(
    "value", ["http://[", "http://[x", "http://][", "//", "http://a:b:c", "\t", "http://127.0.0.1:99999999"]
)
def test_an_origin_that_is_no_url_is_a_foreign_one(tmp_path: Path, value: str) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            for name in ("Origin", "Referer"):
                reply = await served.post("ping", {"worker": "w"}, {name: value})
                assert reply.status == 403, (name, reply)

    run(scenario())


def test_a_multipart_form_is_read_in_no_time_however_it_nests(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            kind = {"Content-Type": "multipart/form-data; boundary=b"}
            form_ = b'--b\r\nContent-Disposition: form-data; name="data"\r\n\r\n{"worker": "w"}\r\n--b--\r\n'
            good = await request(served.port, "POST", "/api/ping", form_, kind)
            assert good.response == {"rpc_messages": []}
            level = b"--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n"
            nested = b"".join(level % (n, n + 1) for n in range(3_000))
            odd = b"--b\r\nContent-Disposition: form-data; name=" + b"(" * 3_000 + b"\r\n\r\nx\r\n--b--"
            for body in (nested, odd, b"--b" * 80_000, b""):
                reply = await request(served.port, "POST", "/api/ping", body, kind)
                assert reply.status == 400, reply
            large = await request(served.port, "POST", "/api/ping", b"x" * 300_000, kind)
            assert "urlencoded" in large.error["expected"]

    run(scenario())


@pytest.mark.parametrize("element", ["{}", "[]", '"x"', "1", '{"a":1,"b":2,"c":3}'])
def test_the_decoder_pauses_whatever_it_reads(element: str) -> None:
    text = '{"deps": ["x",' + ",".join([element] * 20_000) + "]}"
    assert sum(1 for _ in large_text.decoded(text, large_text.SCAN)) > 200


def test_a_priority_that_was_acknowledged_has_reached_all_that_it_concerns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "AT_ONCE", 20)
    monkeypatch.setattr(large, "SETTLED_AT_ONCE", 10)

    async def scenario() -> None:
        async with serving(tmp_path) as served:
            for n in range(300):
                deps = [f"T_{m}" for m in (2 * n + 1, 2 * n + 2) if m < 300]
                await served.add_task(f"T_{n}", deps=deps)
            await served.add_task("T_0", deps=["T_1", "T_2"], priority=10)
            stored = (await load(served.node)).engine
            assert {task.priority for task in stored.tasks.values()} == {10}

    run(scenario())
