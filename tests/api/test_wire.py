"""Good calls are answered as luigid answers them; bad ones say what was wrong, where, and what would be right."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.api.serving import Reply, Served, form, read_reply, request, run, send, serving, whole

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def test_replies_have_luigids_status_type_and_body(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            reply = await served.post("ping", {"worker": "w"})
            assert (reply.status, reply.body) == (200, b'{"response": {"rpc_messages": []}}')
            assert reply.headers["content-type"] == "application/json; charset=UTF-8"
            assert (await served.post("add_task", {"task_id": "A_1", "worker": "w"})).body == b'{"response": null}'
            assert (await served.get("/api/is_paused")).body == b'{"response": {"paused": false}}'
            assert (await request(served.port, "POST", "/api/is_paused?data=%7B%7D", b"")).status == 200

    run(scenario())


def test_both_lanes_answer_alike(tmp_path: Path) -> None:
    """A header that the fast lane does not know in full moves a request over to aiohttp; nothing else may differ."""

    async def both(served: Served, method: str, data: Any) -> Reply:
        fast = await served.post(method, data)
        slow = await served.post(method, data, {"Connection": "keep-alive, other"})
        assert (fast.status, fast.body) == (slow.status, slow.body)
        assert fast.headers["content-type"] == slow.headers["content-type"]
        assert fast.headers["server"] == slow.headers["server"] == "luigi-ha"
        return fast

    async def scenario() -> None:
        async with serving(tmp_path) as served:
            await served.add_task("A_1", params={"x": "</script>", "y": "ü \U0001d518"})
            assert b"<\\/script>" in (await both(served, "task_list", {"status": "PENDING"})).body
            await both(served, "count_pending", {"worker": "w"})
            await both(served, "get_work", {"worker": 5})
            await both(served, "ping", "[1")
            await both(served, "resource_list", {})

    run(scenario())


@pytest.mark.parametrize("value", ["Infinity", "-Infinity", "NaN", '"\\u0000"', '"\\ud800"', '"\\u00fc\\ud83d\\ude00"'])
def test_python_json_travels_both_ways_and_through_a_restart(tmp_path: Path, value: str) -> None:
    data = f'{{"task_id": "A_1", "status_message": {value}}}'

    async def scenario() -> None:
        async with serving(tmp_path) as served:
            await served.add_task("A_1")
            assert (await served.post("set_task_status_message", data)).status == 200
            shown = (await served.get("/api/get_task_status_message?data=%7B%22task_id%22%3A%22A_1%22%7D")).body
            assert f'"statusMessage": {value}'.encode() in shown
        async with serving(tmp_path) as served:
            again = (await served.post("get_task_status_message", {"task_id": "A_1"})).body
            assert again == shown

    run(scenario())


DEEP = "[" * 500 + "]" * 500
BAD: list[tuple[str, bytes, int, str]] = [
    ("unknown method", whole("POST", "/api/nothing", form({})), 404, "no method"),
    ("no method", whole("POST", "/api/", form({})), 404, "no method"),
    ("malformed JSON", whole("POST", "/api/ping", b"data=%7B"), 400, "not JSON"),
    ("not an object", whole("POST", "/api/ping", form([1])), 400, "a list, not an object"),
    ("null", whole("POST", "/api/ping", form("null")), 400, "not an object"),
    ("too deep", whole("POST", "/api/ping", form('{"worker": ' + DEEP + "}")), 400, "too deep"),
    ("much too deep", whole("POST", "/api/ping", form("[" * 100_000)), 400, "too deep"),
    ("not UTF-8", whole("POST", "/api/ping", b"data=%ff"), 400, "not UTF-8"),
    ("endless number", whole("POST", "/api/update_resource", form('{"amount": ' + "9" * 5000 + "}")), 400, "not JSON"),
    ("missing argument", whole("POST", "/api/add_task", form({"worker": "w"})), 400, "task_id"),
    ("unexpected argument", whole("POST", "/api/count_pending", form({"worker": "w", "x": 1})), 400, "'x'"),
    ("self is no argument", whole("POST", "/api/ping", form({"self": 1})), 400, "self"),
    ("wrong type", whole("POST", "/api/add_task", form({"worker": "w", "task_id": 5})), 400, ""),
    ("view with wrong type", whole("POST", "/api/dep_graph", form({"task_id": 5})), 400, ""),
    ("view without argument", whole("GET", "/api/dep_graph", None), 400, "task_id"),
    (
        "JSON body",
        whole("POST", "/api/ping", b'{"worker": "w"}', {"Content-Type": "application/json"}),
        400,
        "application/json",
    ),
    ("too many fields", whole("POST", "/api/ping", b"&".join(b"a%d=1" % i for i in range(99))), 400, "too many fields"),
    ("wrong HTTP method", whole("PUT", "/api/ping", form({})), 405, "PUT"),
    ("HEAD on a call", whole("HEAD", "/api/ping", None), 405, ""),
    ("POST elsewhere", whole("POST", "/health", form({})), 405, "POST"),
    ("unknown path", whole("GET", "/nowhere", None), 404, "no such path"),
    ("luigid's history page", whole("GET", "/history", None), 404, "history"),
    ("luigid's task list page", whole("GET", "/tasklist/A", None), 404, "history"),
    ("history of nobody", whole("GET", "/api/task/Nobody/history", None), 404, "no such task"),
    ("why of nobody", whole("GET", "/api/task/Nobody/why", None), 404, "no such task"),
    ("history with a wrong limit", whole("GET", "/api/task/A/history?limit=-1", None), 400, "-1"),
    ("outside of static", whole("GET", "/static/..%2f..%2frpc.py", None), 404, "no such file"),
]


def test_bad_input_is_explained_and_changes_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            await served.add_task("A_1")
            before = served.node.journal.appended if served.node.journal else -1
            for name, raw, status, words in BAD:
                reply = await send(served.port, raw, raw.split()[0].decode())
                assert reply.status == status, (name, reply)
                if not raw.startswith(b"HEAD"):
                    assert set(reply.error) == {"what", "where", "expected"}, name
                    assert words in json.dumps(reply.error), (name, reply.error)
            assert served.node.journal is not None
            assert served.node.journal.appended == before
            assert list(await served.call("task_list", status="")) == ["A_1"]

    run(scenario())


def test_a_body_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    async def refused(served: Served, raw_head: bytes, piece: bytes, pieces: int) -> tuple[Reply, int]:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        reading = asyncio.create_task(read_reply(reader))
        writer.write(raw_head)
        sent = 0
        try:
            while sent < pieces and not reading.done():
                writer.write(piece)
                await writer.drain()
                sent += 1
        except ConnectionError:
            pass
        reply = await reading
        writer.close()
        return reply, sent * len(piece)

    async def scenario() -> None:
        async with serving(tmp_path, max_body=1 << 20) as served:
            announced = whole("POST", "/api/ping", None, {**FORM, "Content-Length": str(200 << 20)})
            reply, sent = await refused(served, announced, b"x" * (1 << 16), 3200)
            assert reply.status == 413
            assert sent < 20 << 20
            assert "max_body" in reply.error["expected"]
            chunked = whole("POST", "/api/ping", None, {**FORM, "Transfer-Encoding": "chunked"})
            reply, sent = await refused(served, chunked, b"10000\r\n" + b"x" * (1 << 16) + b"\r\n", 3200)
            assert reply.status == 413
            assert sent < 20 << 20
            assert (await served.post("ping", {"worker": "w"})).status == 200

    run(scenario())


def test_large_bodies_below_the_limit_are_taken(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            text = 'x"ü%+&' * 400_000
            await served.add_task("A_1", expl=text, status="FAILED")
            assert (await served.call("fetch_error", task_id="A_1"))["error"] == text

    run(scenario())


def test_requests_in_pieces_pipelined_or_old_are_understood(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            one = whole("POST", "/api/ping", form({"worker": "w"}))
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            for byte in range(0, len(one), 7):
                writer.write(one[byte : byte + 7])
                await asyncio.sleep(0.0005)
            assert (await read_reply(reader)).status == 200
            writer.write(one * 50)
            assert [(await read_reply(reader)).status for _ in range(50)] == [200] * 50
            # The same connection may go over to the other lane, and stays useful.
            writer.write(whole("GET", "/api/is_paused", None) + one)
            assert (await read_reply(reader)).response == {"paused": False}
            assert (await read_reply(reader)).response == {"rpc_messages": []}
            writer.close()
            old = one.replace(b"HTTP/1.1", b"HTTP/1.0")
            assert (await send(served.port, old)).headers.get("connection", "close") == "close"
            chunked = whole("POST", "/api/is_paused", None, {**FORM, "Transfer-Encoding": "chunked"})
            assert (await send(served.port, chunked + b"9\r\ndata=%7B\x25\r\n2\r\n7D\r\n0\r\n\r\n")).status == 200

    run(scenario())


@pytest.mark.parametrize("agent", ["python-requests/2.32.3", "Python-urllib/3.11"])
def test_stock_clients_are_told_to_close(tmp_path: Path, agent: str) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            for method, data in (("ping", {"worker": "w"}), ("dep_graph", {"task_id": "A"}), ("nothing", {})):
                raw = whole("POST", f"/api/{method}", form(data), {"User-Agent": agent, "Connection": "keep-alive"})
                reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
                writer.write(raw)
                assert (await read_reply(reader)).headers["connection"] == "close"
                assert await reader.read() == b""
                writer.close()
            kept = await served.post("ping", {"worker": "w"}, {"User-Agent": "luigi-ha-worker/1"})
            assert kept.headers.get("connection") != "close"

    run(scenario())


def test_the_other_routes(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, metrics_port=0, metrics_host="127.0.0.1") as served:
            root = await served.get("/")
            assert (root.status, root.headers["location"]) == (302, "static/visualiser/index.html")
            assert (await request(served.port, "HEAD", "/")).status == 204
            assert (await request(served.port, "OPTIONS", "/api/ping")).status == 204
            page = await served.get("/static/visualiser/index.html")
            assert page.status == 200
            assert b"Luigi" in page.body
            assert (await served.get("/health")).json["leading"] is True
            assert (await served.get("/ready")).status == 200
            await served.add_task("marketing.Extract_1")
            work = await served.call("get_work", worker="w", host="h", current_tasks=[])
            assert work["task_id"] == "marketing.Extract_1"
            await served.add_task("marketing.Extract_1", status="DONE")
            monitor = int(served.node.api.addresses[-1].rpartition(":")[2])
            metrics = (await request(monitor, "GET", "/metrics")).body.decode()
            assert 'luigi_task_success_total{family="marketing.Extract",namespace="marketing"} 1.0' in metrics
            assert 'luigi_tasks{status="DONE"} 1.0' in metrics
            assert "luigi_ha_journal_commit_seconds_bucket" in metrics
            assert (await request(monitor, "POST", "/api/ping", form({}))).status == 404
            entries = (await served.get("/api/task/marketing.Extract_1/history")).json["history"]
            assert [e["status"] for e in entries] == ["PENDING", "RUNNING", "DONE"]
            assert (await served.get("/api/task/marketing.Extract_1/why")).json["status"] == "DONE"
            cluster = (await served.get("/api/cluster")).json
            assert cluster["tasks"]["DONE"] == 1
            assert "no other node takes over" in cluster["nodes"][0]["if_it_dies"]

    run(scenario())


def test_cross_origin_rules_are_luigids(tmp_path: Path) -> None:
    cfg = tmp_path / "luigi.cfg"
    cfg.write_text('[cors]\nenabled = true\nallowed-origins = ["http://good"]\n')

    async def scenario() -> None:
        async with serving(tmp_path, environment={"LUIGI_CONFIG_PATH": str(cfg)}) as served:
            good = await served.post("ping", {"worker": "w"}, {"Origin": "http://good"})
            assert good.headers["access-control-allow-origin"] == "http://good"
            bad = await served.post("ping", {"worker": "w"}, {"Origin": "http://bad"})
            assert "access-control-allow-origin" not in bad.headers
            preflight = await request(served.port, "OPTIONS", "/api/ping", None, {"Origin": "http://good"})
            assert preflight.headers["access-control-allow-methods"] == "GET, OPTIONS"

    run(scenario())


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("add_task", {"priority": 10**400}),
        ("add_task", {"resources": {"r": 10**400}}),
        ("add_task", {"retry_policy_dict": {"retry_count": 10**400}}),
        ("rest_put_task", {"family": "A", "priority": -(10**400)}),
    ],
)
def test_numbers_that_no_float_holds_are_refused(tmp_path: Path, method: str, arguments: dict[str, Any]) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            epoch = served.node.epoch
            who = {"worker": "w"} if method == "add_task" else {}
            refused = await served.post(method, {"task_id": "A_1", **who, **arguments})
            assert (refused.status, served.node.epoch) == (400, epoch)
            large = {name: 10**299 if name == "priority" else value for name, value in arguments.items()}
            if "priority" in large:
                assert (await served.post(method, {"task_id": "A_1", **who, **large})).status == 200

    run(scenario())
