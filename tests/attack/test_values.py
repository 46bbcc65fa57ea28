"""Every call with 50 values in every argument: by GET and POST, by REST, and through a node that does not lead.

`ATTACK_VALUES=all` tries them all (some minutes); else every so many of them.
"""

import asyncio
import json
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from tests.api.serving import Reply, form, read_reply, run, serving, whole
from tests.attack.values import HOSTILE, luigi_calls, rest_calls
from tests.pair.running import pair

T = TypeVar("T")
EACH = 1 if os.environ.get("ATTACK_VALUES") == "all" else 17
GOOD = frozenset({200, 201, 204, 400, 404, 405, 409, 413, 422})


def some(calls: Iterator[T]) -> list[T]:
    return list(islice(calls, 0, None, EACH))


async def on_one_connection(port: int, requests: list[bytes]) -> list[Reply]:
    """Each answered before the next is sent; a connection that is closed is opened anew."""
    replies = []
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for raw in requests:
        try:
            writer.write(raw)
            replies.append(await read_reply(reader))
        except (ConnectionError, asyncio.IncompleteReadError):
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(raw)
            replies.append(await read_reply(reader))
        if replies[-1].headers.get("connection") == "close":
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    return replies


def requests_of(calls: list[tuple[str, dict[str, Any]]]) -> tuple[list[str], list[bytes]]:
    """Each call by POST and by GET."""
    names, requests = [], []
    for method, arguments in calls:
        text = json.dumps(arguments)
        names += [f"POST {method} {text[:200]}", f"GET {method} {text[:200]}"]
        requests += [
            whole("POST", f"/api/{method}", form(text)),
            whole("GET", f"/api/{method}?{urlencode({'data': text})}", None),
        ]
    return names, requests


def judge(names: list[str], replies: list[Reply]) -> None:
    wrong = {name: reply for name, reply in zip(names, replies, strict=True) if reply.status not in GOOD}
    assert not wrong, "\n".join(f"{name}: {reply}" for name, reply in list(wrong.items())[:10])
    unexplained = [name for name, reply in zip(names, replies, strict=True) if reply.status >= 400 and not reply.error]
    assert not unexplained
    assert sum(reply.status == 200 for reply in replies) > len(replies) / 10, "only refusals prove little"


def test_no_value_makes_a_call_fail(tmp_path: Path) -> None:
    async def scenario() -> None:
        assert len(HOSTILE) >= 50
        async with serving(tmp_path) as served:
            engine, epoch = served.node.engine, served.node.epoch
            calls = some(luigi_calls())
            names, requests = requests_of(calls)
            judge(names, await on_one_connection(served.port, requests))
            assert (served.node.engine, served.node.epoch) == (engine, epoch), "the state was reloaded"
            await served.call("ping", worker="w")

    run(scenario(), 1200)


def test_no_value_makes_a_path_of_the_rest_api_fail(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            await served.add_task("A_1")
            engine, epoch = served.node.engine, served.node.epoch
            names, requests = [], []
            for route, body in some(rest_calls()):
                path = route.path.replace("{task_id}", quote("A_1")).replace("{worker_id}", "w").replace("{name}", "r")
                text = json.dumps({**body, "wait": 0} if body.get("wait") == 20 else body)
                names.append(f"{route.method} {path} {text[:200]}")
                requests.append(whole(route.method, path, text.encode(), {"Content-Type": "application/json"}))
            replies = await on_one_connection(served.port, requests)
            wrong = {name: reply for name, reply in zip(names, replies, strict=True) if reply.status not in GOOD}
            assert not wrong, "\n".join(f"{name}: {reply}" for name, reply in list(wrong.items())[:10])
            assert (served.node.engine, served.node.epoch) == (engine, epoch)

    run(scenario(), 1200)


def test_no_value_makes_a_call_fail_through_a_node_that_does_not_lead(tmp_path: Path) -> None:
    with pair(tmp_path) as two:
        epoch, _leader = two.leadership()
        calls = islice(luigi_calls(), 0, None, EACH * 3)
        names, requests = requests_of(list(calls))
        half = len(requests) // 2

        async def scenario() -> list[Reply]:
            # Connections are spread over both processes: several, so that each of them has some.
            parts = [requests[start::6] for start in range(6)]
            found = await asyncio.gather(*(on_one_connection(two.port, part) for part in parts))
            replies: list[Reply | None] = [None] * len(requests)
            for start, part in enumerate(found):
                replies[start::6] = part
            return [reply for reply in replies if reply is not None]

        replies = run(scenario(), 1200)
        assert len(replies) == len(requests) > half > 0
        judge(names, replies)
        assert two.leadership()[0] == epoch
