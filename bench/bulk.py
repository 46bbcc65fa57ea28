"""How many tasks a second `POST /api/tasks` takes: 50,000 in calls of 1,000 and of 5,000, on one connection.

    python -m bench.bulk             (a node of its own, on SQLite)
    python -m bench.bulk --url URL   (a scheduler that may be filled)
"""

import argparse
import contextlib
import json
import os
import time
import uuid
from http.client import HTTPConnection
from urllib.parse import urlsplit

from bench.chain import node

TASKS = 50_000
SIZES = (1_000, 5_000)


def bodies(size: int) -> list[bytes]:
    """Chains of ten tasks, with two parameters each; none of them is known yet."""
    family = f"bulk{uuid.uuid4().hex[:6]}.Task"
    tasks = [
        {
            "task_id": f"{family}_{number}",
            "family": family,
            "params": {"date": "2026-05-01", "number": str(number)},
            "deps": [f"{family}_{number - 1}"] if number % 10 else [],
        }
        for number in range(TASKS)
    ]
    return [json.dumps({"tasks": tasks[start : start + size]}).encode() for start in range(0, TASKS, size)]


def measure(connection: HTTPConnection, size: int) -> str:
    """One line of the result."""
    calls = bodies(size)
    took = []
    for body in calls:
        began = time.perf_counter()
        connection.request("POST", "/api/tasks", body)
        reply = connection.getresponse()
        answer = json.loads(reply.read())
        took.append(time.perf_counter() - began)
        if answer != {"added": size, "known": 0}:
            raise SystemExit(f"{reply.status} {answer}")
    rate, megabytes = TASKS / sum(took), sum(map(len, calls)) / 1e6
    return f"calls of {size}: {rate:,.0f} tasks/s, longest call {max(took) * 1000:.0f} ms, {megabytes:.1f} MB in all"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url")
    asked = parser.parse_args()
    with contextlib.nullcontext() if asked.url else node() as own:
        url = urlsplit(own.url if own is not None else asked.url)
        connection = HTTPConnection(url.hostname or "127.0.0.1", url.port, timeout=60)
        try:
            for size in SIZES:
                print(measure(connection, size), flush=True)
        except OSError as error:
            raise SystemExit(f"no answer from {url.geturl()}: {error}") from None
        connection.close()
    print(f"load average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
