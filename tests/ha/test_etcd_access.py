"""Being let in: users and tokens, certificates, and configurations that cannot work."""

import asyncio
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ha.errors import Fatal, HaError, Incoherent, Unknown
from ha.etcd.config import EtcdConfig
from ha.etcd.failures import TABLE, LeaseNotFound, TokenRefused, of_exception, of_status, of_text
from ha.etcd.gateway import Gateway
from ha.etcd.transport import Put
from ha.etcd.watch import follow
from ha.etcd.wire import understood
from ha.lease import Timing
from tests.support.etcd import Cluster, Member, Tls, etcd_cluster


async def used(config: EtcdConfig, idle: float = 0.0, prefix: str = "/ours/") -> None:
    """Everything an elector does, before and after some idle time."""
    transport = Gateway(config)
    try:
        for number in range(2):
            await transport.grant(100 + number, 5, 2.0)
            outcome = await transport.txn([], [Put(f"{prefix}{number}", "v", 100 + number)], 2.0)
            assert await transport.keep_alive(100 + number, 2.0) == 5
            assert f"{prefix}{number}" in (await transport.read(prefix, 2.0)).items
            stream = await transport.stream(prefix, outcome.header.revision, 2.0)
            assert await stream.next(2.0) is not None
            await stream.close()
            await asyncio.sleep(idle)
        for number in range(2):
            await transport.revoke(100 + number, 2.0)
    finally:
        await transport.close()


# ---------------------------------------------------------------------------------------------------- user and password


@pytest.fixture(scope="module")
def guarded() -> Iterator[Member]:
    """One member with users, whose tokens expire after a second without use."""
    with etcd_cluster(1, options=["--auth-token-ttl=1"]) as cluster:
        member = cluster.members[0]
        asyncio.run(used(EtcdConfig((member.endpoint,), user="early", password="bird")))  # before users are enabled
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

    async def play() -> None:
        config = EtcdConfig((guarded.endpoint,), user="node", password="secret")
        transport = Gateway(config)
        await transport.read("/ours/", 2.0)
        before = transport.tokens.token
        await asyncio.sleep(2.2)
        with pytest.raises(TokenRefused):  # the fault bites
            await transport.post(guarded.endpoint, "/v3/kv/range", {"key": "L291cnMv"}, before)
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

    asyncio.run(play())


async def watched(transport: Gateway, prefix: str) -> None:
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
    guarded: Member, user: str | None, password: str | None, prefix: str, said: str
) -> None:
    async def play() -> None:
        transport = Gateway(EtcdConfig((guarded.endpoint,), user=user, password=password))
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

    def issue(self, name: str, host: str = "IP:127.0.0.1", *, expired: bool = False) -> Tls:
        (self.directory / "ext.cnf").write_text(
            f"subjectAltName={host}\nextendedKeyUsage=serverAuth,clientAuth\nbasicConstraints=CA:FALSE\n"
        )
        self._run("req", "-new", *self._key(name), "-out", f"{name}.csr", "-subj", f"/O={name}", "-config", "ca.cnf")
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
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    directory = tmp_path_factory.mktemp("tls")
    for each in (directory, *directory.parents[:2]):
        each.chmod(0o755)  # the servers run as another user
    ours, theirs = Authority(directory / "ours"), Authority(directory / "theirs")
    good, expired = ours.issue("server"), ours.issue("old-server", expired=True)
    with etcd_cluster(1, good) as one, etcd_cluster(1, expired) as other:
        yield Guarded(ours, theirs, one, other)


def test_certificates_of_both_sides_let_in(tls: Guarded) -> None:
    asyncio.run(used(tls.config(client=tls.ours.issue("client"))))


async def refusal(config: EtcdConfig) -> HaError:
    transport = Gateway(config)
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
def test_a_wrong_certificate_is_fatal_and_says_so(tls: Guarded, what: str, said: str) -> None:
    config = {
        "member of another authority": lambda: tls.config(tls.theirs, tls.ours.issue("c1")),
        "member whose certificate has expired": lambda: tls.config(None, tls.ours.issue("c2"), tls.expired),
        "client without a certificate": tls.config,
        "client of another authority": lambda: tls.config(None, tls.theirs.issue("c3")),
        "client whose certificate has expired": lambda: tls.config(None, tls.ours.issue("c4", expired=True)),
    }[what]()
    error = asyncio.run(refusal(config))
    assert isinstance(error, Fatal), repr(error)
    assert any(word in str(error).lower() for word in said.split("|")), str(error)


def test_a_certificate_for_another_name_is_fatal(tls: Guarded) -> None:
    endpoint = tls.good.endpoints[0].replace("127.0.0.1", "localhost")
    client = tls.ours.issue("c5")
    config = EtcdConfig((endpoint,), ca_file=tls.ours.certificate, cert_file=client.certificate, key_file=client.key)
    assert isinstance(asyncio.run(refusal(config)), Fatal)


def test_one_member_with_an_expired_certificate_is_that_members_trouble(tls: Guarded) -> None:
    config = tls.config(None, tls.ours.issue("c6"), tls.expired, tls.good)
    asyncio.run(used(config))

    async def alone() -> None:
        transport = Gateway(replace(config, endpoints=(config.endpoints[0], "https://127.0.0.1:1")))
        with pytest.raises(Unknown, match="expired"):  # the other may come back
            await transport.read("/", 0.5)
        await transport.close()

    asyncio.run(alone())


# -------------------------------------------------------------------------------------------------------- configuration


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"endpoints": ()}, "none given"),
        ({"endpoints": ("127.0.0.1:2379",)}, "expected http"),
        ({"endpoints": ("http://h",)}, "expected http"),
        ({"endpoints": ("http://h:x",)}, "expected http"),
        ({"endpoints": ("http://u:secret@h:1",)}, "expected http"),
        ({"endpoints": ("http://h:1", "https://h:1")}, "mixed"),
        ({"endpoints": ("http://h:1",), "ca_file": Path("x")}, "expected https"),
        ({"endpoints": ("https://h:1",), "cert_file": Path("x")}, "both or neither"),
        ({"endpoints": ("https://h:1",), "user": "u"}, "both or neither"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused_by_option(options: dict[str, object], said: str) -> None:
    with pytest.raises(Fatal, match=said) as refused:
        EtcdConfig(**options)  # type: ignore[arg-type]
    assert "secret" not in str(refused.value)


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    for missing in (tmp_path / "missing.pem", tmp_path / "empty.pem"):
        with pytest.raises(Fatal, match=missing.name):
            Gateway(EtcdConfig(("https://h:1",), ca_file=missing))
        with pytest.raises(Fatal, match=missing.name):
            Gateway(EtcdConfig(("https://h:1",), cert_file=missing, key_file=missing))


def test_attempts_must_fit_into_a_renewal() -> None:
    config = EtcdConfig(("http://h:1",), attempt_timeout=0.8)
    with pytest.raises(Incoherent, match=r"2 \* 0.8 = 1.6, 1.5"):
        config.check(Timing())
    EtcdConfig(("http://h:1",)).check(Timing())


def test_a_password_is_not_shown() -> None:
    assert "hidden" not in repr(EtcdConfig(("http://h:1",), user="u", password="hidden"))


def test_an_etcd_without_its_gateway_is_fatal() -> None:
    with etcd_cluster(1, options=["--enable-grpc-gateway=false"]) as cluster:
        error = asyncio.run(refusal(EtcdConfig(tuple(cluster.endpoints))))
    assert isinstance(error, Fatal)
    assert "no JSON gateway" in str(error)


# ----------------------------------------------------------------------------------------------------- which kind it is


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        (5, "etcdserver: requested lease not found", LeaseNotFound),
        (14, "etcdserver: leader changed", Unknown),
        (14, "etcdserver: no leader", Unknown),
        (14, "etcdserver: request timed out, possibly due to connection lost", Unknown),
        (2, "not a primary lessor", Unknown),
        (2, "context canceled", Unknown),
        (4, "context deadline exceeded", Unknown),
        (8, "etcdserver: mvcc: database space exceeded", Unknown),
        (9, "etcdserver: lease already exists", Unknown),
        (16, "etcdserver: invalid auth token", TokenRefused),
        (3, "etcdserver: revision of auth store is old", TokenRefused),
        (3, "etcdserver: authentication failed, invalid user ID or password", Fatal),
        (7, "etcdserver: permission denied", Fatal),
        (12, "unknown service", Fatal),
        (99, "something new", Unknown),
    ],
)
def test_each_of_etcds_errors_has_its_kind(code: int, message: str, kind: type[HaError]) -> None:
    """An etcd leader change, "not a primary lessor" or a closed stream is no loss (etcd#21671, vip-manager#228)."""
    assert type(of_status(code, message)) is kind


def test_whatever_is_not_known_is_unknown() -> None:
    assert TABLE[-1].kind is Unknown
    assert type(of_text("rpc error: code = PermissionDenied desc = etcdserver: permission denied")) is Fatal
    assert type(of_text("watch cancelled for no reason")) is Unknown
    assert type(of_exception(ConnectionResetError("reset"))) is Unknown
    assert type(of_exception(ssl.SSLEOFError(8, "EOF"))) is Unknown
    assert type(of_exception(ssl.SSLCertVerificationError("expired"))) is Fatal
    for raw in (b"", b"<html>", b"[]", b"3", b'{"error": {}}', b'{"error": "x"}', b'{"error": "x", "code": 14}'):
        with pytest.raises(Unknown):
            understood(503, raw)
