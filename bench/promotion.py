"""`python -m bench.promotion`: what a promotion takes with a large state, and how far a mirror is behind under load.

    python -m bench.promotion --tasks 1000000 --runs 20 --json bench/results/promotion.json

Two nodes on this machine, with an etcd and a PostgreSQL (fsync on) of their own. Leadership is handed over to and fro,
and the scheduler that leads is killed with SIGKILL a few times; a client asks all the time. Printed: the new leader's
own figure (from the order to lead until its gate is open), the gap a client sees, and, for the cold case, a start with
nobody to take over from. Then a load of add_task calls while the follower says how old its mirror is.
"""

import argparse
import contextlib
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from bench.fill import fill
from bench.load import need_wrk, throughput, write_json
from luigi_ha.appliance.lab.ports import free_port
from tests.support.etcd import etcd_cluster
from tests.support.servers import postgres_server

WAIT = 900.0  # s for a node to have read a million tasks


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Node:
    """One `luigi-ha serve`."""

    def __init__(self, directory: Path, name: str, database: str, endpoints: list[str]) -> None:
        self.name, self.port = name, free_port()
        self.log_file = directory / f"{name}.log"
        self._command = [
            sys.executable, "-m", "luigi_ha.appliance.cli", "serve", "--host", "127.0.0.1", "--port", str(self.port),
            "--database", database, "--name", name, "--etcd-endpoints", ",".join(endpoints), "--upgrade",
            "--advertise", f"http://127.0.0.1:{self.port}",
        ]  # fmt: skip

    def start(self) -> None:
        with self.log_file.open("ab") as out:
            self.popen = subprocess.Popen(self._command, stdout=out, stderr=out, env={**os.environ, "PYTHONPATH": "."})

    def health(self) -> dict[str, Any]:
        try:
            with urlopen(f"http://127.0.0.1:{self.port}/health", timeout=10) as reply:
                return json.load(reply)  # type: ignore[no-any-return]
        except OSError:
            return {}

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    @property
    def scheduler(self) -> int:
        return int(re.findall(r"scheduler_started pid=(\d+)", self.log)[-1])

    def promotions(self) -> list[tuple[float, int, bool]]:
        """(seconds, events read, warm) of each of its promotions."""
        found = re.findall(r"promoted epoch=\d+ seconds=(\S+) events=(\d+) warm=(\w+)", self.log)
        return [(float(seconds), int(events), warm.lower() == "true") for seconds, events, warm in found]

    def stop(self) -> None:
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(30)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()


class Asker(threading.Thread):
    """Calls `ping` on one node every few milliseconds; the longest time without an answer."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port, self.gap, self.over = port, 0.0, threading.Event()

    def run(self) -> None:
        last = time.monotonic()
        while not self.over.is_set():
            with (
                contextlib.suppress(OSError),
                urlopen(
                    f"http://127.0.0.1:{self.port}/api/ping", b"data=%7B%22worker%22%3A%22w%22%7D", timeout=10
                ) as reply,
            ):
                reply.read()
                now = time.monotonic()
                self.gap, last = max(self.gap, now - last), now
            time.sleep(0.005)


def wait_for(what: str, holds: Any) -> float:
    began = time.monotonic()
    while not holds():
        if time.monotonic() - began > WAIT:
            raise SystemExit(f"waited {WAIT:g} s for {what}")
        time.sleep(0.02)
    return time.monotonic() - began


def follows(node: Node) -> bool:
    health = node.health()
    return health.get("state") == "standby" and bool(health.get("ready")) and health["mirror"]["behind"] == 0


def leads(node: Node) -> bool:
    health = node.health()
    return bool(health.get("leading") and health.get("ready"))


@contextlib.contextmanager
def nodes(tasks: int) -> Iterator[tuple[list[Node], list[str]]]:
    with (
        tempfile.TemporaryDirectory(prefix="luigi-ha-bench-") as place,
        postgres_server() as database,
        etcd_cluster() as etcd,
    ):
        url = database.url()
        if tasks:
            say(f"filling {tasks:,} tasks ...")
            fill(url, tasks, lambda n: say(f"  {n:,}"))
        two = [Node(Path(place), name, url, list(etcd.endpoints)) for name in ("n1", "n2")]
        try:
            yield two, list(etcd.endpoints)
        finally:
            for node in two:
                if hasattr(node, "popen"):
                    node.stop()


def kills(two: list[Node], runs: int) -> tuple[list[float], list[float]]:
    """Kill the scheduler that leads, so many times: (promotions, gaps) in seconds."""
    seconds, gaps = [], []
    for run in range(runs):
        wait_for("a leader and a follower", lambda: any(map(leads, two)) and any(map(follows, two)))
        leader = next(node for node in two if leads(node))
        other = next(node for node in two if node is not leader)
        before = len(other.promotions())
        asker = Asker(other.port)
        asker.start()
        time.sleep(0.5)
        os.kill(leader.scheduler, signal.SIGKILL)
        wait_for("the other one to lead", lambda: len(other.promotions()) > before)  # noqa: B023
        time.sleep(0.5)
        asker.over.set()
        asker.join()
        took, events, warm = other.promotions()[-1]
        say(f"  run {run + 1}: promoted in {took:.3f} s, {events} events read; client's gap {asker.gap:.3f} s")
        if not warm:
            raise SystemExit("a promotion read the state tables: no warm figure")
        seconds.append(took)
        gaps.append(asker.gap)
    return seconds, gaps


def switchovers(two: list[Node], endpoints: list[str], runs: int) -> tuple[list[float], list[float]]:
    """Hand over to and fro; both keep their engines, so a run takes seconds: (promotions, gaps) in seconds."""
    seconds, gaps = [], []
    for _ in range(runs):
        leader = next(node for node in two if leads(node))
        other = next(node for node in two if node is not leader)
        wait_for("a follower", lambda: follows(other))  # noqa: B023
        asker = Asker(other.port)
        asker.start()
        time.sleep(0.3)
        command = [sys.executable, "-m", "luigi_ha.appliance.cli", "switchover", other.name, "--database", "postgresql://x/x"]
        subprocess.run([*command, "--etcd-endpoints", ",".join(endpoints)], check=True, stdout=subprocess.DEVNULL)
        wait_for("the other one to lead", lambda: leads(other))  # noqa: B023
        asker.over.set()
        asker.join()
        seconds.append(other.promotions()[-1][0])
        gaps.append(asker.gap)
    return seconds, gaps


def summary(name: str, seconds: list[float], gaps: list[float]) -> dict[str, Any]:
    if not seconds:
        return {}
    return {
        f"{name}_runs": len(seconds), f"{name}_promotion_p50_s": statistics.median(seconds),
        f"{name}_promotion_max_s": max(seconds), f"{name}_gap_p50_s": statistics.median(gaps),
        f"{name}_gap_max_s": max(gaps),
    }  # fmt: skip


def lag(two: list[Node], seconds: int, connections: int) -> dict[str, float]:
    """The follower's arrears under add_task calls."""
    leader = next(node for node in two if leads(node))
    other = next(node for node in two if node is not leader)
    ages, behind, over = [], [], threading.Event()

    def look() -> None:
        while not over.is_set():
            mirror = other.health().get("mirror")
            if mirror:
                ages.append(mirror["age"])
                behind.append(mirror["behind"])
            time.sleep(0.05)

    looker = threading.Thread(target=look, daemon=True)
    looker.start()
    rate = throughput(leader.port, "add_task", connections, seconds, keep_alive=True)
    over.set()
    looker.join()
    ages.sort()
    return {
        "calls_per_second": rate["per_second"], "age_p50_s": ages[len(ages) // 2], "age_max_s": ages[-1],
        "behind_max": max(behind), "looks": len(ages),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=20, help="switchovers")
    parser.add_argument("--kills", type=int, default=3, help="each is followed by reading the whole state again")
    parser.add_argument("--load", type=int, default=20, help="seconds of load for the mirror's lag")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    need_wrk()
    figures: dict[str, Any] = {"tasks": options.tasks, "cpus": os.cpu_count()}
    with nodes(options.tasks) as (two, endpoints):
        say("a cold start: nobody to take over from")
        two[0].start()
        figures["cold_seconds"] = wait_for("the first node to lead", lambda: leads(two[0]))
        two[1].start()
        say(f"  {figures['cold_seconds']:.1f} s; now the second node")
        wait_for("the second node to follow", lambda: follows(two[1]))
        figures |= summary("kill", *kills(two, options.kills))
        wait_for("a leader and a follower", lambda: any(map(leads, two)) and any(map(follows, two)))
        figures |= summary("switchover", *switchovers(two, endpoints, options.runs))
    with nodes(0) as (two, _endpoints):
        say("the mirror's lag under load")
        for node in two:
            node.start()
        wait_for("a leader and a follower", lambda: any(map(leads, two)) and any(map(follows, two)))
        figures["mirror"] = lag(two, options.load, options.connections)
    for name, value in figures.items():
        print(f"{name}: {value}")
    if options.json:
        write_json(options.json, figures)


if __name__ == "__main__":
    main()
