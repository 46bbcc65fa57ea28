"""Being let in: users and tokens, certificates. Over each transport."""

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from ha.errors import Fatal, HaError, Unknown
from ha.etcd.config import EtcdConfig
from ha.etcd.failures import TokenRefused
from ha.etcd.gateway import Gateway
from ha.etcd.grpc_library import library
from ha.etcd.opening import etcd_transport
from ha.etcd.transport import Put, Transport
from ha.etcd.watch import follow
from tests.support.etcd import Cluster, Member, Tls, etcd_cluster


async def used(config: EtcdConfig, via: str, prefix: str = "/ours/") -> None:
    """Everything an elector does, twice."""
    transport = etcd_transport(config, via)
    try:
        for number in range(2):
            await transport.grant(100 + number, 5, 2.0)
            outcome = await transport.txn([], [Put(f"{prefix}{number}", "v", 100 + number)], 2.0)
            assert await transport.keep_alive(100 + number, 2.0) == 5
            assert f"{prefix}{number}" in (await transport.read(prefix, 2.0)).items
            stream = await transport.stream(prefix, outcome.header.revision, 2.0)
            assert await stream.next(2.0) is not None
            await stream.close()
        for number in range(2):
            await transport.revoke(100 + number, 2.0)
    finally:
        await transport.close()


TRANSPORTS = ("gateway", "grpc")

# ---------------------------------------------------------------------------------------------------- user and password


@pytest.fixture(scope="module")
def guarded() -> Iterator[Member]:
    """One member with users, whose tokens expire after a second without use."""
    with etcd_cluster(1, options=["--auth-token-ttl=1"]) as cluster:
        member = cluster.members[0]
        for via in TRANSPORTS:
            asyncio.run(
                used(EtcdConfig((member.endpoint,), user="early", password="bird"), via)
            )  # before users are enabled
        member.ask("/v3/auth/role/add", name="ours")
        permission = {"permType": "READWRITE", "key": "L291cnMv", "range_end": "L291cnMw"}  # /ours/ to /ours0
        member.ask("/v3/auth/role/grant", name="ours", perm=permission)
        for user in ("root", "node"):
            member.ask("/v3/auth/user/add", name=user, password="secret")
        member.ask("/v3/auth/user/grant", user="root", role="root")
        member.ask("/v3/auth/user/grant", user="node", role="ours")
        member.ask("/v3/auth/enable", x=0)
        yield member


def test_an_expired_token_is_renewed_and_nobody_notices(guarded: Member) -> None:
    """patroni#2552, patroni#2457: token expiry became an outage."""

    async def play(via: str) -> None:
        config = EtcdConfig((guarded.endpoint,), user="node", password="secret")
        transport: Any = etcd_transport(config, via)
        await transport.read("/ours/", 2.0)
        before = transport.tokens.token
        await asyncio.sleep(2.2)
        with pytest.raises(TokenRefused):  # the fault bites
            await with_token(transport, guarded.endpoint, before)
        stream = await transport.stream("/ours/", 1, 2.0)
        await stream.close()
        await transport.read("/ours/", 2.0)
        assert transport.tokens.token != before
        transport.tokens.token = "long.gone"
        async with aclosing(follow(transport, "/ours/", 1.0, 1.0)) as steps:
            await anext(steps)
            later = asyncio.ensure_future(anext(steps))
            await asyncio.sleep(0.1)
            await transport.txn([], [Put("/ours/w", str(time.monotonic()))], 2.0)
            await later
        await transport.close()

    async def main() -> None:
        await asyncio.gather(*(play(via) for via in TRANSPORTS))

    asyncio.run(main())


async def with_token(transport: Any, endpoint: str, token: str) -> None:
    """A read with this token, whatever becomes of it."""
    if isinstance(transport, Gateway):
        await transport.post(endpoint, "/v3/kv/range", {"key": "L291cnMv"}, token)
    else:
        call = transport._unary("KVStub", "Range", library().rpc.RangeRequest(key=b"/ours/"))
        await transport.execute(endpoint, transport.channels.to(endpoint), call, token, 1.0)


async def watched(transport: Transport, prefix: str) -> None:
    stream = await transport.stream(prefix, 1, 5.0)
    try:  # confirmed first, refused next
        await stream.next(2.0)
    finally:
        await stream.close()


@pytest.mark.parametrize(
    ("user", "password", "prefix", "said"),
    [
        ("node", "wrong", "/ours/", "authentication failed"),
        ("nobody", "secret", "/ours/", "authentication failed"),
        (None, None, "/ours/", "user name is empty"),
        ("node", "secret", "/theirs/", "permission denied"),
    ],
)
def test_who_may_not_is_told_so_at_once(
    guarded: Member, user: str | None, password: str | None, prefix: str, said: str, via: str
) -> None:
    async def play() -> None:
        transport = etcd_transport(EtcdConfig((guarded.endpoint,), user=user, password=password), via)
        began = time.monotonic()
        with pytest.raises(Fatal, match=said) as refused:
            await transport.read(prefix, 5.0)
        assert time.monotonic() - began < 2.0
        assert "secret" not in str(refused.value)
        with pytest.raises(Fatal, match=said):
            await anext(follow(transport, prefix, 5.0, 1.0))
        with pytest.raises(Fatal, match=said):
            await watched(transport, prefix)
        await transport.close()

    asyncio.run(play())


# --------------------------------------------------------------------------------------------------------- certificates

OPENSSL_CA = """
[ca]
default_ca = ours
[ours]
new_certs_dir = .
database = index.txt
serial = serial
default_md = sha256
policy = any
unique_subject = no
[any]
organizationName = supplied
commonName = optional
[req]
distinguished_name = dn
[dn]
"""


@dataclass
class Authority:
    """A certificate authority of the openssl command line."""

    directory: Path

    def __post_init__(self) -> None:
        self.directory.mkdir()
        (self.directory / "ca.cnf").write_text(OPENSSL_CA)
        (self.directory / "index.txt").write_text("")
        (self.directory / "serial").write_text("01")
        self._run("req", "-x509", *self._key("ca"), "-out", "ca.pem", "-subj", "/O=luigi-ha tests", "-days", "2",
                  "-addext", "basicConstraints=critical,CA:TRUE")  # fmt: skip

    @property
    def certificate(self) -> Path:
        return self.directory / "ca.pem"

    def issue(self, name: str, host: str = "IP:127.0.0.1", *, expired: bool = False, common: str = "") -> Tls:
        """A certificate for both sides; with a common name only if one is given."""
        (self.directory / "ext.cnf").write_text(
            f"subjectAltName={host}\nextendedKeyUsage=serverAuth,clientAuth\nbasicConstraints=CA:FALSE\n"
        )
        subject = f"/O={name}" + (f"/CN={common}" if common else "")
        self._run("req", "-new", *self._key(name), "-out", f"{name}.csr", "-subj", subject, "-config", "ca.cnf")
        days = ["-startdate", "20200101000000Z"] + (["-enddate", "20200201000000Z"] if expired else ["-days", "9999"])
        self._run("ca", "-batch", "-notext", "-config", "ca.cnf", "-cert", "ca.pem", "-keyfile", "ca.key", *days,
                  "-in", f"{name}.csr", "-out", f"{name}.pem", "-extfile", "ext.cnf")  # fmt: skip
        (self.directory / f"{name}.key").chmod(0o644)
        return Tls(self.directory / f"{name}.pem", self.directory / f"{name}.key", self.certificate)

    def _key(self, name: str) -> list[str]:
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key"]

    def _run(self, *command: str) -> None:
        subprocess.run(["openssl", *command], cwd=self.directory, check=True, capture_output=True, timeout=20)


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


async def refusal(config: EtcdConfig, via: str) -> HaError:
    transport: Any = etcd_transport(config, via)
    began = time.monotonic()
    try:
        with pytest.raises(HaError) as refused:
            await transport.read("/", 3.0)
        with pytest.raises(type(refused.value)):
            await transport.stream("/", 1, 3.0)
    finally:
        await transport.close()
    assert time.monotonic() - began < 3.0
    return refused.value


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


def test_an_etcd_without_its_gateway_is_fatal_to_the_one_and_served_by_the_other() -> None:
    with etcd_cluster(1, options=["--enable-grpc-gateway=false"]) as cluster:
        config = EtcdConfig(tuple(cluster.endpoints))
        error = asyncio.run(refusal(config, "gateway"))
        asyncio.run(used(config, "grpc"))
    assert isinstance(error, Fatal)
    assert "no JSON gateway" in str(error)


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
            check=True, capture_output=True, timeout=20, env={"ETCDCTL_API": "3", "PATH": os.environ["PATH"]},
        )  # fmt: skip
