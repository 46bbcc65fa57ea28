"""doctor: every reason why a node cannot lead is found, named, and comes with what would be right."""

import asyncio
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from luigi_ha.appliance.cli import doctor_etcd
from luigi_ha.appliance.cli.doctor_certificates import valid_between
from luigi_ha.appliance.cli.doctor_clock import others
from luigi_ha.appliance.cli.pairing import lock_directory
from luigi_ha.appliance.engine.changes import Epoch
from luigi_ha.appliance.lab.ports import free_port
from luigi_ha.appliance.store import open_store
from luigi_ha.ha.elector import Candidate
from luigi_ha.ha.etcd.config import EtcdConfig
from luigi_ha.ha.etcd.opening import etcd_elector
from luigi_ha.ha.filelock import FileLockElector
from luigi_ha.ha.lease import Timing
from luigi_ha.ha.vip import refusals
from luigi_ha.ha.vip.configured import configured
from luigi_ha.ha.vip.kernel import Kernel, link
from tests.api.test_life import process
from tests.cli.test_commands import luigi_ha
from tests.ha.authority import Authority
from tests.support import servers
from tests.support.etcd import Cluster, etcd_cluster
from tests.vip.segment import Segment, segment, why_not

VERDICTS = ("ok", "warn", "fail")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with etcd_cluster() as running:
        yield running


@pytest.fixture(scope="module")
def postgres() -> Iterator[servers.PostgresServer]:
    with servers.postgres_server(parent=servers.MEMORY) as server:
        yield server


@pytest.fixture(scope="module")
def net() -> Iterator[Segment]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with segment() as made:
        yield made


@dataclass
class Diagnosis:
    code: int
    findings: list[dict[str, str]]

    def of(self, check: str, where: str = "") -> list[tuple[str, str]]:
        """(verdict, what) of each finding of this check, about a place that contains `where`."""
        return [(f["verdict"], f["what"]) for f in self.findings if f["check"] == check and where in f["where"]]

    def one(self, check: str, where: str) -> tuple[str, str]:
        found = self.of(check, where)
        assert len(found) == 1, self.findings
        return found[0]


def doctor(**options: object) -> Diagnosis:
    port = free_port()
    Path("ha.toml").write_text(
        "".join(f"{name} = {json.dumps(value)}\n" for name, value in ({"port": port} | options).items())
    )
    done = luigi_ha("doctor", "--config", "ha.toml", "--json")
    assert done.stderr == ""
    document = json.loads(done.stdout)
    findings = document["findings"]
    for finding in findings:
        assert set(finding) == {"check", "verdict", "where", "what", "expected"}
        assert finding["verdict"] in VERDICTS
        assert bool(finding["expected"]) == (finding["verdict"] != "ok"), finding
        assert finding["what"]
        assert finding["where"]
    failed = any(finding["verdict"] == "fail" for finding in findings)
    assert (done.returncode, document["ok"]) == ((1, False) if failed else (0, True))
    return Diagnosis(done.returncode, findings)


def test_a_healthy_node_that_does_not_run_and_nothing_is_left_behind() -> None:
    found = doctor()
    assert found.code == 0
    assert {"options", "clock", "versions", "port", "disk", "database", "node"} <= {f["check"] for f in found.findings}
    assert found.one("database", "sqlite:///") == ("ok", "not there yet; made at the first start")
    assert sorted(path.name for path in Path().iterdir()) == ["ha.toml"]


def test_it_is_for_people_too() -> None:
    done = luigi_ha("doctor", "--database", "sqlite:////nowhere/at/all.db", "--port", str(free_port()))
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert any(line.split()[:3] == ["fail", "disk", "/nowhere/at:"] for line in lines)
    assert any(line.strip().startswith("expected ") for line in lines)
    assert lines[-1].endswith("1 fail: this node cannot lead as it is")


def test_times_that_contradict_each_other_are_told_with_their_numbers() -> None:
    found = doctor(renew_every=1.5)
    verdict, what = found.one("options", "")
    assert verdict == "fail"
    assert "1.5 + 1.5 = 3, 3 - 0.5 = 2.5" in what
    assert found.of("clock")  # what needs no options is examined nevertheless
    assert not found.of("database")


def test_a_port_is_free_ours_or_somebody_elses(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        number = foreign.getsockname()[1]
        found = doctor(host="127.0.0.1", port=number)  # it is asked, and says nothing
    verdict, what = found.one("port", str(number))
    assert (verdict, what) == ("fail", "in use by a program that is not luigi-ha")
    assert doctor(host="127.0.0.1", port=number).one("port", str(number)) == ("ok", "free")
    (tmp_path / "served").mkdir()
    with process(tmp_path / "served") as served:
        verdict, what = doctor(host="127.0.0.1", port=served.port).one("port", str(served.port))
        assert verdict == "ok"
        assert what.startswith("luigi-ha listens there")


def test_a_pair_on_one_machine(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/luigi.db"

    async def scenario() -> None:
        left = FileLockElector(lock_directory(database), Candidate("left", "unix:/none"), Timing())
        await left.campaign()
        await left.register({"able": "yes", "why": ""})
        found = await asyncio.to_thread(lambda: doctor(database=database, name="right"))
        verdict, what = found.one("node", "leader")
        assert (verdict, what) == ("ok", f"left leads, epoch {left.epoch}")
        assert found.of("node", "left") == [("ok", "runs, can lead")]
        await left.close()
        found = await asyncio.to_thread(lambda: doctor(database=database, name="right"))
        assert found.one("node", "leader")[0] == "warn"

    asyncio.run(scenario())


def test_clocks_that_differ() -> None:
    agree, ahead, behind = others({"n1": 0.7, "n2": 90.2, "n3": -3.4})
    assert agree.verdict.value == "ok"
    assert (ahead.verdict.value, ahead.what) == ("warn", "its clock is 90 s ahead of this machine's")
    assert behind.what == "its clock is 3 s behind this machine's"


@pytest.mark.postgresql
def test_the_database_from_unreachable_to_strict(postgres: servers.PostgresServer) -> None:
    gone = doctor(database=f"postgresql://luigi@127.0.0.1:{free_port()}/luigi")
    assert gone.one("database", "postgresql://")[0] == "fail"
    found = doctor(database=postgres.url())
    assert found.one("database", "schema") == ("fail", "no tables of luigi-ha")
    open_store(postgres.url()).upgrade()
    found = doctor(database=postgres.url())
    assert found.one("database", "schema")[0] == "ok"
    assert found.one("database", "primary")[0] == "ok"
    assert found.one("database", "standbys")[0] == "warn"
    assert found.code == 0
    found = doctor(database=postgres.url(), durability="strict")
    verdict, what = found.one("database", "standbys")
    assert verdict == "fail"
    assert "synchronous_standby_names is empty" in what


@pytest.mark.postgresql
def test_an_etcd_that_has_lost_its_past(postgres: servers.PostgresServer, cluster: Cluster) -> None:
    store = open_store(postgres.url())
    store.upgrade()
    store.take_leadership("n1", Epoch(1 + store.position().epoch))
    given = {"database": postgres.url(), "etcd_endpoints": cluster.endpoints, "name": "n1"}
    cluster.members[0].ask("/v3/kv/put", key="eA==", value="eA==")
    store.take_leadership("n1", Epoch(10**6))
    verdict, what = doctor(**given).one("etcd", "epoch")
    assert verdict == "warn"
    assert "the database has 1000000 already: etcd has lost its past" in what


def test_etcds_members_one_by_one(cluster: Cluster) -> None:
    given = {"database": "postgresql://luigi@127.0.0.1:9/luigi", "etcd_endpoints": cluster.endpoints, "cluster": "one"}
    found = doctor(**given)
    assert [verdict for verdict, _ in found.of("etcd", "http://")] == ["ok"] * 3
    assert sum("leads etcd" in what for _, what in found.of("etcd", "http://")) == 1
    assert found.one("etcd", "lease")[0] == "ok"
    assert found.one("node", "leader")[0] == "warn"
    assert [verdict for verdict, _ in found.of("clock", "http://")] == ["ok"] * 3
    try:
        cluster.members[1].kill()
        found = doctor(**given)
        assert [verdict for verdict, _ in found.of("etcd", "http://")] == ["ok", "warn", "ok"]
        cluster.members[2].kill()
        found = doctor(**given)
        assert [verdict for verdict, _ in found.of("etcd", "http://")] == ["fail"] * 3
        assert found.one("etcd", "etcd")[0] == "fail"
    finally:
        cluster.heal()


def test_a_lease_longer_than_asked_for() -> None:
    """Trap 3."""
    slow = ("--election-timeout=5000", "--heartbeat-interval=500")
    with etcd_cluster(1, options=slow) as cluster:
        found = doctor(database="postgresql://luigi@127.0.0.1:9/luigi", etcd_endpoints=cluster.endpoints)
    verdict, what = found.one("etcd", "lease")
    assert verdict == "warn"
    assert what == "8 s granted for lease_ttl = 3: failover takes that long"


def test_what_the_nodes_say_of_themselves(cluster: Cluster) -> None:
    async def scenario() -> Diagnosis:
        config = EtcdConfig(tuple(cluster.endpoints))
        here = socket.gethostname()
        about = {
            "n1": {"able": "no", "why": "the database cannot be reached", "host": here, "version": "0.1.0"},
            "n2": {"able": "yes", "why": "", "host": "elsewhere", "version": "0.0.9"},
        }
        electors = [
            etcd_elector(config, Candidate(name, "http://127.0.0.1:9"), Timing(), "/luigi-ha/said/") for name in about
        ]
        for elector in electors:
            await elector.register(about[elector.candidate.name])
        given = {"database": "postgresql://luigi@127.0.0.1:9/luigi", "etcd_endpoints": cluster.endpoints}
        mine = await asyncio.to_thread(lambda: doctor(**given, cluster="said", name="n1"))
        twice = await asyncio.to_thread(lambda: doctor(**given, cluster="said", name="n2"))
        for elector in electors:
            await elector.close()
        assert twice.of("node", "n2")[0] == ("fail", "a node of this name runs on elsewhere")
        return mine

    found = asyncio.run(scenario())
    assert found.one("node", "n1") == ("fail", "runs, but cannot lead: the database cannot be reached")
    assert found.of("node", "n2") == [("ok", "present on elsewhere, can lead"), ("warn", "luigi-ha 0.0.9, here 0.1.0")]


def test_the_address(net: Segment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_etcd, "PATIENCE", 0.3)  # no etcd is there
    given = {"database": "postgresql://luigi@127.0.0.1:9/luigi", "etcd_endpoints": ["http://127.0.0.1:9"]}
    vip = "10.9.0.100"

    def asked(address: str = f"{vip}/24", interface: str = "eth0") -> Diagnosis:
        with net.a.inside():
            return doctor(**given, vip=[address], vip_interface=interface)

    assert asked(interface="eth7").one("address", "")[0] == "fail"
    found = asked(f"{net.a.own4}/24")
    assert found.one("address", "")[0] == "fail"
    assert "belongs to this host itself" in found.one("address", "")[1]
    assert asked().one("address", vip) == ("ok", "nobody answers for it")
    assert ("warn", "eth0 has no address of its own in this subnet") in asked("10.77.0.1/24").of("address", "10.77")
    net.b.ip("addr", "add", f"{vip}/24", "dev", "eth0")
    assert asked().one("address", vip) == ("ok", f"{net.b.mac} answers for it")
    with net.a.inside(), Kernel() as kernel:
        there = link("eth0")
        assert there is not None
        kernel.put(configured([f"{vip}/24"])[0], there.index, 30)
    assert asked().one("address", vip) == ("fail", f"held here, and {net.b.mac} answers for it too")
    net.b.ip("addr", "del", f"{vip}/24", "dev", "eth0")
    assert asked().one("address", vip) == ("ok", "held here")
    assert net.a.has(vip)  # an examination removes nothing
    assert asked().of("address", "refusals") == []
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(refusals, "ALSO", ())
    assert asked().one("address", "refusals")[0] == "warn"  # nothing would suppress them


def test_certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_etcd, "PATIENCE", 0.3)  # no etcd is there
    authority = Authority(tmp_path / "authority")
    good, old = authority.issue("good"), authority.issue("old", expired=True)
    given = {"database": "postgresql://luigi@127.0.0.1:9/luigi", "etcd_endpoints": ["https://127.0.0.1:9"]}
    given["etcd_ca_file"] = str(authority.certificate)  # ends in two days
    found = doctor(**given, etcd_cert_file=str(good.certificate), etcd_key_file=str(good.key))
    assert found.one("certificates", "etcd_ca_file")[0] == "warn"
    assert found.one("certificates", "etcd_cert_file")[0] == "ok"
    assert found.one("certificates", "etcd_key_file")[1] == "everybody on this machine can read it"
    assert found.one("certificates", "https://127.0.0.1:9")[0] == "warn"
    found = doctor(**given, etcd_cert_file=str(old.certificate), etcd_key_file=str(old.key))
    assert found.one("certificates", "etcd_cert_file") == ("fail", "has expired on 2020-02-01 00:00Z")
    Path("empty.pem").write_text("nothing")
    found = doctor(database="postgresql://luigi@127.0.0.1:9/luigi?sslrootcert=empty.pem&sslcert=none.pem")
    assert found.one("certificates", "sslrootcert") == ("fail", "holds no certificate")
    assert found.one("certificates", "sslcert")[1] == "cannot be read: No such file or directory"


def test_what_is_no_certificate() -> None:
    for size in (0, 1, 10, 200):
        with pytest.raises(ValueError, match="not a certificate"):
            valid_between(os.urandom(size))
