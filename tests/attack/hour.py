"""The attacker's hour: one node that asks for tokens, each attack for a while, and what everybody else feels of it.

    python -m tests.attack.hour [--seconds 15] [--json FILE]

Prints a table: of each attack how many requests it made, the pings of a worker beside it (p50, p99, longest), and the
memory of the node. Exit code 1 if a leadership was lost, an answer was a 500, or the node's memory stayed.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from luigi_ha.appliance.api.access_roles import Role
from tests.access.tokens import database, made
from tests.api.serving import form, read_reply, whole
from tests.attack.heads import REFUSED, mutated
from tests.attack.shapes import Shape, shapes
from tests.support.node_process import NodeProcess

WORKER, OPERATOR = made(Role.WORKER, "etl"), made(Role.OPERATOR, "boss")
REST = 20.0  # s after all attacks until the memory is looked at again


class Row(NamedTuple):
    """What one attack did, and what others felt."""

    attack: str
    requests: int
    p50: float  # ms
    p99: float
    longest: float
    megabytes: int
    answers: dict[str, int]


class Attack:
    """What all attacks have: the port, an end, and a tally of answers."""

    def __init__(self, port: int, seconds: float) -> None:
        self.port = port
        self.until = time.monotonic() + seconds
        self.requests = 0
        self.answers: dict[str, int] = {}

    @property
    def over(self) -> bool:
        return time.monotonic() > self.until

    async def end(self) -> None:
        """Do nothing until it is over."""
        await asyncio.sleep(max(0.0, self.until - time.monotonic()))

    def saw(self, answer: str) -> None:
        self.answers[answer] = self.answers.get(answer, 0) + 1

    @contextlib.asynccontextmanager
    async def connection(self) -> Any:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 24)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    async def ask(self, raw: bytes, patience: float = 60.0) -> None:
        """One request, and its answer."""
        self.requests += 1
        try:
            async with asyncio.timeout(patience), self.connection() as (reader, writer):
                writer.write(raw)
                self.saw(str((await read_reply(reader)).status))
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
            self.saw(type(error).__name__)


async def send_ahead(attack: Attack) -> None:
    """Pings without a token, as fast as they are taken, and no reply read."""
    piece = whole("POST", "/api/ping", form({"worker": "w"})) * 200

    async def one() -> None:
        async with attack.connection() as (_reader, writer):
            writer.transport.pause_reading()
            while not attack.over:
                writer.write(piece)
                attack.requests += 200
                try:
                    async with asyncio.timeout(1.0):
                        await writer.drain()
                except (TimeoutError, OSError):
                    await asyncio.sleep(0.2)

    await asyncio.gather(*(one() for _ in range(4)), return_exceptions=True)


async def unread_replies(attack: Attack) -> None:
    """Large replies asked for and not read."""
    ask = whole("POST", "/api/fetch_error", form({"task_id": "Large_1"}), OPERATOR.headers)

    async def one() -> None:
        async with attack.connection() as (_reader, writer):
            writer.transport.pause_reading()
            writer.write(ask * 100)
            attack.requests += 100
            await attack.end()

    await asyncio.gather(*(one() for _ in range(40)), return_exceptions=True)


async def dripping(attack: Attack) -> None:
    """Heads and bodies, a byte at a time, on a hundred connections."""
    raw = whole("POST", "/api/ping", form({"worker": "w", "more": "x" * 100_000}), WORKER.headers)

    async def one(start: int) -> None:
        async with attack.connection() as (_reader, writer):
            writer.write(raw[:start])
            for at in range(start, len(raw)):
                if attack.over:
                    return
                writer.write(raw[at : at + 1])
                attack.requests += 1
                await asyncio.sleep(0.01)

    await asyncio.gather(*(one(0 if n % 2 else 400) for n in range(100)), return_exceptions=True)


async def bodies_of_strangers(attack: Attack) -> None:
    """400 bodies of 1 MB without a token, all but their last byte."""
    body = form({"worker": "w", "more": "x" * (1 << 20)})
    raw = whole("POST", "/api/ping", body)[:-1]

    async def one() -> None:
        async with attack.connection() as (_reader, writer):
            attack.requests += 1
            writer.write(raw)
            with contextlib.suppress(OSError):
                await writer.drain()
            await attack.end()

    await asyncio.gather(*(one() for _ in range(400)), return_exceptions=True)


async def bodies_of_callers(attack: Attack) -> None:
    """16 bodies of 30 MB with a token, all but their last byte."""
    raw = whole("POST", "/api/add_task", b"data=" + b"x" * (30 << 20), WORKER.headers)[:-1]

    async def one() -> None:
        async with attack.connection() as (reader, writer):
            attack.requests += 1
            writer.write(raw)
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                async with asyncio.timeout(max(0.1, attack.until - time.monotonic())):
                    attack.saw(str((await read_reply(reader)).status))

    await asyncio.gather(*(one() for _ in range(16)), return_exceptions=True)


async def malformed_heads(attack: Attack) -> None:
    """2,000 heads that make no sense."""
    heads = [*REFUSED.values(), *mutated(2_000 - len(REFUSED), seed=11)]
    random.Random(1).shuffle(heads)
    for first in range(0, len(heads), 40):
        await asyncio.gather(*(attack.ask(raw, 1.0) for raw in heads[first : first + 40]))


async def idle_connections(attack: Attack) -> None:
    """5,000 connections that say nothing."""
    opened = []
    for _ in range(5_000):
        if attack.over:
            break
        with contextlib.suppress(OSError):
            opened.append(await asyncio.open_connection("127.0.0.1", attack.port))
            attack.requests += 1
    await attack.end()
    for _, writer in opened:
        writer.transport.abort()


async def foreign_pages(attack: Attack) -> None:
    """What a browser sends for a page of another site."""
    said = {**OPERATOR.basic_headers, "Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}
    while not attack.over:
        await attack.ask(whole("POST", "/api/pause", form({}), said))


async def views(attack: Attack) -> None:
    """Large views, many at a time."""
    ask = whole("GET", "/api/graph", None, OPERATOR.headers)
    while not attack.over:
        await asyncio.gather(*(attack.ask(ask) for _ in range(8)))


def of_shape(shape: Shape) -> Callable[[Attack], Awaitable[None]]:
    async def attack_with(attack: Attack) -> None:
        body = shape.body()
        headers = {**OPERATOR.headers, "Content-Type": shape.kind}
        raw = whole(shape.verb, shape.path, body, headers)
        for _ in range(8):  # a large call that outlasts its budget is asked again
            await attack.ask(raw, 120.0)
            if attack.answers.get("503", 0) < attack.requests:
                break
        want = {"200", "201", "204"} if shape.taken else {"400", "413", "404"}
        assert want & attack.answers.keys(), f"{shape.name}: {attack.answers}"

    return attack_with


ATTACKS = (
    send_ahead, unread_replies, dripping, bodies_of_strangers, bodies_of_callers, malformed_heads, idle_connections,
    foreign_pages,
)  # fmt: skip


def _attack(port: int, which: Callable[[Attack], Awaitable[None]], seconds: float, out: Connection) -> None:
    """In a process of its own."""
    attack = Attack(port, seconds)
    trouble = ""
    try:
        asyncio.run(which(attack))
    except Exception as error:  # noqa: BLE001 - told to whoever started this
        trouble = f"{type(error).__name__}: {error}"
    out.send((attack.requests, attack.answers, trouble))


def _ping(port: int, stop: Any, out: Connection) -> None:
    """A worker's pings on one connection, and how long each took (s). In a process of its own."""

    async def pings() -> list[float]:
        raw = whole("POST", "/api/ping", form({"worker": "prober"}), WORKER.headers)
        took = []
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while not stop.is_set():
            began = time.perf_counter()
            writer.write(raw)
            reply = await read_reply(reader)
            took.append(time.perf_counter() - began)
            assert reply.status == 200, reply
            await asyncio.sleep(0.004)
        writer.close()
        return took

    out.send(asyncio.run(pings()))


def _memory(pid: int) -> int:
    """MB that the scheduler (the keeper's child, if there is one) holds."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    pages = int(Path(f"/proc/{children[0] if children else pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() >> 20


def measure(node: NodeProcess, name: str, which: Callable[[Attack], Awaitable[None]], seconds: float) -> Row:
    """One attack, with a prober beside it."""
    context = get_context("fork")
    stop = context.Event()
    here, there = context.Pipe()
    mine, its = context.Pipe()
    prober = context.Process(target=_ping, args=(node.port, stop, there))
    prober.start()
    time.sleep(0.3)
    attacker = context.Process(target=_attack, args=(node.port, which, seconds, its))
    attacker.start()
    requests, answers, trouble = mine.recv()
    attacker.join()
    stop.set()
    took = sorted(here.recv())
    prober.join()
    assert not trouble, trouble
    assert node.pid is not None
    p50, p99 = took[len(took) // 2], took[int(len(took) * 0.99)]
    return Row(name, requests, p50 * 1e3, p99 * 1e3, took[-1] * 1e3, _memory(node.pid), answers)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each attack (default: 15)")
    parser.add_argument("--only", default="", help="attacks whose name has this in it")
    parser.add_argument("--json", type=Path, help="also write the table there")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with tempfile.TemporaryDirectory(prefix="luigi-ha-attack-") as place:
        directory = Path(place)
        database(directory, WORKER, OPERATOR).close()
        node = NodeProcess(directory, {"auth": "on", "election": "none"})
        node.token = OPERATOR.text
        try:
            node.start()
            return attack_all(node, options)
        finally:
            node.stop()


def attack_all(node: NodeProcess, options: argparse.Namespace) -> int:
    node.send("POST", "/api/tasks", {"tasks": [{"task_id": f"T_{n}", "family": "T"} for n in range(5_000)]})
    raw = {"task_id": "Large_1", "worker": "w", "status": "FAILED", "expl": "x" * 1_000_000}
    asyncio.run(Attack(node.port, 60).ask(whole("POST", "/api/add_task", form(raw), WORKER.headers)))
    attacks = [(which.__name__, which) for which in ATTACKS] + [(shape.name, of_shape(shape)) for shape in shapes()]
    attacks = [(name, which) for name, which in attacks if options.only in name]
    epoch, before = node.get("/health")["epoch"], _memory(node.pid or 0)
    print(f"{'attack':52} {'requests':>9} {'p50':>7} {'p99':>7} {'longest':>8} ms {'MB':>5}  (before: {before} MB)")
    rows, after = [], 0
    for number, (name, which) in enumerate(attacks):
        row = measure(node, name, which, options.seconds)
        rows.append(row)
        times = f"{row.p50:7.1f} {row.p99:7.1f} {row.longest:8.1f}"
        print(f"{name[:52]:52} {row.requests:9} {times}    {row.megabytes:5}  {row.answers}", flush=True)
        if number + 1 == sum(name in {which.__name__ for which in ATTACKS} for name, _ in attacks):
            # What follows leaves tasks behind, which are to stay.
            time.sleep(REST)
            after = _memory(node.pid or 0)
            print(f"memory {REST:.0f} s later: {after} MB")
    failed = [row.attack for row in rows if any(status.startswith("500") for status in row.answers)]
    lost = node.get("/health")["epoch"] != epoch or "scheduler_stalled" in node.log.read_text()
    print(f"answers of 500: {failed or 'none'}; leadership {'LOST' if lost else 'kept'}")
    worst = max(rows, key=lambda row: row.longest)
    print(f"longest ping {worst.longest:.1f} ms ({worst.attack}), worst p99 {max(row.p99 for row in rows):.1f} ms")
    if options.json:
        table = [row._asdict() for row in rows]
        options.json.write_text(json.dumps({"before": before, "after": after, "rows": table}, indent=1))
    return int(bool(failed or lost or (after and after > before * 1.1 + 10)))


if __name__ == "__main__":
    os.environ.setdefault("PYTHONHASHSEED", "0")
    sys.exit(main())
