"""The largest argument of each kind that is taken, and the first that is not."""

import functools
import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from urllib.parse import urlencode


class Shape(NamedTuple):
    """One request; `body` makes it when it is wanted, for some are large."""

    name: str
    path: str
    body: Callable[[], bytes]
    taken: bool  # whether it is legal
    verb: str = "POST"
    kind: str = "application/x-www-form-urlencoded"


def _call(name: str, method: str, taken: bool, **arguments: Callable[[], Any]) -> Shape:
    def body() -> bytes:
        return urlencode({"data": json.dumps({key: make() for key, make in arguments.items()})}).encode()

    return Shape(f"{method} {name}", f"/api/{method}", body, taken)


def _task(name: str, taken: bool, **more: Callable[[], Any]) -> Shape:
    task_id = f"Shape_{abs(hash(name)) % 10**9}"
    return _call(name, "add_task", taken, **{"task_id": lambda: task_id, "worker": lambda: "w", **more})


def _rest(name: str, verb: str, path: str, taken: bool, body: Callable[[], Any]) -> Shape:
    return Shape(f"{verb} {path} {name}", path, lambda: json.dumps(body()).encode(), taken, verb, "application/json")


def _ids(many: int, prefix: str) -> Callable[[], list[str]]:
    return lambda: [f"{prefix}_{n}" for n in range(many)]


def _names(many: int) -> Callable[[], dict[str, int]]:
    return lambda: {f"r{n}": 1 for n in range(many)}


def _nested(depth: int) -> Callable[[], Any]:
    def make() -> Any:
        value: Any = 1
        for _ in range(depth):
            value = [value]
        return value

    return make


def _tasks(many: int, prefix: str) -> Callable[[], dict[str, Any]]:
    return lambda: {"tasks": [{"task_id": f"{prefix}_{n}", "family": "F", "params": {"n": n}} for n in range(many)]}


def shapes() -> Iterator[Shape]:
    """Each argument that has a bound, at it and beyond it."""
    worker, text = (lambda: "w"), (lambda size: lambda: "x" * size)
    for size, taken in ((500, True), (501, False)):
        yield _task(f"id of {size}", taken, task_id=text(size))
        yield _task(f"family of {size}", taken, family=text(size))
        yield _task(f"module of {size}", taken, module=text(size))
        yield _task(f"batch_id of {size}", taken, batch_id=text(size))
        yield _call(f"worker of {size}", "ping", taken, worker=text(size))
    for many, taken in ((1_000, True), (1_001, False)):
        yield _task(f"{many} resources", taken, resources=_names(many))
        yield _task(f"{many} owners", taken, owners=_ids(many, "o"))
        yield _call(f"{many} names", "add_worker", taken, worker=worker, info=_names(many))
        batcher = {"task_family": text(3), "batched_args": _ids(many, "p")}
        yield _call(f"{many} names", "add_task_batcher", taken, worker=worker, **batcher)
        yield _call(f"{many} totals", "update_resources", taken, **{f"r{n}": (lambda: 1) for n in range(many)})
    for many, taken in ((10_000, True), (10_001, False)):
        yield _task(f"{many} parameters", taken, params=_names(many))
        yield _task(f"{many} visibilities", taken, param_visibilities=_names(many))
        yield _rest(f"of {many}", "POST", "/api/tasks", taken, _tasks(many, f"Put{many}"))
    for many, taken in ((99_000, True), (100_001, False)):
        yield _call(f"{many} current", "get_work", taken, worker=worker, current_tasks=_ids(many, "c"))
        yield _task(f"expl of {many} elements", taken, expl=lambda many=many: [1] * many, status=lambda: "FAILED")
        yield _task(f"params of {many} elements", taken, params=lambda many=many: {"a": [1] * (many - 1)})
    for depth, taken in ((98, True), (101, False)):
        yield _task(f"{depth} levels", taken, expl=_nested(depth), status=lambda: "FAILED")
    for size, taken in ((3 << 20, True), (5 << 20, False)):
        yield _call(f"of {size} bytes", "set_task_status_message", taken, task_id=text(3), status_message=text(size))
        statistics = functools.partial(dict, a="x" * size)
        yield _call(f"of {size} bytes", "report_task_statistics", taken, task_id=text(3), statistics=statistics)
    for size, taken in ((11 << 20, True), (13 << 20, False)):
        yield _task(f"expl of {size} bytes", taken, expl=text(size), status=lambda: "FAILED")
    yield Shape("form of 4 MB of %", "/api/ping", lambda: b"data=" + b"%" * ((4 << 20) - 10), False)
    yield Shape("form of 30 MB of %", "/api/add_task", lambda: b"data=" + b"%" * (30 << 20), False)
    yield Shape("form of 94 MB of %", "/api/add_task", lambda: b"data=" + b"%" * (94 << 20), False)
    yield Shape("form of 3 MB of [", "/api/ping", lambda: b"data=" + b"[" * (3 << 20), False)
    lists = b'data={"worker":"w","a":[' + b"[]," * 1_300_000 + b"1]}"
    yield Shape("form of 4 MB of empty lists", "/api/ping", lambda: lists, False)
    multipart = "multipart/form-data; boundary=b"
    yield Shape("multipart of 1 MB", "/api/ping", lambda: b"x" * (1 << 20), False, kind=multipart)
    yield _rest("holding 2,000", "POST", "/api/task", True, lambda: {"worker": "v", "holding": _held(2_000)})
    yield _rest("holding 2,001", "POST", "/api/task", False, lambda: {"worker": "v", "holding": _held(2_001)})
    yield _task("100,000 dependencies", True, deps=_ids(100_000, "Dep"))
    yield _task("1,000,001 dependencies", False, deps=_ids(1_000_001, "D"))
    wide = _ids(50_000, "Wide")
    yield _rest("with 50,000 deps", "PUT", "/api/task/Shape_wide", True, lambda: {"family": "F", "deps": wide()})


def _held(many: int) -> list[dict[str, Any]]:
    return [{"task_id": f"h_{n}", "attempt": 1, "run_id": "r"} for n in range(many)]
