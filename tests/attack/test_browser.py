"""What a page, of another site or of ours, can make a real browser do to a scheduler on this machine without tokens."""

import asyncio
import functools
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from luigi_ha.appliance.api.access_browser import Browsers
from luigi_ha.appliance.api.access_roles import Role
from luigi_ha.appliance.api.errors import Forbidden
from luigi_ha.appliance.cors import Cors
from tests.api.serving import Served, form, request, run, serving
from tests.attack.browser import needs_chromium, visit, write_page

EVIL = "<img src=x onerror=\"fetch('/api/pause')\"><script>fetch('/api/pause')</script>"


@contextmanager
def other_site(directory: Path) -> Iterator[str]:
    """A web server of somebody else's, on another port of this machine."""
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_arguments: None})
    handler = functools.partial(quiet, directory=str(directory))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


async def known(served: Served) -> list[str]:
    return sorted(await served.call("task_list", status="", limit=False))


@needs_chromium
def test_a_page_of_another_site_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            await served.add_task("A_1")
            at = served.url
            page = (
                f"<img src='{at}/api/pause'><img src='{at}/api/mark_as_done?data=%7B%22task_id%22%3A%22A_1%22%7D'>"
                f"<iframe src='{at}/api/pause'></iframe><script src='{at}/api/pause'></script>"
                f"<link rel='stylesheet' href='{at}/api/pause'>"
                f"<iframe name='f'></iframe><form id='f' method='post' target='f' action='{at}/api/add_task'>"
                "<input name='data' value='{&quot;task_id&quot;:&quot;Evil_1&quot;,&quot;worker&quot;:&quot;w&quot;}'>"
                "</form><script>document.getElementById('f').submit();"
                f"fetch('{at}/api/pause', {{mode: 'no-cors'}});"
                f"fetch('{at}/api/add_task', {{method: 'POST', mode: 'no-cors', headers: {{'Content-Type': "
                "'application/x-www-form-urlencoded'}, body: 'data=' + encodeURIComponent(JSON.stringify("
                "{task_id: 'Evil_2', worker: 'w'}))});"
                f"navigator.sendBeacon('{at}/api/tasks', "
                "JSON.stringify({tasks: [{task_id: 'Evil_3', family: 'E'}]}));"
                "</script>"
            )
            write_page(tmp_path, "evil.html", page)
            with other_site(tmp_path) as site:
                await asyncio.to_thread(visit, f"{site}/evil.html")
            assert await served.call("is_paused") == {"paused": False}
            assert await known(served) == ["A_1"]
            assert served.node.engine is not None
            assert served.node.engine.tasks["A_1"].status == "PENDING"

    with caplog.at_level("WARNING", logger="luigi_ha"):
        run(scenario(), 150)
    assert any(r.msg == "access_refused" for r in caplog.records), "the page asked for nothing: this proves little"


@needs_chromium
def test_a_name_that_is_not_ours_is_not_answered(tmp_path: Path) -> None:
    """DNS rebinding: the page's own name has become our address, so for the browser it is one site."""

    async def scenario() -> None:
        async with serving(tmp_path) as served:
            await served.add_task("A_1")
            rule = "MAP evil.example 127.0.0.1"
            url = f"http://evil.example:{served.port}/api/task_list?data=%7B%22status%22%3A%22%22%7D"
            page = await asyncio.to_thread(visit, url, 3.0, rule)
            assert "A_1" not in page.dom
            assert "not called" in page.dom
            assert (await served.get("/health", {"Host": "evil.example"})).status == 403

    run(scenario(), 150)


@needs_chromium
def test_hostile_names_are_shown_as_text_and_run_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            evil = {"family": EVIL, "params": {EVIL: EVIL}, "resources": {EVIL[:400]: 1}}
            await served.call("add_task", task_id="Evil_1", worker=EVIL, **evil)
            await served.call("add_task", task_id=EVIL, worker="w", status="FAILED", expl=EVIL, **evil)
            await served.call("set_task_status_message", task_id="Evil_1", status_message=EVIL)
            await served.call("add_worker", worker="w", info=[["workers", 1], [EVIL, EVIL]])
            page = await asyncio.to_thread(visit, f"{served.url}/static/visualiser/index.html", 10.0)
            assert "Refused to" not in page.console, page.console
            assert "&lt;img src=x onerror=" in page.dom, "the task does not show at all"
            assert '<img src="x"' not in page.dom
            assert await served.call("is_paused") == {"paused": False}
            docs = await asyncio.to_thread(visit, f"{served.url}/api/docs", 3.0)
            assert "Refused to" not in docs.console, docs.console

    run(scenario(), 150)


def test_every_answer_tells_the_browser_not_to_guess_or_frame_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, metrics_port=0) as served:
            await served.add_task("A_1")
            paths = [
                "/", "/health", "/ready", "/leader", "/standby", "/metrics", "/nothing", "/api/nothing", "/api/docs",
                "/api/openapi.json", "/api/task", "/api/task/A_1", "/api/task/none", "/api/is_paused", "/api/rest_task",
                "/api/task_list?data=%7B%22status%22%3A%22%22%7D", "/api/graph", "/static/visualiser/index.html",
                "/static/visualiser/js/visualiserApp.js", "/static/visualiser/css/luigi.css", "/static/none",
                "/history",
            ]  # fmt: skip
            replies = {path: await served.get(path) for path in paths}
            replies["POST"] = await served.post("ping", {"worker": "w"})
            replies["POST, refused"] = await served.post("ping", {})
            replies["HEAD"] = await request(served.port, "HEAD", "/")
            replies["OPTIONS"] = await request(served.port, "OPTIONS", "/api/ping")
            replies["foreign"] = await served.get("/api/pause", {"Origin": "http://evil.example"})
            for path, reply in replies.items():
                assert reply.headers.get("x-content-type-options") == "nosniff", path
                assert reply.headers.get("x-frame-options") == "DENY", path
                assert "frame-ancestors 'none'" in reply.headers.get("content-security-policy", ""), path
                assert "unsafe-inline" not in reply.headers["content-security-policy"].partition("style-src")[0], path

    run(scenario())


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("127.0.0.1", True), ("127.0.0.1:8082", True), ("[::1]", True), ("[::1]:8082", True), ("10.1.2.3:1", True),
        ("localhost", True), ("LOCALHOST:8082", True), ("localhost.", True), ("n1.example.org", True),
        ("n1.example.org:8082", True), ("evil.example", False), ("evil.example:8082", False), ("", False),
        ("127.0.0.1.evil.example", False), ("localhost.evil.example", False), ("n1.example.org.evil.example", False),
        ("127.0.0.1@evil.example", False), ("2130706433", False), ("0x7f.1", False), ("127.1", False), ("::1", False),
        ("local host", False), ("localhost:80:90", False), ("xn1.example.org", False),
    ],
)  # fmt: skip
def test_names_by_which_we_are_called(host: str, *, ours: bool) -> None:
    browsers = Browsers(Cors(), tokens=False, names=["N1.example.org", ""])
    assert browsers.is_own_host(host.encode()) is ours
    assert Browsers(Cors(), tokens=True).is_own_host(host.encode())


CROSS = [
    ({"Origin": "http://evil.example"}, False), ({"Origin": "null"}, False), ({"Sec-Fetch-Site": "cross-site"}, False),
    ({"Sec-Fetch-Site": "same-site"}, False), ({"Sec-Fetch-Site": "SAME-ORIGIN"}, True),
    ({"Sec-Fetch-Site": "none"}, True), ({"Origin": "http://h:1"}, True), ({"Origin": "http://h:2"}, False),
    ({"Origin": "http://H:1"}, True), ({"Referer": "http://evil.example/x"}, False),
    ({"Referer": "http://h:1/x"}, True),
    ({"Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"}, False), ({}, True),
    ({"Sec-Fetch-Site": "cross-site", "Origin": "http://h:1"}, False), ({"Sec-Fetch-Site": ""}, False),
    ({"Origin": ""}, False), ({"Origin": "http://h:1.evil.example"}, False), ({"Origin": "http://good.example"}, True),
]  # fmt: skip


@pytest.mark.parametrize(("said", "allowed"), CROSS)
def test_without_tokens_only_our_own_pages_and_programs_change_anything(said: dict[str, str], *, allowed: bool) -> None:
    cors = Cors(enabled=True, allowed_origins=("http://good.example",))
    browsers = Browsers(cors, tokens=False)
    headers = {"Host": "h:1", **said}
    browsers.require_own_page(headers, Role.VIEWER)
    for needs in (Role.WORKER, Role.OPERATOR):
        if allowed:
            browsers.require_own_page(headers, needs)
        else:
            with pytest.raises(Forbidden):
                browsers.require_own_page(headers, needs)


@pytest.mark.parametrize("agent", ["python-requests/2.32", "Python-urllib/3.11", "curl/8.0"])
def test_stock_clients_go_on_unchanged(tmp_path: Path, agent: str) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            for host in (f"127.0.0.1:{served.port}", f"localhost:{served.port}"):
                body = form({"worker": "w"})
                reply = await request(served.port, "POST", "/api/ping", body, {"User-Agent": agent, "Host": host})
                assert reply.status == 200

    run(scenario())
