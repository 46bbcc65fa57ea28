"""A client that calls all the time and writes down what it saw.

    python -m luigi_ha.appliance.drill.prober http://10.9.0.100:8082 records.jsonl --prefix run7 --every 0.02

Every `every` seconds a call of add_task begins, whatever became of the ones before, on a connection of its own and with
the patience of a stock client (10 s). Each line of the output is one call: its id, when it began and ended
(CLOCK_BOOTTIME, s), and what went wrong, or null. SIGTERM: begin no more, wait for those under way, exit.
With `--burst N`: N calls at once, and exit when all have an end.
"""

import argparse
import asyncio
import json
import os
import signal
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO
from urllib.parse import quote_plus, urlsplit

PATIENCE = 10.0  # s, as a stock client's rpc timeout


def now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True)
class Callee:
    """Where calls go; the token and what TLS needs come from the environment (LUIGI_HA_TOKEN, LUIGI_HA_TLS_...)."""

    host: str
    port: int
    token: str
    context: ssl.SSLContext | None

    @classmethod
    def of(cls, url: str) -> "Callee":
        parts = urlsplit(url)
        secure, token = parts.scheme == "https", os.environ.get("LUIGI_HA_TOKEN", "")
        return cls(str(parts.hostname), parts.port or (443 if secure else 80), token, _context() if secure else None)


def _context() -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=os.environ.get("LUIGI_HA_TLS_CA"))
    if certificate := os.environ.get("LUIGI_HA_TLS_CERTIFICATE"):
        context.load_cert_chain(certificate, os.environ.get("LUIGI_HA_TLS_KEY"))
    return context


async def call(to: Callee, task: str, patience: float = PATIENCE) -> str | None:
    """One add_task; what went wrong, or None."""
    body = "data=" + quote_plus(json.dumps({"worker": "prober", "task_id": task, "status": "DONE"}))
    head = (
        f"POST /api/add_task HTTP/1.1\r\nHost: {to.host}\r\nUser-Agent: python-requests/2\r\nConnection: close\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n"
    )
    head += f"Authorization: Bearer {to.token}\r\n\r\n" if to.token else "\r\n"
    writer = None
    try:
        async with asyncio.timeout(patience):
            reader, writer = await asyncio.open_connection(to.host, to.port, ssl=to.context)
            writer.write((head + body).encode())
            reply = await reader.read()
    except TimeoutError:
        return "timeout"
    except OSError as error:
        return f"{type(error).__name__}: {error}"
    finally:
        if writer is not None:
            writer.close()
    if reply.startswith(b"HTTP/1.1 200"):
        return None
    return reply[9:200].decode("latin-1").replace("\r\n", " ") if reply else "closed without a reply"


async def record(to: Callee, out: TextIO, task: str, patience: float) -> None:
    """One call, and its line."""
    began = now()
    wrong = await call(to, task, patience)
    out.write(json.dumps([task, began, now(), wrong]) + "\n")


async def burst(to: Callee, out: TextIO, prefix: str, count: int, patience: float) -> None:
    """So many at once."""
    await asyncio.gather(*(record(to, out, f"{prefix}_{number}", patience) for number in range(count)))


async def probe(to: Callee, out: TextIO, prefix: str, every: float, patience: float) -> None:
    """Until SIGTERM."""
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    under_way: set[asyncio.Task[None]] = set()
    number, due = 0, now()
    while not over.is_set():
        number += 1
        task = asyncio.create_task(record(to, out, f"{prefix}_{number}", patience))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        due = max(due + every, now() - 0.1)
        try:
            async with asyncio.timeout(max(0.0, due - now())):
                await over.wait()
        except TimeoutError:
            out.flush()
    await asyncio.gather(*under_way)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("out", type=Path)
    parser.add_argument("--prefix", required=True)
    parser.add_argument("--every", type=float, default=0.02)
    parser.add_argument("--patience", type=float, default=PATIENCE)
    parser.add_argument("--burst", type=int, default=0)
    options = parser.parse_args()
    with options.out.open("w") as out:
        if options.burst:
            asyncio.run(burst(Callee.of(options.url), out, options.prefix, options.burst, options.patience))
        else:
            asyncio.run(probe(Callee.of(options.url), out, options.prefix, options.every, options.patience))


if __name__ == "__main__":
    main()
