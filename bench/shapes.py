"""Task graphs as they are in real use, and what a call costs among them."""

import threading
import time
from collections.abc import Iterator
from typing import Any

from bench.load import Caller, percentiles

CALLERS = 8


def _task(i: int, worker: str, **more: Any) -> dict[str, Any]:
    return {
        "task_id": f"Extract_2026_01_01_{i}_{worker}", "worker": worker, "family": "Extract", "module": "etl",
        "params": {"date": "2026-01-01", "n": str(i)}, "deps": [], "expl": "null", "owners": [], **more,
    }  # fmt: skip


def own(size: int) -> Iterator[dict[str, Any]]:
    """One worker owns all."""
    return (_task(i, "owner") for i in range(size))


def foreign(size: int) -> Iterator[dict[str, Any]]:
    """Nearly all belong to another worker; eight workers have a few with resources."""
    yield from (_task(i, "foreign") for i in range(size))
    yield from (_task(i, f"caller{n}", resources={"db": 1}) for n in range(CALLERS) for i in range(200))


def layered(size: int) -> Iterator[dict[str, Any]]:
    """A root over a hundred tasks over all the others."""
    middle = max(1, min(100, size // 10))
    leaves = [_task(i, "owner") for i in range(size)]
    yield from leaves
    for m in range(middle):
        yield _task(size + m, "owner", deps=[leaf["task_id"] for leaf in leaves[m::middle]])
    yield _task(size + middle, "owner", deps=[_task(size + m, "owner")["task_id"] for m in range(middle)])


SHAPES = {"one worker owns all": own, "with resources, 8 callers": foreign, "layered graph": layered}


def root_of(size: int) -> str:
    """The id of the root of `layered`."""
    task_id: str = _task(size + max(1, min(100, size // 10)), "owner")["task_id"]
    return task_id


def get_work(port: int, shape: str, samples: int) -> dict[str, float]:
    """Milliseconds of `get_work`; each task handed out is reported DONE, outside of the measurement."""
    if shape != "with resources, 8 callers":
        return percentiles(_pull(port, "owner", samples))
    caller = Caller(port)
    caller("update_resources", db=CALLERS)
    caller.close()
    found: list[list[float]] = [[] for _ in range(CALLERS)]

    def pull(n: int) -> None:
        found[n] = _pull(port, f"caller{n}", max(2, samples // CALLERS))

    threads = [threading.Thread(target=pull, args=(n,)) for n in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return percentiles([seconds for part in found for seconds in part])


def _pull(port: int, worker: str, samples: int) -> list[float]:
    caller = Caller(port)
    seconds = []
    for _ in range(samples):
        begun = time.perf_counter()
        reply = caller("get_work", worker=worker, host="bench", assistant=False, current_tasks=[])
        seconds.append(time.perf_counter() - begun)
        if reply["task_id"] is not None:
            caller("add_task", worker=worker, task_id=reply["task_id"], status="DONE", family="Extract", runnable=None)
    caller.close()
    return seconds


def ping_beside_graph(port: int, size: int, seconds: float) -> dict[str, float]:
    """Milliseconds of a ping while another client fetches the dependency graph of the root, again and again."""
    stop = threading.Event()
    fetched: list[int] = []

    def fetch() -> None:
        caller = Caller(port)
        while not stop.is_set():
            fetched.append(len(caller("dep_graph", task_id=root_of(size))))
        caller.close()

    thread = threading.Thread(target=fetch)
    thread.start()
    caller = Caller(port)
    times = []
    end = time.monotonic() + seconds
    while time.monotonic() < end or not fetched:
        begun = time.perf_counter()
        caller("ping", worker="bench")
        times.append(time.perf_counter() - begun)
        time.sleep(0.005)
    stop.set()
    thread.join()
    caller.close()
    return {**percentiles(times), "graphs": len(fetched), "nodes": max(fetched)}
