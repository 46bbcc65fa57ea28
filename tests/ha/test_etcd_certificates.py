"""Certificates: whom they let in, and what is said of the others. Over each transport."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from luigi_ha.ha.errors import Fatal, Unknown
from luigi_ha.ha.etcd.config import EtcdConfig
from luigi_ha.ha.etcd.opening import etcd_transport
from tests.ha.authority import Authority
from tests.ha.visits import refusal, used
from tests.support.etcd import Cluster, Member, Tls, etcd_cluster
from tests.support.patience import patient


@dataclass
class Guarded:
    """An etcd that demands certificates of `ours`, and one whose own certificate has expired."""

    ours: Authority
    theirs: Authority
    good: Cluster
    expired: Cluster

    def config(self, authority: Authority | None = None, client: Tls | None = None, *clusters: Cluster) -> EtcdConfig:
        return EtcdConfig(
            tuple(cluster.endpoints[0] for cluster in clusters or (self.good,)),
            ca_file=(authority or self.ours).certificate,
            cert_file=client.certificate if client else None,
            key_file=client.key if client else None,
        )


@pytest.fixture(scope="module")
def tls() -> Iterator[Guarded]:
    with TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)  # the servers run as another user
        yield from guarded_by_certificates(directory)


def guarded_by_certificates(directory: Path) -> Iterator[Guarded]:
    ours, theirs = Authority(directory / "ours"), Authority(directory / "theirs")
    good, expired = ours.issue("server"), ours.issue("old-server", expired=True)
    with etcd_cluster(1, good) as one, etcd_cluster(1, expired) as other:
        yield Guarded(ours, theirs, one, other)


def test_certificates_of_both_sides_let_in(tls: Guarded, via: str) -> None:
    asyncio.run(used(tls.config(client=tls.ours.issue("client")), via))


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("member of another authority", "certificate verify failed"),
        ("member whose certificate has expired", "certificate has expired"),
        ("client without a certificate", "certificate required|bad certificate"),
        ("client of another authority", "unknown ca|bad certificate"),
        ("client whose certificate has expired", "expired|bad certificate"),
    ],
)
def test_a_wrong_certificate_is_fatal_and_says_so(tls: Guarded, what: str, said: str, via: str) -> None:
    config = {
        "member of another authority": lambda: tls.config(tls.theirs, tls.ours.issue("c1")),
        "member whose certificate has expired": lambda: tls.config(None, tls.ours.issue("c2"), tls.expired),
        "client without a certificate": tls.config,
        "client of another authority": lambda: tls.config(None, tls.theirs.issue("c3")),
        "client whose certificate has expired": lambda: tls.config(None, tls.ours.issue("c4", expired=True)),
    }[what]()
    error = asyncio.run(refusal(config, via))
    assert isinstance(error, Fatal), repr(error)
    assert any(word in str(error).lower() for word in said.split("|")), str(error)


def test_a_certificate_for_another_name_is_fatal(tls: Guarded, via: str) -> None:
    endpoint = tls.good.endpoints[0].replace("127.0.0.1", "localhost")
    client = tls.ours.issue("c5")
    config = EtcdConfig((endpoint,), ca_file=tls.ours.certificate, cert_file=client.certificate, key_file=client.key)
    assert isinstance(asyncio.run(refusal(config, via)), Fatal)


def test_one_member_with_an_expired_certificate_is_that_members_trouble(tls: Guarded, via: str) -> None:
    config = tls.config(None, tls.ours.issue("c6"), tls.expired, tls.good)
    asyncio.run(used(config, via))

    async def alone() -> None:
        transport = etcd_transport(replace(config, endpoints=(config.endpoints[0], "https://127.0.0.1:1")), via)
        with pytest.raises(Unknown, match="expired"):  # the other may come back
            await transport.read("/", 0.5)
        await transport.close()

    asyncio.run(alone())


def test_a_role_by_common_name_is_granted_over_grpc_and_refused_by_the_gateway(tls: Guarded) -> None:
    """etcd's gateway speaks to etcd with its own certificate, and therefore refuses clients that have a name."""
    client = tls.ours.issue("c7", common="node")
    server = replace(tls.ours.issue("server-2"), demand_client_certificate=True)
    with etcd_cluster(1, server) as cluster:
        config = tls.config(None, client, cluster)
        ask_as(tls, cluster.members[0])
        asyncio.run(used(config, "grpc"))
        with pytest.raises(Fatal, match="permission denied"):
            asyncio.run(used(config, "grpc", "/theirs/"))
        assert isinstance(asyncio.run(refusal(config, "gateway")), Fatal)


def ask_as(tls: Guarded, member: Member) -> None:
    """Give the role `ours` to the user `node`, who has no password, and enable users."""
    client, command = (
        tls.ours.issue("admin", common="root"),
        "role add ours;role grant-permission ours --prefix=true readwrite /ours/",
    )
    command += ";user add root --no-password;user grant-role root root;user add node --no-password"
    command += ";user grant-role node ours;auth enable"
    for each in command.split(";"):
        subprocess.run(
            ["etcdctl", f"--endpoints={member.endpoint}", f"--cacert={client.authority}",
             f"--cert={client.certificate}", f"--key={client.key}", *each.split()],
            check=True, capture_output=True, timeout=patient(20), env={"ETCDCTL_API": "3", "PATH": os.environ["PATH"]},
        )  # fmt: skip
