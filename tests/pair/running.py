"""`luigi-ha serve` twice with one command line, and a client that calls all the time."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import psutil

from luigi_ha.appliance.lab.ports import free_port
from luigi_ha.appliance.lab.processes import ended, held
from tests.support.patience import patient

WAIT = 90.0  # s for what takes one or two on a machine that has nothing else to do


class Node:
    """One `luigi-ha serve`: keeper and scheduler."""

    def __init__(
        self,
        directory: Path,
        number: int,
        port: int,
        environment: dict[str, str],
        database: str = "",
        host: str = "127.0.0.1",
    ) -> None:
        self.log_file = directory / f"serve-{number}.log"
        database = database or f"sqlite:///{directory}/luigi.db"
        command = [sys.executable, "-m", "luigi_ha.appliance.cli", "serve", "--database", database]
        command += ["--host", host, "--port", str(port)]
        with self.log_file.open("w") as out:
            self.popen = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **environment})

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    @property
    def name(self) -> str:
        return f"{os.uname().nodename}:{self.popen.pid}"

    @property
    def scheduler(self) -> int:
        """The pid of the scheduler started last."""
        return int(re.findall(r"scheduler_started pid=(\d+)", self.log)[-1])

    def kill_both(self) -> None:
        with held([self.scheduler, self.popen.pid]) as watched:
            for pid in watched:
                os.kill(pid, signal.SIGKILL)
            assert not ended(watched, patient(WAIT)), "killed, and still there"
        self.popen.wait()

    def end(self) -> None:
        """Nothing of it is left, whatever state it was in."""
        family = [self.popen.pid, *(int(pid) for pid in re.findall(r"scheduler_started pid=(\d+)", self.log))]
        for pid in family:
            if psutil.pid_exists(pid) and "luigi_ha.appliance.cli" in " ".join(_command_line(pid)):
                os.kill(pid, signal.SIGKILL)
        self.popen.wait()


def _command_line(pid: int) -> list[str]:
    try:
        return psutil.Process(pid).cmdline()
    except psutil.Error:
        return []


class Pair:
    def __init__(self, directory: Path, data: Path | None = None, **environment: str) -> None:
        self.directory = directory
        self.data = data or directory  # where the database is
        self.port = free_port()
        self.nodes: list[Node] = []
        self._environment = {f"LUIGI_HA_{name.upper()}": value for name, value in environment.items()}

    @property
    def database(self) -> str:
        return f"sqlite:///{self.data}/luigi.db"

    def start(self) -> Node:
        node = Node(self.directory, len(self.nodes) + 1, self.port, self._environment, self.database)
        self.nodes.append(node)
        return node

    def end(self) -> None:
        for node in self.nodes:
            node.end()

    def cluster(self) -> dict[str, Any]:
        return get(f"http://127.0.0.1:{self.port}/api/cluster")  # type: ignore[no-any-return]

    def call(self, method: str, **arguments: Any) -> Any:
        body = urlencode({"data": json.dumps(arguments)}).encode()
        return get(f"http://127.0.0.1:{self.port}/api/{method}", body)["response"]

    def leadership(self, after: int = 0) -> tuple[int, Node]:
        """The epoch, later than `after`, and the node that leads under it, once one does. (Both from one reply: a node
        that has just become a standby may not know of any yet.)"""
        until = time.monotonic() + patient(WAIT)
        while time.monotonic() < until:
            try:
                cluster = self.cluster()
            except OSError:
                cluster = {}
            if cluster.get("leader") and cluster["epoch"] > after and cluster["waiting_for"] is None:
                return cluster["epoch"], next(node for node in self.nodes if node.name == cluster["leader"])
            time.sleep(0.02)
        raise AssertionError("nobody leads:\n" + "\n\n".join(node.log for node in self.nodes))

    def leader(self, after: int = 0) -> Node:
        return self.leadership(after)[1]

    def standby(self) -> Node:
        leader = self.leader()
        return next(node for node in self.nodes if node is not leader and node.popen.poll() is None)

    def ready(self) -> Self:
        """One leads, and each other one follows."""
        self.leader()
        for node in self.nodes:
            self.eventually(lambda node=node: "transition=stand_by" in node.log, node.log_file.name)
        return self

    @staticmethod
    def eventually(holds: Any, what: str) -> None:
        until = time.monotonic() + patient(WAIT)
        while not holds():
            assert time.monotonic() < until, what
            time.sleep(0.02)


def get(url: str, body: bytes | None = None) -> Any:
    try:
        with urlopen(url, body, timeout=patient(10)) as reply:
            return json.load(reply)
    except HTTPError as error:
        with error:
            raise OSError(f"{error.code} {error.read()!r}") from None


@contextmanager
def pair(directory: Path, data: Path | None = None, **environment: str) -> Iterator[Pair]:
    """Two nodes, one of which leads."""
    two = Pair(directory, data, **environment)
    try:
        two.start()
        two.start()
        yield two.ready()
    finally:
        two.end()


class Caller(threading.Thread):
    """Adds tasks, one after the other, each on a connection of its own, and remembers what was acknowledged."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.acknowledged: list[str] = []
        self.failed: list[str] = []
        self.failed_begun: list[float] = []  # when each of them began (monotonic, s)
        self.longest = 0.0
        self._done = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        time.sleep(0.3)
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(0.3)
        self._done.set()
        self.join()

    def run(self) -> None:
        number = 0
        while not self._done.is_set():
            number += 1
            task = f"{self.name}_{number}"
            data = urlencode({"data": json.dumps({"worker": self.name, "task_id": task})}).encode()
            began = time.monotonic()
            try:
                with urlopen(f"http://127.0.0.1:{self.port}/api/add_task", data, timeout=patient(10)) as reply:
                    reply.read()
                self.acknowledged.append(task)
            except HTTPError as error:
                with error:
                    self._note(began, f"{error.code} {error.read()!r}")
            except OSError as error:
                self._note(began, repr(error))
            self.longest = max(self.longest, time.monotonic() - began)
            time.sleep(0.002)

    def _note(self, began: float, what: str) -> None:
        self.failed.append(what)
        self.failed_begun.append(began)
