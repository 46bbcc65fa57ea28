"""What the engine's REST calls cost by themselves: no HTTP, no journal, no database.

    python -m bench.engine_bench            100,000 ready tasks, 50,000 new ones
    python -m bench.engine_bench --repeat 5

Counts processor time, so that it may run beside other things; prints the best of some rounds.
"""

import argparse
import gc
import random
import statistics
from collections import deque
from time import process_time
from typing import Any

from luigi_ha.appliance.engine import Scheduler, Settings
from luigi_ha.appliance.node.mirror import GC_THRESHOLDS

NEW = 50_000
READY = 100_000
CALLS = 300
AT_ONCE = 40  # tasks run meanwhile


def engine() -> Scheduler:
    return Scheduler(Settings(), resources={"db": 4}, clock=lambda: 1_000_000.0, random=random.Random(7))


def described(count: int, *, deps: bool, families: int = 10) -> list[dict[str, Any]]:
    """Tasks as a client sends them: parameters, and each depends on the one before it."""
    return [
        {
            "task_id": f"etl.Load{i % families}_{i}",
            "family": f"etl.Load{i % families}",
            "params": {"date": f"2026-01-{i % 28 + 1:02}", "shard": str(i)},
            "deps": [f"etl.Load{(i - 1) % families}_{i - 1}"] if deps and i else [],
        }
        for i in range(count)
    ]


def put_tasks(chunk: int) -> tuple[float, float]:
    """Tasks per second of `rest_put_tasks`, and of it together with what the journal is given."""
    tasks, s = described(NEW, deps=True), engine()
    calls = taken = 0.0
    for start in range(0, NEW, chunk):
        began = process_time()
        s.rest_put_tasks(tasks=tasks[start : start + chunk])
        put = process_time()
        changes = s.take_changes()
        calls += put - began
        taken += process_time() - put
        del changes
    return NEW / calls, NEW / (calls + taken)


def filled(**fields: Any) -> Scheduler:
    s = engine()
    s.rest_put_tasks(tasks=[{**task, **fields} for task in described(READY, deps=False)])
    s.take_changes()
    return s


def calls(s: Scheduler, **offer: Any) -> tuple[float, float]:
    """Median and worst of some calls of `rest_take`, in ms; what was taken is done some calls later."""
    took, running = [], deque[tuple[str, dict[str, Any]]]()
    for i in range(CALLS):
        worker = f"w{i % 10}"
        began = process_time()
        task = s.rest_take(worker=worker, slots=4, **offer)
        took.append((process_time() - began) * 1000)
        if task is not None:
            run = {name: task[name] for name in ("task_id", "attempt", "run_id")}
            running.append((worker, {**run, "status": "DONE"}))
        if len(running) > AT_ONCE:
            worker, report = running.popleft()
            s.rest_heartbeat(worker=worker, tasks=[report])
    for worker, report in running:
        s.rest_heartbeat(worker=worker, tasks=[report])
    s.take_changes()
    return statistics.median(took), max(took)


def takes() -> dict[str, tuple[float, float]]:
    """`rest_take` among many ready tasks."""
    plain, needing = filled(), filled(resources={"db": 0.001})
    first = process_time()
    for s in (plain, needing):
        s.rest_take(worker="first", namespaces=["none"])  # the first who names some families pays for the index
    took = (process_time() - first) / 2 * 1000
    return {
        "the first that names families": (took, took),
        "any task": calls(plain),
        "tasks with resources": calls(needing),
        "one family": calls(plain, families=["etl.Load7"]),
        "one family, with resources": calls(needing, families=["etl.Load7"]),
        "a namespace, none match": calls(plain, namespaces=["marketing"]),
        "families, none match": calls(needing, families=["marketing.Load"]),
        "a capability, none match": calls(plain, namespaces=["marketing"], capabilities=["gpu"]),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--repeat", type=int, default=3)
    repeat = options.parse_args().repeat
    gc.set_threshold(*GC_THRESHOLDS)  # as the server runs
    for chunk in (1_000, NEW):
        gc.collect()
        rounds = [put_tasks(chunk) for _ in range(repeat)]
        put, taken = max(rounds)
        print(f"rest_put_tasks, {chunk:,} in a call: {put:,.0f} tasks/s; with take_changes {taken:,.0f}")
    for what, (median, worst) in takes().items():
        print(f"rest_take, {READY:,} ready, {what}: {median:.3f} ms (worst {worst:.3f})")


if __name__ == "__main__":
    main()
