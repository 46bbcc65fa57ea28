"""Whatever is sent, no reply is a 5xx, the node lives, and what it holds is what the database holds."""

import asyncio
import inspect
import json
import os
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luigi_ha.appliance.engine import RPC_METHODS, Scheduler
from luigi_ha.appliance.node.database import load
from tests.api.serving import Served, form, request, serving
from tests.support.patience import patient

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "150"))
ARGUMENTS = sorted(
    {name for method in RPC_METHODS for name in inspect.signature(getattr(Scheduler, method)).parameters} - {"self"}
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        ["w", "A_1", "B_1", "PENDING", "DONE", "RUNNING", "FAILED", "DISABLED", "\x00", "\ud800", "0" * 600]
    )
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
calls = st.tuples(st.sampled_from(sorted(RPC_METHODS)), st.dictionaries(st.sampled_from(ARGUMENTS), values, max_size=8))
# Likely right: the ids and types that get past the first checks.
SOUND: dict[str, Any] = {
    "task_id": st.sampled_from(["A_1", "B_1", "C_1"]),
    "worker": st.sampled_from(["v", "w"]),
    "status": st.sampled_from(["PENDING", "RUNNING", "DONE", "FAILED", "DISABLED", "SUSPENDED"]),
    "deps": st.lists(st.sampled_from(["A_1", "B_1", "C_1"]), max_size=2),
    "resources": st.dictionaries(st.sampled_from(["r", "s"]), st.integers(0, 3), max_size=2),
    "family": st.sampled_from(["A", "n.B"]),
}
OPTIONAL = {name: values for name, values in SOUND.items() if name not in ("worker", "task_id")}
sound_calls = st.tuples(
    st.sampled_from(
        ["add_task", "get_work", "count_pending", "ping", "mark_as_done", "forgive_failures", "disable_worker"]
    ),
    st.fixed_dictionaries(
        {"worker": SOUND["worker"], "task_id": SOUND["task_id"]}, optional={**OPTIONAL, "batch_id": values}
    ),
)


async def compare(served: Served) -> None:
    """The engine in memory is the engine that the database would give."""
    node = served.node
    assert node.journal is not None
    assert node.engine is not None
    assert node.store is not None
    await node.dispatcher.commit(node.journal.appended, 5.0)
    loaded = (await load(node)).engine
    assert dict(loaded.counts()) | {} == {k: v for k, v in node.engine.counts().items() if v or k in loaded.counts()}
    assert sorted(loaded.tasks) == sorted(node.engine.tasks)
    assert sorted(loaded.workers) == sorted(node.engine.workers)


def test_no_call_makes_it_fail(tmp_path: Path) -> None:
    with asyncio.Runner() as runner:
        manager = serving(tmp_path)
        served = runner.run(manager.__aenter__())
        statuses = {200: 0, 400: 0}

        @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(calls | sound_calls, min_size=1, max_size=12))
        def fuzz(sequence: list[tuple[str, dict[str, Any]]]) -> None:
            async def send_all() -> None:
                epoch = served.node.epoch
                for method, arguments in sequence:
                    reply = await served.post(method, json.dumps(arguments))
                    assert reply.status in (200, 400), (method, arguments, reply)
                    assert reply.status == 200 or reply.error["what"]
                    statuses[reply.status] += 1
                assert served.node.epoch == epoch

            runner.run(send_all())

        try:
            fuzz()
            runner.run(compare(served))
            assert min(statuses.values()) > EXAMPLES / 3, "calls of one kind only prove little"
        finally:
            runner.run(manager.__aexit__(None, None, None))


def test_no_bytes_make_it_fail(tmp_path: Path) -> None:
    pieces = st.sampled_from(
        [
            b"POST /api/ping HTTP/1.1\r\n",
            b"GET /api/ping?data={} HTTP/1.1\r\n",
            b"Host: x\r\n",
            b"\r\n",
            b"\r\n\r\n",
            b"Content-Length: 3\r\n",
            b"Content-Length: -1\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Expect: 100-continue\r\n",
            b"Content-Type: application/x-www-form-urlencoded\r\n",
            b"Connection: close\r\n",
            b"data=%7B%7D",
            b"%",
            b"0\r\n\r\n",
            b"Upgrade: websocket\r\n",
            b" folded\r\n",
            b"Content-Encoding: gzip\r\n",
            b"\x00\xff",
        ]
    )

    async def talk(served: Served, raw: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(raw)
        writer.write_eof()
        try:
            return await asyncio.wait_for(reader.read(100_000), patient(5))
        except ConnectionError:
            return b""
        finally:
            writer.close()

    with asyncio.Runner() as runner:
        manager = serving(tmp_path)
        served = runner.run(manager.__aenter__())

        @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(pieces | st.binary(max_size=20), min_size=1, max_size=10))
        def fuzz(parts: list[bytes]) -> None:
            answer = runner.run(talk(served, b"".join(parts)))
            assert not answer.startswith(b"HTTP/1.1 5"), answer

        try:
            fuzz()
            reply = runner.run(request(served.port, "POST", "/api/ping", form({"worker": "w"})))
            assert reply.status == 200
        finally:
            runner.run(manager.__aexit__(None, None, None))
