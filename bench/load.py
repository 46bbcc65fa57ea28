"""Load: wrk for throughput, a plain socket client for the latency of single calls."""

import json
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_TASK = {
    "task_id": "@ID@", "worker": "bench", "family": "Extract", "module": "etl", "status": "PENDING", "expl": "null",
    "params": {"date": "2026-01-01", "n": "@N@"}, "deps": [], "priority": 0, "runnable": True, "resources": {},
    "owners": [], "batchable": False,
    "retry_policy_dict": {"retry_count": None, "disable_hard_timeout": None, "disable_window": None},
}  # fmt: skip


def _form(arguments: dict[str, Any]) -> str:
    return "data=" + urllib.parse.quote_plus(json.dumps(arguments))


def _script(call: str, headers: str) -> str:
    """A wrk script; bodies are encoded here, so that the load costs little of the machine that is measured."""
    if call == "ping":
        body = _form({"worker": "bench"})
        return f"{headers}function request() return wrk.format('POST', '/api/ping', headers, '{body}') end"
    before, middle, after = re.split("%40ID%40|%40N%40", _form(_TASK))
    mark = f"{time.monotonic_ns():x}"
    return f"""{headers}
local n = 0
function request()
  n = n + 1
  local body = "{before}Extract_2026_01_01_" .. n .. "_{mark}{middle}" .. n .. "{after}"
  return wrk.format("POST", "/api/add_task", headers, body)
end
"""


_UNIT = {"us": 1e-3, "ms": 1.0, "s": 1e3}


def need_wrk() -> None:
    """SystemExit that says what is missing, before anything long begins."""
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed; expected: apt-get install wrk (`make bench` does it)")


def throughput(port: int, call: str, connections: int, seconds: int, *, keep_alive: bool) -> dict[str, float]:
    """Calls per second, and milliseconds at p50 and p99, as wrk measured them."""
    close = "" if keep_alive else ', ["Connection"] = "close"'
    headers = f'headers = {{["Content-Type"] = "application/x-www-form-urlencoded"{close}}}\n'
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_script(call, headers))
        script.flush()
        printed = subprocess.run(
            ["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "--latency", "-s", script.name, f"http://127.0.0.1:{port}"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    if "Non-2xx" in printed or "Socket errors" in printed:
        raise RuntimeError(f"{call} failed under load: {printed}")
    found = {"per_second": float(_field(printed, r"Requests/sec:\s+([\d.]+)")[0])}
    for name, percent in (("p50_ms", "50%"), ("p99_ms", "99%")):
        value, unit = _field(printed, rf"{percent}\s+([\d.]+)(us|ms|s)")
        found[name] = float(value) * _UNIT[unit]
    return found


def _field(printed: str, pattern: str) -> tuple[str, ...]:
    found = re.search(pattern, printed)
    if found is None:
        raise RuntimeError(f"wrk printed no {pattern}: {printed}")
    return found.groups()


class Caller:
    """One kept-alive connection that makes one call at a time."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=300)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")

    def __call__(self, method: str, **arguments: Any) -> Any:
        """The reply's response; RuntimeError if it is no 200."""
        body = _form(arguments).encode()
        self._socket.sendall(
            f"POST /api/{method} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-www-form-urlencoded\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        status = self._file.readline().split()
        length = 0
        while (line := self._file.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        reply = self._file.read(length)
        if not status or status[1] != b"200":
            raise RuntimeError(f"{method}: {status} {reply[:300]!r}")
        return json.loads(reply)["response"]

    def close(self) -> None:
        """Hang up."""
        self._file.close()
        self._socket.close()


def populate(port: int, calls: Iterator[dict[str, Any]], report: Callable[[int], None], threads: int = 8) -> None:
    """Make add_task calls over some connections; `report` is told how many were made so far."""
    lock, made, failures = threading.Lock(), [0], []

    def work() -> None:
        caller = Caller(port)
        try:
            while True:
                with lock:
                    call = next(calls, None)
                    made[0] += 1
                    if not made[0] % 5000:
                        report(made[0])
                if call is None:
                    return
                caller("add_task", **call)
        except Exception as error:
            failures.append(error)
            raise
        finally:
            caller.close()

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failures:
        raise RuntimeError("populating failed") from failures[0]


def percentiles(seconds: list[float]) -> dict[str, float]:
    """Milliseconds at p50 and p99."""
    ordered = sorted(seconds)
    last = len(ordered) - 1
    return {
        "p50_ms": statistics.median(ordered) * 1e3, "p99_ms": ordered[min(last, round(last * 0.99))] * 1e3,
        "samples": len(ordered),
    }  # fmt: skip


def write_json(path: Path, found: Any) -> None:
    """Keep results where people look for them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
