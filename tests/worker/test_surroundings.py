"""What stock luigi's client takes from the environment works with ours: proxies, authorities, ~/.netrc."""

import base64
import random
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from requests.utils import get_environ_proxies, get_netrc_auth, select_proxy

from luigi_ha.worker.client import Credentials, GaveUp, Patience, PatientScheduler, Tls, parse_addresses
from luigi_ha.worker.client.addresses import parse_address
from luigi_ha.worker.client.surroundings import BadProxy, netrc_authorization, proxy_for
from tests.ha.authority import Authority
from tests.worker.forward_proxy import ForwardProxy, Terminator
from tests.worker.peers import Node, node

ONCE = Patience(first=0.02, most=0.1, connect=5, attempt=30, give_up_after=0)
READ = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "requests_ca_bundle", "curl_ca_bundle", "netrc")
LETME = base64.b64encode(b"me:let me in").decode()


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing but what a test says is in the environment."""
    for name in READ:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "ours")


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with node(tmp_path_factory.mktemp("node"), allowed_hosts="scheduler.corp") as running:
        yield running


@pytest.fixture(scope="module")
def secure(one: Node, ours: Authority) -> Iterator[int]:
    """The port at which the node speaks TLS."""
    with Terminator(context(ours), one.port) as port:
        yield port.port


def context(authority: Authority) -> ssl.SSLContext:
    pair = authority.issue("server", "IP:127.0.0.1,DNS:localhost,DNS:scheduler.corp")
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(pair.certificate, pair.key)
    return made


def asked(url: str, tls: Tls | None = None) -> object:
    scheduler = PatientScheduler(parse_addresses([url]), ONCE, Credentials(), tls)
    try:
        return scheduler.is_paused()["paused"]
    finally:
        scheduler.close()


# -- whom to ask ---------------------------------------------------------------------------------------------------

HOSTS = [
    "scheduler", "n1.corp.example", "corp.example", "xcorp.example", "10.1.2.3", "192.168.0.9", "localhost", "127.0.0.1"
]  # fmt: skip
PROXIES = ["http://p1:3128", "http://p2:80", "p3:8080", "http://u:v@p4", ""]
LISTED = [
    "corp.example", ".corp.example", "*", "10.0.0.0/8", "10.1.2.3", "10.1.2.3/32", "localhost", "n1.corp.example:8082",
    "scheduler:8082", "SCHEDULER", "127.0.0.1", "example", "2.3", "999.0.0.0/8", "10.0.0.0/33", " ", "",
]  # fmt: skip


def test_whom_to_ask_is_what_requests_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    dice = random.Random(7)
    seen = {"proxy": 0, "direct": 0}
    for _ in range(4000):
        with monkeypatch.context() as environment:
            for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
                if dice.random() < 0.35:
                    environment.setenv(name, dice.choice(PROXIES))
            for name in ("no_proxy", "NO_PROXY"):
                if dice.random() < 0.5:
                    environment.setenv(name, dice.choice([",", ", "]).join(dice.sample(LISTED, dice.randint(0, 4))))
            scheme = dice.choice(["http", "https"])
            url = f"{scheme}://{dice.choice(HOSTS)}:8082"
            theirs = select_proxy(url, get_environ_proxies(url))
            found = proxy_for(parse_address(url))
            expected = None if not theirs else (theirs.rpartition("@")[2].rpartition("//")[2] + ":80").split(":")[:2]
            assert (found and [found.host, str(found.port)]) == expected, (url, theirs)
            seen["proxy" if theirs else "direct"] += 1
    assert min(seen.values()) > 500


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("socks5://p:1080", "begins with http:// or https://"),
        ("http://p:port", "expected something like http://proxy:3128"),
        ("http://", "expected something like"),
        ("ftp://secret:word@p", "begins with"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch, value: str, why: str) -> None:
    monkeypatch.setenv("all_proxy", value)
    with pytest.raises(BadProxy, match=why) as told:
        proxy_for(parse_address("http://n1:8082"))
    assert "secret" not in str(told.value)
    with pytest.raises(GaveUp, match=why):
        asked("http://n1:8082")


def test_a_unix_socket_is_nobody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", "http://p:1")
    assert proxy_for(parse_address("http+unix://%2Frun%2Fluigi.sock")) is None


# -- being asked ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
def test_a_scheduler_whose_name_only_the_proxy_knows(monkeypatch: pytest.MonkeyPatch, one: Node, name: str) -> None:
    with ForwardProxy() as proxy:
        proxy.names["scheduler.corp"] = ("127.0.0.1", one.port)
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert asked("http://scheduler.corp:8082") is False
        assert proxy.heads[0].startswith(b"POST http://scheduler.corp:8082/api/is_paused HTTP/1.1\r\n")


def test_a_tunnel_to_a_scheduler_that_speaks_tls(monkeypatch: pytest.MonkeyPatch, secure: int, ours: Authority) -> None:
    with ForwardProxy() as proxy:
        proxy.names["scheduler.corp"] = ("127.0.0.1", secure)
        monkeypatch.setenv("https_proxy", f"http://me:let%20me%20in@127.0.0.1:{proxy.port}")
        scheduler = PatientScheduler(
            parse_addresses(["https://scheduler.corp:8443"]), ONCE, Credentials("token"), Tls(ours.certificate)
        )
        assert [scheduler.is_paused()["paused"] for _ in range(3)] == [False] * 3
        scheduler.close()
        assert [head.split(b"\r\n")[0] for head in proxy.heads] == [b"CONNECT scheduler.corp:8443 HTTP/1.1"]
        assert f"Proxy-Authorization: Basic {LETME}".encode() in proxy.heads[0]
        assert b"token" not in proxy.heads[0]


def test_a_proxy_that_itself_speaks_tls(monkeypatch: pytest.MonkeyPatch, one: Node, ours: Authority) -> None:
    with ForwardProxy(context(ours)) as proxy:
        monkeypatch.setenv("http_proxy", f"https://localhost:{proxy.port}")
        assert asked(one.url, Tls(ours.certificate)) is False
        assert len(proxy.heads) == 1


def test_a_proxy_that_wants_to_know_who_asks(monkeypatch: pytest.MonkeyPatch, one: Node) -> None:
    def allow(head: bytes) -> bytes | None:
        wanted = f"Proxy-Authorization: Basic {LETME}".encode()
        return None if wanted in head else b"HTTP/1.1 407 Who?\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

    with ForwardProxy(allow=allow) as proxy:
        monkeypatch.setenv("all_proxy", f"http://127.0.0.1:{proxy.port}")
        with pytest.raises(GaveUp, match=rf"the proxy http://127\.0\.0\.1:{proxy.port} wants a user and a password"):
            asked(one.url)
        with pytest.raises(GaveUp, match=r"does not connect us: 407 Who\?"):
            asked("https://127.0.0.1:1")
        monkeypatch.setenv("all_proxy", f"http://me:let%20me%20in@127.0.0.1:{proxy.port}")
        assert asked(one.url) is False


def test_a_proxy_that_reaches_nobody_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>"
    with ForwardProxy(allow=lambda _head: bad) as proxy:
        monkeypatch.setenv("http_proxy", f"http://me:secret@127.0.0.1:{proxy.port}")
        with pytest.raises(GaveUp, match=rf"by way of the proxy http://127\.0\.0\.1:{proxy.port}") as told:
            asked("http://n1:8082")
    assert "secret" not in str(told.value)


def test_a_proxy_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, one: Node) -> None:
    monkeypatch.setenv("http_proxy", "http://me:secret@127.0.0.1:1")
    with pytest.raises(GaveUp, match=r"the proxy http://127\.0\.0\.1:1: Connection refused"):
        asked(one.url)
    monkeypatch.setenv("no_proxy", "127.0.0.0/8")
    assert asked(one.url) is False


# -- whom to trust -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_authorities_that_the_environment_names(
    monkeypatch: pytest.MonkeyPatch, secure: int, ours: Authority, name: str
) -> None:
    url = f"https://127.0.0.1:{secure}"
    with pytest.raises(GaveUp, match="CERTIFICATE_VERIFY_FAILED"):
        asked(url)
    monkeypatch.setenv(name, str(ours.certificate))
    assert asked(url) is False


def test_a_directory_of_authorities(
    monkeypatch: pytest.MonkeyPatch, secure: int, ours: Authority, tmp_path: Path
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path))
    with pytest.raises(GaveUp, match="CERTIFICATE_VERIFY_FAILED"):
        asked(f"https://127.0.0.1:{secure}")
    command = ["openssl", "x509", "-subject_hash", "-noout", "-in", str(ours.certificate)]
    name = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    (tmp_path / f"{name}.0").symlink_to(ours.certificate)
    assert asked(f"https://127.0.0.1:{secure}") is False


def test_authorities_that_are_not_there_are_named(monkeypatch: pytest.MonkeyPatch, secure: int) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/file.pem")
    with pytest.raises(GaveUp, match=r"/no/such/file\.pem"):
        asked(f"https://127.0.0.1:{secure}")


def test_what_the_command_names_counts_more(monkeypatch: pytest.MonkeyPatch, secure: int, ours: Authority) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/file.pem")
    assert asked(f"https://127.0.0.1:{secure}", Tls(ours.certificate)) is False


# -- who asks ------------------------------------------------------------------------------------------------------

NETRC = """
machine n1 login me password of-n1
machine only-account account acc password p
default login anyone password at-all
"""


@pytest.mark.parametrize("place", [".netrc", "_netrc", "named"])
def test_a_netrc_says_who_asks_as_with_requests(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str) -> None:
    (tmp_path / place).write_text(NETRC)
    (tmp_path / place).chmod(0o600)
    if place == "named":
        monkeypatch.setenv("NETRC", str(tmp_path / place))
    for host in ("n1", "only-account", "elsewhere"):
        theirs = get_netrc_auth(f"http://{host}:8082")
        assert theirs is not None
        shown = "Basic " + base64.b64encode(":".join(theirs).encode()).decode()
        address = parse_address(f"http://{host}:8082")
        assert netrc_authorization(address) == shown
        assert Credentials().header(address) == shown
        assert Credentials("token").header(address) == "Bearer token"
    named = parse_address("http://u:v@n1:8082")
    assert Credentials().header(named) == named.authorization


@pytest.mark.parametrize("text", ["machine", "machine n1 login", "\xff\xfe"])
def test_a_netrc_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / ".netrc").write_text(text, encoding="latin-1")
    assert Credentials().header(parse_address("http://n1:8082")) == ""
