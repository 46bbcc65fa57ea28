"""`luigi-ha drill run --on hosts` on a cluster that asks for tokens and client certificates; no address moves."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from luigi_ha.appliance.api.access_roles import Role
from luigi_ha.appliance.exit_codes import ExitCode
from luigi_ha.appliance.lab.ports import free_port
from tests.access.certificates import HERE
from tests.access.test_clusters import VIEWER, Nodes, nodes
from tests.access.tokens import keep, made
from tests.ha.authority import Authority
from tests.support.etcd import etcd_cluster
from tests.support.patience import patient
from tests.support.servers import MEMORY, PostgresServer, postgres_server, postgres_standby

pytestmark = [pytest.mark.postgresql, pytest.mark.timeout(240)]
OPERATOR = made(Role.OPERATOR, "boss")


class Cluster:
    """Two nodes, etcd, and a primary with a synchronous standby."""

    def __init__(self, both: Nodes, primary: PostgresServer, config: Path, environment: dict[str, str]) -> None:
        self.both, self.primary = both, primary
        self._config = config
        self._environment = environment

    def drill(self, reports: Path, token: str, *faults: str) -> "subprocess.CompletedProcess[str]":
        command = [str(Path(sys.executable).with_name("luigi-ha")), "drill", "run", *faults]
        command += ["--on", "hosts", "--yes", "--json"]
        ours = {**self._environment, "LUIGI_HA_CONFIG": str(self._config), "LUIGI_HA_TOKEN": token}
        return subprocess.run(
            [*command, "--reports", str(reports)], env=ours, capture_output=True, text=True, timeout=patient(180),
            check=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    directory = tmp_path_factory.mktemp("cluster")
    authority = Authority(directory / "authority")
    pair = authority.issue("operator", HERE)
    ports = {"n1": free_port(), "n2": free_port()}
    with ExitStack() as stack:
        etcd = stack.enter_context(etcd_cluster(1))
        primary = stack.enter_context(postgres_server(parent=MEMORY))
        standby = stack.enter_context(postgres_standby(primary, "two"))
        primary.synchronous("two")
        database = f"postgresql://luigi@127.0.0.1:{primary.port},127.0.0.1:{standby.port}/luigi"
        options = ("--etcd-endpoints", etcd.endpoints[0], "--database-failover", "off")
        both = stack.enter_context(nodes(directory, authority, database, *options))
        keep(both.store, OPERATOR)
        for name, port in ports.items():
            both.start(name, "--name", name, "--port", str(port), "--advertise", f"https://127.0.0.1:{port}")
        both.eventually(lambda: all(both.health(port).get("ready") for port in ports.values()))
        config = directory / "luigi-ha.toml"
        told = {
            "database": database, "etcd_endpoints": etcd.endpoints[0], "name": "n1", "auth": "on",
            "database_failover": "off", "host": "127.0.0.1", "advertise": f"https://127.0.0.1:{ports['n1']}",
            "tls_certificate": pair.certificate, "tls_key": pair.key, "tls_ca": pair.authority,
        }  # fmt: skip
        config.write_text("".join(f'{name} = "{value}"\n' for name, value in told.items()))
        yield Cluster(both, primary, config, dict(os.environ))


def test_it_is_drilled_with_a_token_and_a_certificate_shown(cluster: Cluster, tmp_path: Path) -> None:
    done = cluster.drill(tmp_path, OPERATOR.text)
    assert done.returncode == ExitCode.OK, (done.stdout[-2000:], done.stderr[-2000:])
    for one in json.loads(done.stdout)["rounds"]:
        figures = one["figures"]
        assert figures["lost"] == figures["failed_in_flight"] == figures["failed_after"] == figures["twice"] == 0
        assert figures["done"] == figures["tasks"] == 7
    kept = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert OPERATOR.text not in kept + done.stdout + done.stderr


def test_without_an_operators_token_nothing_is_begun(cluster: Cluster, tmp_path: Path) -> None:
    for token, said in ((VIEWER.text, "403"), ("nonsense", "401")):
        done = cluster.drill(tmp_path, token)
        assert (done.returncode, said in done.stderr) == (ExitCode.CONFIG, True), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_while_replication_is_asynchronous_nothing_is_begun(cluster: Cluster, tmp_path: Path) -> None:
    cluster.primary.synchronous()
    try:
        done = cluster.drill(tmp_path, OPERATOR.text)
    finally:
        cluster.primary.synchronous("two")
    assert done.returncode == ExitCode.FAILED, done.stderr
    assert "not begun: " in done.stderr
    assert "synchronous" in done.stderr
    assert list(tmp_path.iterdir()) == []
