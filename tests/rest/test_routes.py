"""Every route: what it answers to what is right, and how it explains what is wrong."""

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from openapi_spec_validator import validate

from luigi_ha.appliance.api.access_roles import METHOD_ROLES
from luigi_ha.appliance.api.rest.router import is_ours
from luigi_ha.appliance.api.rest.table import ROUTES, Route
from luigi_ha.appliance.engine import REST_METHODS, RPC_METHODS
from luigi_ha.appliance.engine.changes import Epoch
from luigi_ha.appliance.store import Failover
from tests.api.serving import Served, request, run, serving
from tests.rest.asking import ask, beat, good, problem, put, refused, report, status, take

SOUND = {
    "rest_take": {"worker": "v"},
    "rest_drain": {"worker_id": "v"},
    "rest_undrain": {"worker_id": "v"},
    "rest_heartbeat": {"worker": "v"},
}


def of(route: Route) -> str:
    return f"{route.method} {route.path}"


def path_of(route: Route) -> str:
    return route.path.format(task_id="A_1", worker_id="v", name="r")


def sound(route: Route) -> Any:
    """A body that the route takes."""
    return route.example if route.example is not None else {}


def unwanted(epoch: int) -> Failover:
    """An incident."""
    story = '{"began": 1.0, "lines": [[0, "node", "promoted", {"epoch": "1"}]], "waited": 2, "refused": 0}'
    cause = "no word from n0: its lease ended"
    return Failover(Epoch(epoch), 2.0, "n1", "n0", cause, 1.5, 0.1, warm=True, events_read=3, story=story)


async def prepared(served: Served) -> Any:
    """Two tasks, of which the first runs: its assignment."""
    await put(served, "A_1", "A_2")
    await good(served, "PUT", "/api/resource/r", {"total": 2})
    store = served.node.store
    assert store is not None
    await asyncio.to_thread(store.record_failover, unwanted(served.node.epoch))
    return await take(served)


def test_no_path_is_one_of_luigis_names() -> None:
    for route in ROUTES:
        assert route.path.removeprefix("/api/").split("/")[0] not in RPC_METHODS | REST_METHODS


def test_each_call_of_the_engine_has_a_route() -> None:
    assert {route.call for route in ROUTES} >= REST_METHODS


def test_a_path_needs_the_role_that_its_call_needs_when_it_is_passed_on() -> None:
    for route in ROUTES:
        assert route.role == METHOD_ROLES.get(route.call, route.role), of(route)


def test_what_is_right_is_answered_as_documented(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            mine = await prepared(served)
            for route in ROUTES:
                body = None if route.body is None else SOUND.get(route.call, sound(route))
                if route.call == "rest_put_log":
                    body = {"attempt": 1, "run_id": mine["run_id"], "text": "so far\n"}
                reply = await ask(served, route.method, path_of(route), body)
                assert reply.status in (200, *(code for code in route.more if code < 300)), (of(route), reply)
                if route.method == "GET":
                    head = await request(served.port, "HEAD", path_of(route))
                    assert (head.status, head.headers["content-type"]) == (200, reply.headers["content-type"])

    run(scenario())


WRONG = (
    (b"\xff\xfe", "not UTF-8"),
    (b"[1]", "no object"),
    (b'"x"', "no object"),
    (b"{", "not JSON"),
    (b'{"x": NaN}', "NaN is no JSON value"),
    (b'{"x": 1e999}', "too large"),
    (b'{"x": ' + b"9" * 5000 + b"}", "not JSON"),
    (b'{"x": ' + b"[" * 200 + b"]" * 200 + b"}", "too deep"),
    (b'{"x": ' + b"[" * 100_000, "too deep"),
    (bytes(range(256)) * 4, "not UTF-8"),
)


def test_bodies_that_are_wrong_are_explained(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            await prepared(served)
            for route in ROUTES:
                if route.body is None:
                    continue
                path = path_of(route)
                for raw, what in WRONG:
                    said = problem(await ask(served, route.method, path, raw), 400)
                    assert said["where"] == "body"
                    assert what in said["detail"], (raw[:20], said)
                said = await refused(served, route.method, path, {**sound(route), "nonsense": 1})
                assert (said["where"], said["detail"]) == ("nonsense", "unknown field 'nonsense'")
                for name in route.body.get("required", ()):
                    given = {key: value for key, value in sound(route).items() if key != name}
                    said = await refused(served, route.method, path, given)
                    assert (said["where"], said["detail"]) == (name, "is missing")
                for name in route.body["properties"]:
                    said = await refused(served, route.method, path, {**sound(route), name: {"a": [1]}} | _no_map(name))
                    assert said["where"].startswith(name), said

    run(scenario())


def _no_map(name: str) -> dict[str, Any]:
    """A value that is wrong for the fields that are maps."""
    return {name: [1]} if name in ("params", "resources", "retry_policy") else {}


def test_other_methods_are_refused_and_the_right_ones_named(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            for route in ROUTES:
                right = {other.method for other in ROUTES if other.path == route.path}
                for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE"} - right:
                    reply = await ask(served, method, path_of(route))
                    problem(reply, 405)
                    assert set(reply.headers["allow"].split(", ")) == right | ({"HEAD"} if "GET" in right else set())

    run(scenario())


def test_the_nearest_right_name_is_offered(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            for method, path, body, where, expected in (
                ("PUT", "/api/task/x", {"famly": "A"}, "famly", "family"),
                ("POST", "/api/tasks", {"tasks": [{"task_id": "a", "family": "A", "prio": 1}]}, "tasks[0].prio",
                 "priority"),
                ("GET", "/api/task?staus=DONE", None, "query", "status"),
                ("GET", "/api/task?status=done", None, "status", "PENDING"),
                ("GET", "/api/task?limit=0", None, "limit", "from 1 to 1000"),
                ("GET", "/api/task?limit=x", None, "limit", "a whole number"),
                ("GET", "/api/task?limit=1&limit=2", None, "limit", "one value"),
                ("GET", "/api/task?family=%FF", None, "query", "UTF-8"),
                ("POST", "/api/task", {"worker": "@submissions"}, "worker", "does not begin with @"),
                ("POST", "/api/task", {"worker": "v", "wait": 31}, "wait", "from 0 to 30"),
                ("POST", "/api/task", {"worker": "v", "slots": True}, "slots", "a whole number"),
                ("POST", "/api/task", {"worker": ""}, "worker", "1 to 500"),
                ("PUT", "/api/resource/r", {"total": -1}, "total", "from 0"),
                ("PUT", "/api/task/x", {"family": "A", "deps": ["x"]}, "deps", "other tasks"),
                ("PUT", "/api/task/x", {"family": "A", "deps": ["y", 5]}, "deps[1]", "a string"),
                ("PUT", "/api/task/%FF", {"family": "A"}, "path", "UTF-8"),
            ):  # fmt: skip
                said = await refused(served, method, path, body)
                assert said["where"] == where, said
                assert expected in said["expected"], said

    run(scenario())


def test_paths_that_are_none(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            for path in ("/api/task/", "/api/task/x/", "/api/task/x/nothing", "/api/tasks/x", "/api/worker/v/x"):
                assert is_ours(path)
                said = await refused(served, "GET", path, status=404)
                assert "/api/docs" in said["expected"]
            for path in ("/api/nothing", "/api/", "/api/taskx"):
                assert not is_ours(path)
                assert (await ask(served, "GET", path)).status == 404
            for method, path, body in (
                ("GET", "/api/task/x", None), ("GET", "/api/task/x/why", None), ("GET", "/api/task/x/history", None),
                ("POST", "/api/task/x/retry", None), ("POST", "/api/task/x/cancel", None),
                ("POST", "/api/task/x/done", b"{}"), ("POST", "/api/task/x/priority", {"priority": 1}),
                ("GET", "/api/worker/x", None), ("GET", "/api/resource/x", None),
            ):  # fmt: skip
                await refused(served, method, path, body, status=404)

    run(scenario())


@pytest.mark.parametrize("task_id", ["a/b", "a b", "ä\U0001d518", "%", "..", "why", "a?b#c", "a\x00b", "+", "x" * 500])
def test_any_text_may_be_an_id(tmp_path: Path, task_id: str) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            path = f"/api/task/{quote(task_id, safe='')}"
            assert (await good(served, "PUT", path, {"family": "A"}))["task_id"] == task_id
            assert (await good(served, "GET", path))["task_id"] == task_id
            assert (await good(served, "GET", f"{path}/why"))["task_id"] == task_id
            history = await good(served, "GET", f"{path}/history")
            assert (history["task_id"], len(history["history"])) == (task_id, 1)
            assert (await take(served))["task_id"] == task_id

    run(scenario())


def test_an_id_that_is_too_long_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            said = await refused(served, "PUT", "/api/task/" + "x" * 501, {"family": "A"})
            assert said["detail"] == "has 501 characters"

    run(scenario())


def test_tasks_are_added_all_or_none(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            many = [{"task_id": f"A_{i}", "family": "A", "deps": [f"A_{i - 1}"] if i else []} for i in range(3000)]
            assert await good(served, "POST", "/api/tasks", {"tasks": many}) == {"added": 3000, "known": 0}
            assert await good(served, "POST", "/api/tasks", {"tasks": many[:10]}) == {"added": 0, "known": 10}
            wrong = [{"task_id": f"B_{i}", "family": "B"} for i in range(20)]
            wrong[17]["deps"] = "A_1"  # type: ignore[assignment]
            said = await refused(served, "POST", "/api/tasks", {"tasks": wrong})
            assert said["where"] == "tasks[17].deps"
            await refused(served, "GET", "/api/task/B_0", status=404)
            too_many = [{"task_id": str(i), "family": "A"} for i in range(10_001)]
            assert "at most 10000" in (await refused(served, "POST", "/api/tasks", {"tasks": too_many}))["expected"]
            assert await good(served, "GET", "/api/queue") == {"ready": 1, "pending": 3000, "running": 0}

    run(scenario())


def test_a_list_comes_in_pages_and_by_what_is_asked(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            many = [{"task_id": f"A_{i}", "family": "n.A" if i % 2 else "B"} for i in range(25)]
            await good(served, "POST", "/api/tasks", {"tasks": many})
            seen, after, pages = [], "", 0
            while pages == 0 or after:
                page = await good(served, "GET", f"/api/task?limit=10{after and f'&after={after}'}")
                seen += [task["task_id"] for task in page["tasks"]]
                after, pages = page["next"] or "", pages + 1
            assert seen == [task["task_id"] for task in many]
            assert pages == 3
            assert len((await good(served, "GET", "/api/task?family=n.A"))["tasks"]) == 12
            assert len((await good(served, "GET", "/api/task?namespace=n&limit=1000"))["tasks"]) == 12
            assert [t["task_id"] for t in (await good(served, "GET", "/api/task?search=_24"))["tasks"]] == ["A_24"]
            await take(served, "u")
            running = await good(served, "GET", "/api/task?status=RUNNING&worker=u")
            assert [task["task_id"] for task in running["tasks"]] == ["A_0"]

    run(scenario())


def test_what_operators_decide(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            await put(served, "A_1", "A_2", "A_3")
            mine = await take(served)
            await beat(served, report(mine, "FAILED", error="x"))
            assert await good(served, "POST", "/api/task/A_1/retry") == {
                "task_id": "A_1", "status": "PENDING", "changed": True
            }  # fmt: skip
            assert await good(served, "POST", "/api/task/A_2/cancel") == {
                "task_id": "A_2", "status": "DISABLED", "changed": True
            }  # fmt: skip
            assert (await good(served, "POST", "/api/task/A_3/priority", {"priority": 9}))["priority"] == 9
            assert (await take(served))["task_id"] == "A_3"
            assert (await good(served, "POST", "/api/task/A_1/done", {}))["status"] == "DONE"
            assert await good(served, "PUT", "/api/scheduler", {"paused": True}) == await good(
                served, "GET", "/api/scheduler"
            )
            await put(served, "A_4")
            assert await take(served) is None
            assert "paused" in (await good(served, "GET", "/api/task/A_4/why"))["reason"]
            await good(served, "PUT", "/api/scheduler", {"paused": False})
            await good(served, "PUT", "/api/resource", {"name": "db", "total": 1})
            assert await good(served, "GET", "/api/resource/db") == {"name": "db", "total": 1, "used": 0}
            await put(served, "A_5", resources={"db": 2})
            assert (await take(served))["task_id"] == "A_4"
            assert await take(served) is None
            await good(served, "PUT", "/api/resource/db", {"total": 2})
            assert (await take(served))["task_id"] == "A_5"
            assert (await good(served, "GET", "/api/worker/v"))["running"] == 3
            assert [worker["worker_id"] for worker in await good(served, "GET", "/api/worker")] == ["v"]
            assert (await good(served, "GET", "/api/namespace"))[0]["name"] == ""

    run(scenario())


def test_what_is_large_or_odd_is_refused_or_kept_as_it_is(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, max_body=20 << 20) as served:
            await put(served, "A_1")
            mine = await take(served)
            body = {"worker": "v", "tasks": [report(mine, "FAILED", error="x" * (10 << 20))]}
            said = await refused(served, "POST", "/api/heartbeat", body)
            assert (said["where"], said["detail"]) == ("tasks[0].error", "has 10485760 characters")
            assert await status(served, "A_1") == "RUNNING"
            said = problem(await ask(served, "POST", "/api/heartbeat", b" " * (21 << 20)), 413)
            assert "max_body" in said["expected"]
            odd = "\x00 \ud800 \U0001d518 </script>\x1b[31m"
            await beat(served, report(mine, "FAILED", error=odd, message=odd))
        async with serving(tmp_path) as served:
            shown = await good(served, "GET", "/api/task/A_1")
            assert (shown["error"], shown["message"]) == (odd, odd)

    run(scenario())


def test_keys_of_repeated_calls(tmp_path: Path) -> None:
    async def scenario() -> None:
        key = {"Idempotency-Key": "k-1"}
        async with serving(tmp_path) as served:
            body = {"family": "A"}
            assert (await ask(served, "PUT", "/api/task/A_1", body)).status == 201
            assert (await ask(served, "PUT", "/api/task/A_1", body)).status == 200
            first = await ask(served, "PUT", "/api/task/A_2", body, key)
            again = await ask(served, "PUT", "/api/task/A_2", body, key)
            assert (first.status, again.status) == (201, 201)
            assert first.body == again.body
            said = problem(await ask(served, "PUT", "/api/task/A_3", body, key), 422)
            assert said["where"] == "Idempotency-Key"
            problem(await ask(served, "PUT", "/api/task/A_3", body, {"Idempotency-Key": "x" * 201}), 400)
            key = {"Idempotency-Key": "k-2"}
            mine = (await ask(served, "POST", "/api/task", {"worker": "v"}, key)).json
        async with serving(tmp_path) as served:
            assert (await ask(served, "POST", "/api/task", {"worker": "v"}, key)).json == mine
            done = {"worker": "v", "tasks": [report(mine, "DONE")]}
            key = {"Idempotency-Key": "k-3"}
            first = await ask(served, "POST", "/api/heartbeat", done, key)
            assert (await ask(served, "POST", "/api/heartbeat", done, key)).body == first.body

    run(scenario())


def test_browsers_of_other_origins_are_told_what_is_configured(tmp_path: Path) -> None:
    async def scenario() -> None:
        origin = {"Origin": "http://else"}
        async with serving(tmp_path) as served:
            reply = await request(served.port, "OPTIONS", "/api/task/x", None, origin)
            assert (reply.status, "access-control-allow-origin" in reply.headers) == (204, False)
        environment = {"LUIGI_HA_CORS_ENABLED": "true", "LUIGI_HA_CORS_ALLOW_ANY_ORIGIN": "true"}
        async with serving(tmp_path, environment=environment) as served:
            for method in ("OPTIONS", "GET"):
                reply = await request(served.port, method, "/api/queue", None, origin)
                assert reply.headers["access-control-allow-origin"] == "*"

    run(scenario())


def test_the_document_and_the_page(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            reply = await ask(served, "GET", "/api/openapi.json")
            document = json.loads(reply.body)
            validate(document)
            assert document["openapi"] == "3.1.0"
            assert set(document["paths"]) == {route.path for route in ROUTES}
            page = await ask(served, "GET", "/api/docs")
            assert page.headers["content-type"] == "text/html; charset=UTF-8"
            text = page.body.decode()
            assert "http://" not in text.replace("http://any:", "")
            assert "https://" not in text
            assert "<script" not in text
            for route in ROUTES:
                assert route.path in text
            for name in document["components"]["schemas"]:
                assert f"id='{name}'" in text

    run(scenario())
