"""A node that asks for tokens: both lanes, the REST API, the log of changes, starts and outages. A whole node each."""

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from luigi_ha.appliance.api.access_roles import METHOD_ROLES, Role
from luigi_ha.appliance.engine import RPC_METHODS, SLICED_VIEWS
from tests.access.test_tls import logged
from tests.access.tokens import database, keep, made
from tests.api.serving import Served, eventually, form, read_reply, request, run, serving, whole
from tests.support.patience import patient

VIEWER, WORKER, OPERATOR = made(Role.VIEWER, "eyes"), made(Role.WORKER, "etl"), made(Role.OPERATOR, "boss")
ALL = (VIEWER, WORKER, OPERATOR)


async def until(status: int, ask: Callable[[], Awaitable[int]], seconds: float = 10.0) -> None:
    """Ask until the answer has this status."""
    async with asyncio.timeout(patient(seconds)):
        while await ask() != status:  # noqa: ASYNC110 - it is not ours to signal
            await asyncio.sleep(0.05)


TASK = {"task_id": "A_1", "worker": "w", "family": "A"}


def test_a_call_without_a_token_is_refused_in_both_lanes_and_says_how_to_be_admitted(tmp_path: Path) -> None:
    async def scenario() -> None:
        database(tmp_path, *ALL)
        async with serving(tmp_path, auth="on") as served:
            fast = await served.post("add_task", TASK)
            slow = await served.get("/api/add_task?data=%7B%7D")
            rest = await served.get("/api/task/A_1")
            page = await served.get("/static/visualiser/index.html")
            for reply in (fast, slow, rest, page):
                assert reply.status == 401
                assert reply.headers["www-authenticate"].startswith('Basic realm="luigi-ha"')
                assert reply.error["what"] == "no token"
                assert "luigi-ha token create" in reply.error["expected"]
            assert rest.headers["content-type"].startswith("application/problem+json")
            assert (await served.post("task_list", {}, VIEWER.headers)).response == {}  # nothing was done
            for path in ("/health", "/ready", "/leader", "/api/openapi.json"):
                assert (await served.get(path)).status == 200
            assert (await request(served.port, "HEAD", "/")).status == 204

    run(scenario())


def test_each_role_may_do_what_it_is_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        database(tmp_path, *ALL)
        async with serving(tmp_path, auth="on") as served:
            for token in ALL:
                for name in sorted(RPC_METHODS):
                    for headers in (token.headers, token.basic_headers):
                        reply = await served.post(name, {}, headers)
                        allowed = token.kept.role >= METHOD_ROLES[name]
                        assert (reply.status != 403) is allowed, (token.kept.name, name, reply)
                        assert reply.status != 401
            refused = await served.post("pause", {}, WORKER.headers)
            assert refused.error["what"] == "token etl is a worker"
            assert "operator" in refused.error["expected"]
            assert "www-authenticate" not in refused.headers
            rest: list[tuple[str, str, Any, Role]] = [
                ("GET", "/api/queue", None, Role.VIEWER),
                ("PUT", "/api/task/B_1", b'{"family": "B"}', Role.WORKER),
                ("POST", "/api/task/B_1/cancel", b'{"reason": "x"}', Role.OPERATOR),
                ("PUT", "/api/scheduler", b'{"paused": false}', Role.OPERATOR),
                ("GET", "/api/cluster", None, Role.VIEWER),
                ("GET", "/metrics", None, Role.VIEWER),
            ]
            for method, path, body, needs in rest:
                for token in ALL:
                    reply = await request(served.port, method, path, body, token.headers)
                    assert (reply.status == 403) is (token.kept.role < needs), (token.kept.name, path, reply)
                    assert reply.status in (200, 201, 403), reply

    run(scenario())


def test_the_log_says_whose_token_made_a_change(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = database(tmp_path, *ALL)
        async with serving(tmp_path, auth="on") as served:
            assert (await served.post("add_task", TASK, WORKER.headers)).status == 200  # the fast lane
            assert (await served.post("add_task", {**TASK, "status": "FAILED"}, WORKER.headers)).status == 200
            assert (await served.get('/api/mark_as_done?data={"task_id":"A_1"}', OPERATOR.basic_headers)).status == 200
        entries = store.history("A_1")
        assert [(entry.method, entry.actor) for entry in entries] == [
            ("add_task", "etl"),
            ("add_task", "etl"),
            ("mark_as_done", "boss"),
        ]
        async with serving(tmp_path, auth="off") as served:
            await served.call("add_task", **{**TASK, "task_id": "A_2"})
        assert [entry.actor for entry in store.history("A_2")] == ["w"]

    run(scenario())


def test_a_new_token_is_known_soon_and_a_revoked_one_refused_soon_on_connections_that_are_open(tmp_path: Path) -> None:
    async def scenario() -> None:
        store, later = database(tmp_path), made(Role.WORKER, "later")
        with logged() as lines:
            async with serving(tmp_path, auth="on") as served:
                await eventually(lambda: "no_tokens" in lines.getvalue())
                reader, writer = await asyncio.open_connection("127.0.0.1", served.port)

                async def status() -> int:
                    writer.write(whole("POST", "/api/ping", form({"worker": "w"}), later.headers))
                    return (await read_reply(reader)).status

                assert await status() == 401
                keep(store, later)
                await until(200, status)
                store.revoke_token(later.kept.token_id, time.time())
                await until(401, status)
                writer.close()
        assert lines.getvalue().count("no_tokens") == 1
        assert later.text not in lines.getvalue()

    run(scenario())


def test_an_outage_of_the_database_locks_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luigi_ha.appliance.node.access.READ_EVERY", 0.1)

    async def scenario() -> None:
        store = database(tmp_path, *ALL)
        database_file = tmp_path / "luigi.db"
        async with serving(tmp_path, auth="on", database_timeout=0.2) as served:

            async def status() -> int:
                return (await served.post("is_paused", {}, VIEWER.headers)).status

            await until(200, status)  # they have been read once
            with logged() as lines:
                hidden = database_file.rename(tmp_path / "away")
                try:
                    database_file.mkdir()
                    await eventually(lambda: "tokens_not_read" in lines.getvalue())
                    assert await status() in (200, 503)  # the call itself may need the database, who calls does not
                    assert (await served.post("pause", {}, VIEWER.headers)).status == 403
                finally:
                    database_file.rmdir()
                    hidden.rename(database_file)
            store.revoke_token(VIEWER.kept.token_id, time.time())
            await until(401, status)

    run(scenario())


def test_calls_that_come_before_the_tokens_have_been_read_wait(tmp_path: Path) -> None:
    async def scenario() -> None:
        database(tmp_path, *ALL)
        async with serving(tmp_path, auth="on") as served:
            tokens = served.node.access.tokens
            assert tokens is not None
            await eventually(lambda: tokens.generation > 0)
            served.node.access.tokens = None  # what reads them finds nowhere to put them
            tokens.generation = 0  # as if it had just started
            asking = [
                asyncio.create_task(served.post("is_paused", {}, VIEWER.headers)),
                asyncio.create_task(served.get("/api/cluster", VIEWER.headers)),
                asyncio.create_task(served.post("is_paused", {}, {"Authorization": "Bearer lha_no"})),
            ]
            await asyncio.wait(asking, timeout=0.2)
            assert not any(each.done() for each in asking)
            assert (await served.get("/health")).status == 200
            tokens.generation = 1
            assert [(await each).status for each in asking] == [200, 200, 401]
            tokens.generation = 0
            served.node.dispatcher.limits = type(served.node.dispatcher.limits)(budget=0.3)
            late = await served.post("is_paused", {}, VIEWER.headers)
            assert (late.status, "not been read" in late.error["what"]) == (503, True)
            tokens.generation = 1

    run(scenario())


PAGE = "https://evil.example/page"
CROSS = [
    ({"Sec-Fetch-Site": "cross-site"}, 403),
    ({"Sec-Fetch-Site": "same-site"}, 403),
    ({"Sec-Fetch-Site": "same-origin"}, 200),
    ({"Sec-Fetch-Site": "none"}, 200),
    ({"Origin": "https://evil.example"}, 403),
    ({"Origin": "null"}, 403),
    ({"Origin": "http://127.0.0.1"}, 200),
    ({"Referer": PAGE}, 403),
    ({"Referer": "http://127.0.0.1/static/visualiser/index.html"}, 200),
    ({}, 200),
]


def test_another_sites_page_cannot_use_the_password_that_a_browser_remembers(tmp_path: Path) -> None:
    async def scenario() -> None:
        database(tmp_path, *ALL)
        async with serving(tmp_path, auth="on") as served:
            for said, status in CROSS:
                change = await served.get("/api/unpause", {**OPERATOR.basic_headers, **said})
                assert change.status == status, said
                assert (await served.get("/api/is_paused", {**OPERATOR.basic_headers, **said})).status == 200
                assert (await served.get("/api/unpause", {**OPERATOR.headers, **said})).status == 200  # no browser's
                posted = await served.post("unpause", {}, {**OPERATOR.basic_headers, **said})
                assert posted.status == status or said.keys() & {"Referer", "Sec-Fetch-Site"}, said

    run(scenario())


def test_a_form_of_another_site_is_refused_whatever_lane_it_would_take(tmp_path: Path) -> None:
    async def scenario() -> None:
        database(tmp_path, *ALL)
        async with serving(tmp_path, auth="on") as served:
            # What browsers send with a cross-site form: always an Origin.
            said = {**OPERATOR.basic_headers, "Origin": "https://evil.example", "Referer": PAGE}
            assert (await served.post("pause", {}, said)).status == 403
            assert (await served.post("is_paused", {}, VIEWER.headers)).response == {"paused": False}

    run(scenario())


def test_the_visualiser_works_in_a_browser_that_knows_the_password(tmp_path: Path) -> None:
    async def scenario() -> None:
        database(tmp_path, *ALL)
        async with serving(tmp_path, auth="on") as served:
            first = await served.get("/")
            assert (first.status, first.headers["www-authenticate"][:5]) == (401, "Basic")
            second = await served.get("/", VIEWER.basic_headers)
            assert second.status == 302
            page = await served.get("/" + second.headers["location"], VIEWER.basic_headers)
            assert page.status == 200
            for view in sorted(SLICED_VIEWS):
                assert (await served.get(f"/api/{view}?data=%7B%7D", VIEWER.basic_headers)).status in (200, 400)

    run(scenario())


@pytest.mark.parametrize(
    "value",
    ["Basic " + base64.b64encode(b"\xff\xfe:\xff").decode(), "Bearer \xe9", "Bearer", "x" * 3000, "Basic =", "\x01"],
)
def test_a_header_that_makes_no_sense_is_a_refusal(tmp_path: Path, value: str) -> None:
    async def scenario() -> None:
        database(tmp_path, *ALL)
        async with serving(tmp_path, auth="on") as served:
            for reply in (
                await served.post("ping", {"worker": "w"}, {"Authorization": value}),
                await served.get("/api/cluster", {"Authorization": value}),
            ):
                assert reply.status in (400, 401), reply
            assert (await served.post("ping", {"worker": "w"}, WORKER.headers)).status == 200

    run(scenario())


def test_the_port_for_metrics_needs_no_token(tmp_path: Path) -> None:
    async def scenario(served: Served, port: int) -> None:
        assert (await request(port, "GET", "/metrics")).status == 200
        assert (await request(port, "GET", "/api/cluster")).status == 404

    async def serve() -> None:
        database(tmp_path, *ALL)
        async with serving(tmp_path, auth="on", metrics_port=0, metrics_host="127.0.0.1") as served:
            [monitor] = [where for where in served.node.api.addresses if where.startswith("metrics")]
            await scenario(served, int(monitor.rpartition(":")[2]))
            assert (await served.get("/metrics")).status == 401

    run(serve())
