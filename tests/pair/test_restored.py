"""PostgreSQL is restored from a backup: the nodes of a cluster do not lead on it until a person accepts it."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from luigi_ha.appliance.lab.ports import free_port
from tests.pair.running import get
from tests.support.etcd import etcd_cluster
from tests.support.patience import patient
from tests.support.servers import MEMORY, postgres_server


class Node:
    def __init__(self, directory: Path, name: str, database: str, etcd: str) -> None:
        self.port, self.log_file = free_port(), directory / f"{name}.log"
        self.given = ["--database", database, "--etcd-endpoints", etcd]
        self.command = [sys.executable, "-m", "luigi_ha.appliance.cli"]
        with self.log_file.open("a") as out:
            self.popen = subprocess.Popen(
                [*self.command, "serve", *self.given, "--name", name, "--host", "127.0.0.1", "--port", str(self.port),
                 "--advertise", f"http://127.0.0.1:{self.port}"], stdout=out, stderr=out,
            )  # fmt: skip

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def end(self) -> None:
        for pid in [self.popen.pid, *map(int, re.findall(r"scheduler_started pid=(\d+)", self.log))]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.popen.wait()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "LUIGI_HA_ETCD_ENDPOINTS": self.given[3]}
        return subprocess.run(
            [*self.command, *arguments],
            capture_output=True,
            text=True,
            timeout=patient(60),
            check=False,
            env=environment,
        )

    def leads(self) -> bool:
        try:
            return bool(get(f"http://127.0.0.1:{self.port}/health")["leading"])
        except OSError:
            return False


def eventually(holds: Callable[[], object], what: Callable[[], str]) -> None:
    until = time.monotonic() + patient(90)
    while not holds():
        assert time.monotonic() < until, what()
        time.sleep(0.05)


@contextmanager
def ended(nodes: list[Node]) -> Iterator[None]:
    try:
        yield
    finally:
        for node in nodes:
            node.end()


@pytest.mark.postgresql
def test_a_restored_cluster_waits_for_a_person_whether_it_runs_or_is_started_on_it(tmp_path: Path) -> None:
    with etcd_cluster(1) as etcd, postgres_server(parent=MEMORY) as postgres:
        database, nodes = postgres.url("luigi"), []
        with ended(nodes):
            one = Node(tmp_path, "n1", database, etcd.endpoints[0])
            nodes.append(one)
            eventually(one.leads, lambda: one.log)
            eventually(lambda: " serving " in one.log, lambda: one.log)
            backup = "UPDATE leadership SET epoch = 1, holder = 'earlier', seq = 0"  # as a backup would have it
            postgres.sql(backup, database="luigi")
            eventually(lambda: "database_is_older" in one.log, lambda: one.log)
            assert not one.leads()
            one.end()

            two = Node(tmp_path, "n2", database, etcd.endpoints[0])
            nodes.append(two)
            assert two.popen.wait(patient(60)) == 2, two.log
            assert "database_is_older" in two.log
            assert "luigi-ha db accept" in two.log
            assert "gate_open" not in two.log
            accepted = one.run("db", "accept", "--database", database)
            assert accepted.returncode == 0, accepted.stderr
            assert "epoch 1" in accepted.stdout
            three = Node(tmp_path, "n3", database, etcd.endpoints[0])
            nodes.append(three)
            eventually(three.leads, lambda: three.log)
            refused = one.run("db", "accept", "--database", database)
            assert refused.returncode == 1
            assert "n3 leads" in refused.stderr
