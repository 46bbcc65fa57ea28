"""`python -m bench`: luigid and luigi-ha in one run, a table with ratios.

    python -m bench                      everything but the million tasks (about 15 minutes)
    python -m bench --only throughput    one part: get_work, throughput, graph, start, million
    python -m bench --sizes 0,1000       fewer tasks
    python -m bench --json results.json  keep the figures

Both run on this machine, one after the other, with the same clients. luigi-ha commits every change to a PostgreSQL
with fsync on; luigid keeps all in memory. Compare ratios: the absolute figures belong to the machine.
"""

import argparse
import os
import platform
import sys
from pathlib import Path
from typing import Any

from bench import shapes
from bench.fill import fill
from bench.load import need_wrk, populate, throughput, write_json
from bench.servers import PEERS, luigi_ha

SECONDS = 5


def say(text: str) -> None:
    """Progress, on stderr: the table alone goes to stdout."""
    print(text, file=sys.stderr, flush=True)


def measure_get_work(sizes: list[int], rows: list[dict[str, Any]]) -> None:
    """get_work among N pending tasks, in three shapes."""
    for shape, calls in shapes.SHAPES.items():
        for size in sizes:
            found = {}
            for name, peer in PEERS.items():
                with peer() as scheduler:
                    fresh = scheduler.memory()
                    say(f"{name}: {size} tasks, {shape}")
                    populate(scheduler.port, calls(size), lambda n: say(f"  {n} added"))
                    samples = 400 if name == "luigi-ha" or size < 10_000 else max(24, 400_000 * 2 // size)
                    found[name] = shapes.get_work(scheduler.port, shape, min(samples, 400))
                    if size >= 10_000 and shape == "one worker owns all":
                        found[name]["bytes_per_task"] = (scheduler.memory() - fresh) / size
            add(rows, f"get_work, {size:,} pending, {shape}", found, "p50_ms", "p99_ms")
            if "bytes_per_task" in found["luigid"]:
                add(rows, f"memory per task at {size:,}", found, "bytes_per_task")


def measure_throughput(rows: list[dict[str, Any]]) -> None:
    """add_task and ping per second."""
    for call in ("add_task", "ping"):
        for keep_alive in (True, False):
            for connections in (8, 32, 64):
                found = {}
                for name, peer in PEERS.items():
                    with peer() as scheduler:
                        throughput(scheduler.port, call, connections, 1, keep_alive=keep_alive)
                        used = scheduler.cpu()
                        found[name] = throughput(scheduler.port, call, connections, SECONDS, keep_alive=keep_alive)
                        calls = found[name]["per_second"] * SECONDS
                        found[name]["cpu_us"] = (scheduler.cpu() - used) / calls * 1e6
                how = "kept alive" if keep_alive else "one connection a call"
                add(
                    rows, f"{call}, {connections} connections, {how}", found, "per_second", "p50_ms", "p99_ms", "cpu_us"
                )


def measure_graph(size: int, rows: list[dict[str, Any]]) -> None:
    """A ping beside somebody who fetches a dependency graph."""
    found = {}
    for name, peer in PEERS.items():
        with peer() as scheduler:
            say(f"{name}: graph of {size}")
            populate(scheduler.port, shapes.layered(size), lambda n: say(f"  {n} added"))
            found[name] = shapes.ping_beside_graph(scheduler.port, size, 15.0)
    add(rows, f"ping while a graph of {size:,} is fetched", found, "p50_ms", "p99_ms", "nodes", "graphs")


def measure_start(size: int, rows: list[dict[str, Any]]) -> None:
    """From SIGKILL to the first answer, with N tasks in the database; and what get_work and memory are then."""
    say(f"luigi-ha: start with {size} tasks")
    with luigi_ha(lambda url: fill(url, size, lambda n: n % 100_000 or say(f"  {n} written"))) as scheduler:
        scheduler.kill()
        found = {"luigi-ha": {"start_s": scheduler.start(), "memory_per_task": scheduler.memory() / size}}
        found["luigi-ha"].update(shapes.get_work(scheduler.port, "one worker owns all", 1000))
    add(rows, f"cold start with {size:,} tasks", found, "start_s", "memory_per_task")
    add(rows, f"get_work, {size:,} pending, after the start", found, "p50_ms", "p99_ms")


def add(rows: list[dict[str, Any]], what: str, found: dict[str, dict[str, float]], *fields: str) -> None:
    """One row of the table for each field."""
    for name in fields:
        row = {"what": what, "field": name, **{peer: values.get(name) for peer, values in found.items()}}
        rows.append(row)
        say(line(row))


def line(row: dict[str, Any]) -> str:
    """A row as Markdown, with the ratio in our favour above 1."""
    peer, ours = row.get("luigid"), row.get("luigi-ha")
    ratio = ""
    if peer and ours:
        ratio = f"{ours / peer if row['field'] == 'per_second' else peer / ours:.1f}x"
    shown = ["" if value is None else f"{value:,.2f}" if value < 100 else f"{value:,.0f}" for value in (peer, ours)]
    return f"| {row['what']} | {row['field']} | {shown[0]} | {shown[1]} | {ratio} |"


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="0,1000,10000,100000", help="numbers of pending tasks")
    parser.add_argument("--only", default="get_work,throughput,graph,start", help="parts, comma separated")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    given = parser.parse_args()
    sizes = [int(size) for size in given.sizes.split(",")]
    parts = given.only.split(",")
    rows: list[dict[str, Any]] = []
    if "throughput" in parts:
        need_wrk()
        measure_throughput(rows)
    if "get_work" in parts:
        measure_get_work(sizes, rows)
    if "graph" in parts:
        measure_graph(max(sizes), rows)
    if "start" in parts:
        measure_start(max(sizes), rows)
    if "million" in parts:
        measure_start(1_000_000, rows)
    print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}\n")
    print("| what | field | luigid | luigi-ha | ratio |\n|---|---|---:|---:|---:|")
    for row in rows:
        print(line(row))
    if given.json:
        write_json(given.json, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
