"""Heads that can be read in two ways, or in none: a 4xx with a JSON body, never a 5xx, and a line of the log."""

import asyncio
import json
import re
from pathlib import Path

import pytest

from tests.api.serving import run, serving
from tests.attack.heads import REFUSED, mutated
from tests.support.patience import patient


async def answer_to(port: int, raw: bytes, patience: float = 5.0) -> bytes:
    """The first reply; b"" if the connection was closed without one, or nothing comes (the request is not whole)."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    try:
        writer.write(raw)
        async with asyncio.timeout(patient(patience)):
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: *([0-9]+)", head)
            return head + (await reader.readexactly(int(length[1])) if length is not None else b"")
    except (ConnectionError, TimeoutError, asyncio.IncompleteReadError):
        return b""
    finally:
        writer.close()


def test_what_makes_no_sense_is_a_4xx_with_a_json_body(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            wrong = {}
            for name, raw in REFUSED.items():
                reply = await answer_to(served.port, raw)
                head, _, body = reply.partition(b"\r\n\r\n")
                status = head.split(b" ")[1] if head else b"closed"
                try:
                    explained = bool(json.loads(body))
                except ValueError:
                    explained = False
                if not status.startswith(b"4") or not explained or b"nosniff" not in head:
                    wrong[name] = reply[:300]
            assert not wrong, "\n".join(f"{name}: {reply!r}" for name, reply in wrong.items())

    run(scenario(), 120)


def test_what_the_second_lane_cannot_parse_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            await answer_to(served.port, REFUSED["no colon"])

    with caplog.at_level("WARNING", logger="luigi_ha"):
        run(scenario())
    assert any(record.msg == "bad_request" for record in caplog.records)


def test_no_head_is_a_5xx(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            many = list(mutated(300, seed=4))
            wrong, answered = [], 0
            for first in range(0, len(many), 20):
                some = many[first : first + 20]
                replies = await asyncio.gather(*(answer_to(served.port, raw, 1.0) for raw in some))
                wrong += [(raw, reply) for raw, reply in zip(some, replies, strict=True) if b"HTTP/1.1 5" in reply]
                answered += sum(map(bool, replies))
            assert answered > 200, "heads that nobody answers prove little"
            assert not wrong, wrong[:3]
            assert (await served.post("ping", {"worker": "w"})).status == 200

    run(scenario(), 200)
