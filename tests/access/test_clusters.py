"""Whole nodes of their own, over TLS and with tokens: two with etcd and PostgreSQL, and a pair that shares a port."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import psutil
import pytest

from luigi_ha.appliance.api.access_roles import Role
from luigi_ha.appliance.lab.ports import free_port
from luigi_ha.appliance.store import open_store
from tests.access.certificates import HERE, trusting
from tests.access.tokens import Made, keep, made
from tests.ha.authority import Authority
from tests.support.etcd import etcd_cluster
from tests.support.patience import patient
from tests.support.servers import MEMORY, postgres_server

WAIT = 90.0  # s
WORKER, VIEWER = made(Role.WORKER, "etl"), made(Role.VIEWER, "eyes")


class Nodes:
    """`luigi-ha serve`, several times."""

    def __init__(self, directory: Path, authority: Authority, database: str, *arguments: str) -> None:
        store = open_store(database)
        store.upgrade()
        for token in (WORKER, VIEWER):
            keep(store, token)
        self.store = store
        pair = authority.issue("node", HERE)
        tls = {"tls_certificate": pair.certificate, "tls_key": pair.key, "tls_ca": pair.authority}
        tls |= {"tls_client_ca": pair.authority, "tls_client_required": "true", "auth": "on"}
        self._environment = {**os.environ, **{f"LUIGI_HA_{name.upper()}": str(value) for name, value in tls.items()}}
        self._command = [sys.executable, "-m", "luigi_ha.appliance.cli", "serve", "--host", "127.0.0.1", *arguments]
        self._command += ["--database", database]
        self._context = trusting(authority, authority.issue("caller"))
        self._directory = directory
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *arguments: str) -> None:
        with (self._directory / f"{name}.log").open("wb") as out:
            process = subprocess.Popen([*self._command, *arguments], stdout=out, stderr=out, env=self._environment)
        self.processes[name] = process

    def command(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another command with the nodes' options."""
        command = [sys.executable, "-m", "luigi_ha.appliance.cli", name, "--database", self._command[-1], *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, env=self._environment, timeout=patient(60), check=False
        )

    def log(self, name: str) -> str:
        return (self._directory / f"{name}.log").read_text()

    def ask(self, port: int, path: str, body: bytes | None = None, token: Made | None = WORKER) -> tuple[int, Any]:
        request = Request(f"https://127.0.0.1:{port}{path}", body, {} if token is None else token.headers)
        try:
            with urlopen(request, timeout=patient(20), context=self._context) as reply:
                return reply.status, json.load(reply)
        except HTTPError as error:
            with error:
                return error.code, json.load(error)

    def call(self, port: int, method: str, token: Made = WORKER, **arguments: Any) -> tuple[int, Any]:
        return self.ask(port, f"/api/{method}", urlencode({"data": json.dumps(arguments)}).encode(), token)

    def health(self, port: int) -> dict[str, Any]:
        try:
            found: dict[str, Any] = self.ask(port, "/health", token=None)[1]
        except OSError:
            return {}
        return found

    def eventually(self, holds: Callable[[], bool]) -> None:
        until = time.monotonic() + patient(WAIT)
        while not holds():
            assert time.monotonic() < until, "\n\n".join(map(self.log, self.processes))
            time.sleep(0.1)

    def end(self) -> None:
        for name, process in self.processes.items():
            started = re.findall(r"scheduler_started pid=(\d+)", self.log(name))
            for pid in (process.pid, *map(int, started)):
                with suppress(psutil.Error):
                    if "luigi_ha.appliance.cli" in " ".join(psutil.Process(pid).cmdline()):
                        os.kill(pid, signal.SIGKILL)
            process.wait()
        self.store.close()


@contextmanager
def nodes(*given: Any) -> Iterator[Nodes]:
    running = Nodes(*given)
    try:
        yield running
    finally:
        running.end()


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "ours")


@pytest.mark.postgresql
def test_a_cluster_over_tls_passes_calls_on_and_fails_over_with_the_same_tokens(
    ours: Authority, tmp_path: Path
) -> None:
    ports = {"n1": free_port(), "n2": free_port()}
    with (
        etcd_cluster(1) as etcd,
        postgres_server(parent=MEMORY) as postgres,
        nodes(tmp_path, ours, postgres.url("luigi"), "--etcd-endpoints", etcd.endpoints[0]) as both,
    ):
        for name, port in ports.items():
            both.start(name, "--name", name, "--port", str(port), "--advertise", f"https://127.0.0.1:{port}")
        both.eventually(
            lambda: sorted(str(both.health(port).get("state")) for port in ports.values()) == ["leading", "standby"]
        )
        both.eventually(lambda: all(both.health(port)["ready"] for port in ports.values()))
        leader, standby = sorted(ports, key=lambda name: both.health(ports[name])["state"])
        status, _ = both.call(ports[standby], "add_task", task_id="A_1", worker="w", family="A")
        assert status == 200
        assert [entry.actor for entry in both.store.history("A_1")] == ["etl"]
        assert both.call(ports[standby], "pause")[0] == 403
        assert both.call(ports[standby], "ping", VIEWER, worker="w")[0] == 403
        assert both.ask(ports[standby], "/api/cluster", token=None)[0] == 401
        status, cluster = both.ask(ports[standby], "/api/cluster", token=VIEWER)
        assert (status, [node["answers"] for node in cluster["nodes"]]) == (200, [True, True])

        with pytest.raises(OSError, match=r"certificate required|CERTIFICATE_REQUIRED|alert|reset|EOF|closed"):
            urlopen(f"https://127.0.0.1:{ports[leader]}/health", timeout=patient(10), context=trusting(ours))

        both.processes[leader].terminate()
        assert both.call(ports[standby], "add_task", task_id="A_2", worker="w", family="A")[0] == 200
        both.eventually(lambda: both.health(ports[standby]).get("state") == "leading")
        both.store.revoke_token(WORKER.kept.token_id, time.time())
        both.eventually(lambda: both.call(ports[standby], "ping", worker="w")[0] == 401)
        said = both.log(leader) + both.log(standby)
    for secret in (WORKER, VIEWER):
        assert secret.text not in said
    assert "leader_not_trusted" not in said
    assert "relay_broken" not in said


def test_a_pair_over_tls_knows_its_own_port(ours: Authority, tmp_path: Path) -> None:
    port = free_port()
    with nodes(tmp_path, ours, f"sqlite:///{tmp_path}/luigi.db", "--port", str(port)) as pair:
        pair.start("one")
        pair.eventually(lambda: pair.health(port).get("state") == "leading")
        pair.start("two")
        pair.eventually(lambda: "transition=stand_by" in pair.log("two"))
        for number in range(20):  # the kernel deals connections to both
            status, said = pair.call(port, "add_task", task_id=f"A_{number}", worker="w", family="A")
            assert status == 200, said
        assert pair.call(port, "pause")[0] == 403
        found = pair.command("doctor", "--port", str(port))
        assert f"port *:{port}: luigi-ha listens there (" in found.stdout
        pair.processes["one"].terminate()
        pair.processes["one"].wait(WAIT)
        status, said = pair.ask(port, "/api/task_list?data=%7B%22status%22%3A%22PENDING%22%7D")
        assert (status, len(said["response"])) == (200, 20)
