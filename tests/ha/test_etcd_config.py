"""Configurations that cannot work, and which of etcd's errors is of which kind."""

import socket
import ssl
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from luigi_ha.ha.errors import Fatal, HaError, Incoherent, Unknown
from luigi_ha.ha.etcd.config import EtcdConfig
from luigi_ha.ha.etcd.failures import TABLE, LeaseNotFound, TokenRefused, of_exception, of_status, of_text
from luigi_ha.ha.etcd.grpc_library import library
from luigi_ha.ha.etcd.opening import etcd_transport
from luigi_ha.ha.etcd.wire import understood
from luigi_ha.ha.lease import Timing

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


def test_files_that_cannot_be_used_are_named(tmp_path: Path, via: str) -> None:
    (tmp_path / "empty.pem").write_text("")
    for missing in (tmp_path / "missing.pem", tmp_path / "empty.pem"):
        with pytest.raises(Fatal, match=missing.name):
            etcd_transport(EtcdConfig(("https://h:1",), ca_file=missing), via)
        with pytest.raises(Fatal, match=missing.name):
            etcd_transport(EtcdConfig(("https://h:1",), cert_file=missing, key_file=missing), via)


def test_attempts_must_fit_into_a_renewal() -> None:
    config = EtcdConfig(("http://h:1",), attempt_timeout=0.8)
    with pytest.raises(Incoherent, match=r"2 \* 0.8 = 1.6, 1.5"):
        config.check(Timing())
    EtcdConfig(("http://h:1",)).check(Timing())


def test_a_password_is_not_shown() -> None:
    assert "hidden" not in repr(EtcdConfig(("http://h:1",), user="u", password="hidden"))


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


def test_a_missing_library_is_fatal_and_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    library.cache_clear()
    monkeypatch.setitem(sys.modules, "etcd3.etcdrpc", None)
    with pytest.raises(Fatal, match=r"luigi-ha\[etcd3\]"):
        etcd_transport(EtcdConfig(("http://h:1",)), "grpc")
    with pytest.raises(Fatal, match="expected gateway or grpc"):
        etcd_transport(EtcdConfig(("http://h:1",)), "carrier pigeon")
    library.cache_clear()


@pytest.mark.parametrize(
    ("endpoint", "own"),
    [
        ("http://127.0.0.1:1", True),
        ("http://[::1]:1", True),
        ("http://localhost:1", True),
        (f"http://{socket.gethostname()}:1", True),
        ("http://192.0.2.7:1", False),
        ("http://etcd.example:1", False),
    ],
)
def test_the_member_on_our_host_is_known_by_its_address(endpoint: str, own: bool) -> None:
    config = EtcdConfig((endpoint, "http://127.0.0.1:2"))
    assert config.own_endpoint == (endpoint if own else None)
    assert replace(config, own_member=True).own_endpoint == endpoint
    assert replace(config, own_member=False).own_endpoint is None
