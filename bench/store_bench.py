"""What the store costs: records per second, and the interpreter's time per record.

    .venv/bin/python bench/store_bench.py [sqlite] [postgresql] [mysql] [--records 40000] [--load 100000]

The writer thread shares the interpreter with the event loop, so its own time per record is the figure that matters; the
rest of the wall time it waits for the database, without the interpreter. fsync is on.
"""

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from luigi_ha.appliance.engine.changes import Change, JsonText, TaskDefinition, TaskDetail, TaskPut, TaskState
from luigi_ha.appliance.store import open_store
from luigi_ha.appliance.store.batch import Unit, build
from tests.support.servers import mariadb_server, postgres_server

EMPTY = JsonText("{}")
NULL = JsonText("null")


def task_id(num: int) -> str:
    return f"marketing.Extract_2024_01_01_{num}_vanilla_{num:010x}"


def state(num: int, status: str, at: float) -> TaskState:
    run_id = f"{num:032x}" if status != "PENDING" else None
    running = run_id is not None
    return TaskState(
        status, 0, at, (1,), (1,), "Worker(salt=1234567890, workers=1, host=h, username=u, pid=1)" if running else None,
        at if running else None, EMPTY if running else None, run_id, int(running), False, None, None, None, (), None, 0,
        None,
    )  # fmt: skip


def creation(num: int, at: float) -> TaskPut:
    params = JsonText(f'{{"date": "2024-01-01", "number": "{num}", "flavour": "vanilla"}}')
    definition = TaskDefinition(
        "marketing.Extract", "marketing", "pipelines.marketing", params, EMPTY, (f"marketing.Load_{num - 1:010x}",),
        EMPTY, JsonText("[999999999, 999999999, 3600]"), True, False, JsonText("false"), at,
    )  # fmt: skip
    detail = TaskDetail(NULL, None, NULL, NULL, EMPTY)
    return TaskPut(
        num, f"marketing.Extract_2024_01_01_{num}_vanilla_{num:010x}", definition, state(num, "PENDING", at), detail
    )


def change(num: int, status: str, at: float) -> TaskPut:
    return TaskPut(num, f"marketing.Extract_2024_01_01_{num}_vanilla_{num:010x}", None, state(num, status, at), None)


def measure(name: str, url: str, records: int, load: int) -> None:
    store = open_store(url)
    store.upgrade()
    position = store.take_leadership("bench")
    now = 1_700_000_000.0
    for batch_size in (50, 200, 1000):
        for kind in ("create", "change"):
            writer = store.writer()
            made: Sequence[Change]
            first = position.seq + 1
            if kind == "create":
                created = list(range(first * 10, first * 10 + records))
                made = [creation(num, now + num * 1e-3) for num in created]
            else:
                made = [change(num, "RUNNING", now + num * 1e-3) for num in created]
            wall, cpu = time.perf_counter(), time.thread_time()
            encoding = 0.0
            for start in range(0, len(made), batch_size):
                units = [Unit([record], now, "add_task", "worker") for record in made[start : start + batch_size]]
                before = time.thread_time()
                batch = build(units, position)
                encoding += time.thread_time() - before
                writer.write(batch)
                position = batch.last
            wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
            writer.close()
            print(
                f"{name:10} {kind} batches of {batch_size:4}: {records / wall:8,.0f} records/s, "
                f"{cpu / records * 1e6:5.1f} us of our CPU per record (encoding {encoding / records * 1e6:4.1f})",
                flush=True,
            )
    writer = store.writer()
    have = store.load().count
    num = 10**9
    while have < load:
        units = [Unit([creation(num + i, now)], now, "add_task", None) for i in range(1000)]
        batch = build(units, position)
        writer.write(batch)
        position = batch.last
        num += 1000
        have += 1000
    writer.close()
    began = time.perf_counter()
    count = sum(1 for _ in store.load().records)
    wall = time.perf_counter() - began
    print(f"{name:10} load: {count:,} records in {wall:.2f} s ({wall / count * 1e5:.2f} s per 100,000)", flush=True)


@contextlib.contextmanager
def database(name: str) -> Iterator[str]:
    if name == "sqlite":
        with tempfile.TemporaryDirectory() as directory:
            yield f"sqlite:///{directory}/bench.db"
    elif name == "postgresql":
        with postgres_server() as server:
            yield server.url()
    else:
        with mariadb_server() as server:
            yield server.url()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("databases", nargs="*", default=["sqlite", "postgresql", "mysql"])
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--load", type=int, default=100_000)
    arguments = parser.parse_args()
    for database_name in arguments.databases:
        with database(database_name) as database_url:
            measure(database_name, database_url, arguments.records, arguments.load)
