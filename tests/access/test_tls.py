"""The port that speaks TLS: whom it lets in, and what it says to the others. Real certificates, real sockets."""

import asyncio
import io
import logging
import resource
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace as changed
from pathlib import Path
from typing import cast

import pytest

from luigi_ha.appliance import log
from luigi_ha.appliance.api import sockets, tls_listener
from luigi_ha.appliance.api.tls_listener import TlsListener
from luigi_ha.appliance.tls import Tls, TlsError, TlsFiles, server_context
from tests.access.certificates import HERE, files, only, replace, trusting
from tests.api.serving import eventually, run
from tests.ha.authority import Authority


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "ours")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "theirs")


class Port:
    def __init__(self, of: TlsFiles) -> None:
        self.tls = Tls(of)
        [sock] = sockets.listen("127.0.0.1", 0)
        self.number: int = sock.getsockname()[1]
        self.listener = TlsListener(sock, Echo, self.tls)

    async def talk(self, context: ssl.SSLContext, host: str = "127.0.0.1") -> bytes:
        """What comes back of one word. An error if the connection is refused, now or at the first reading."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.number, ssl=context, server_hostname=host)
        try:
            writer.write(b"word")
            word = await reader.read(100)
            if not word:
                raise ConnectionError("closed")
            return word
        finally:
            writer.close()

    async def plain(self, data: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.number)
        try:
            writer.write(data)
            return await reader.read(10_000)
        except ConnectionResetError:
            return b""
        finally:
            writer.close()


@asynccontextmanager
async def port(of: TlsFiles) -> AsyncIterator[Port]:
    opened = Port(of)
    opened.listener.start()
    try:
        yield opened
    finally:
        await opened.listener.stop()


@contextmanager
def logged() -> Iterator[io.StringIO]:
    """What the program logs."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(log.KeyValue())
    logger = logging.getLogger(log.ROOT)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield stream
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


REFUSED = (ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_that_trusts_our_authority_is_served(ours: Authority, version: ssl.TLSVersion) -> None:
    async def scenario() -> None:
        async with port(files(ours.issue("server", HERE))) as opened:
            context = trusting(ours)
            context.minimum_version = context.maximum_version = version
            assert await opened.talk(context) == b"word"
            assert await opened.talk(context, "localhost") == b"word"

    run(scenario())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_older_versions_are_refused_and_the_log_says_so(ours: Authority, version: ssl.TLSVersion) -> None:
    async def scenario() -> None:
        with logged() as lines:
            async with port(files(ours.issue("server", HERE))) as opened:
                with pytest.raises(REFUSED):
                    await opened.talk(only(ours, version))
                assert await opened.talk(only(ours, ssl.TLSVersion.TLSv1_2)) == b"word"  # the client can do it
        assert 'why="unsupported protocol" client=127.0.0.1' in lines.getvalue()

    run(scenario())


def test_who_trusts_another_authority_or_expects_another_name_does_not_go_on(
    ours: Authority, theirs: Authority
) -> None:
    async def scenario() -> None:
        async with port(files(ours.issue("server", HERE))) as opened:
            with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"):
                await opened.talk(trusting(theirs))
            with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
                await opened.talk(trusting(ours), "n1.example.org")
        async with port(files(ours.issue("old", HERE, expired=True))) as opened:
            with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
                await opened.talk(trusting(ours))

    run(scenario())


def test_client_certificates_let_in_whom_their_authority_signed(ours: Authority, theirs: Authority) -> None:
    async def scenario() -> None:
        server, good = ours.issue("server", HERE), ours.issue("client")
        with logged() as lines:
            async with port(files(server, ours, required=True)) as opened:
                assert await opened.talk(trusting(ours, good)) == b"word"
                for shown, said in (
                    (None, "peer did not return a certificate"),
                    (theirs.issue("stranger"), "the client's certificate: unable to get local issuer"),
                    (ours.issue("late", expired=True), "the client's certificate: certificate has expired"),
                ):
                    with pytest.raises(REFUSED):
                        await opened.talk(trusting(ours, shown))
                    await eventually(lambda said=said: said in lines.getvalue())  # type: ignore[misc]
            async with port(files(server, ours)) as opened:  # welcome, not required
                assert await opened.talk(trusting(ours)) == b"word"
                with pytest.raises(REFUSED):
                    await opened.talk(trusting(ours, theirs.issue("other")))

    run(scenario())


def test_plain_http_is_told_what_to_do(ours: Authority) -> None:
    async def scenario() -> None:
        with logged() as lines:
            async with port(files(ours.issue("server", HERE))) as opened:
                answer = await opened.plain(b"POST /api/ping HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\ndata=")
                head, _, body = answer.partition(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 400 Bad Request")
                assert f"Content-Length: {len(body)}".encode() in head
                assert b"https:// instead of http://" in body
                assert await opened.plain(b"\x00\x01\x02") == b""
                assert await opened.plain(b"\x16\x03\x01 nothing that is TLS") != b"word"
                await eventually(lambda: not opened.listener.beginning)
        assert 'why="plain HTTP"' in lines.getvalue()

    run(scenario())


def test_who_says_nothing_or_dawdles_is_closed(ours: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_listener, "HANDSHAKE", 0.3)

    async def scenario() -> None:
        async with port(files(ours.issue("server", HERE))) as opened:
            assert await opened.plain(b"") == b""
            assert await opened.plain(b"\x16\x03\x01") == b""  # the beginning of a handshake
            await eventually(lambda: not opened.listener.beginning)
            gone = socket.create_connection(("127.0.0.1", opened.number))
            gone.close()
            await eventually(lambda: not opened.listener.beginning)

    run(scenario())


def test_a_process_without_open_files_left_accepts_later(ours: Authority) -> None:
    async def scenario() -> None:
        opened = Port(files(ours.issue("server", HERE)))
        waiting = asyncio.create_task(opened.talk(trusting(ours)))  # connected by the kernel, accepted by nobody
        await asyncio.sleep(0.1)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with logged() as lines:
            free = socket.socket()
            resource.setrlimit(resource.RLIMIT_NOFILE, (free.fileno(), hard))
            free.close()
            try:
                opened.listener.start()
                await asyncio.sleep(0.05)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            try:
                assert await waiting == b"word"
            finally:
                await opened.listener.stop()
        assert "accept_failed" in lines.getvalue()

    run(scenario())


def test_renewed_files_are_used_for_new_connections_and_broken_ones_are_not(ours: Authority, tmp_path: Path) -> None:
    async def scenario() -> None:
        first = ours.issue("renewed", HERE)
        async with port(files(first)) as opened:
            reader, writer = await asyncio.open_connection("127.0.0.1", opened.number, ssl=trusting(ours))
            serial = writer.get_extra_info("peercert")["serialNumber"]
            replace(first, ours.issue("next", HERE))
            opened.tls.refresh()
            _reader, another = await asyncio.open_connection("127.0.0.1", opened.number, ssl=trusting(ours))
            renewed = another.get_extra_info("peercert")["serialNumber"]
            another.close()
            assert renewed != serial
            writer.write(b"still here")
            assert await reader.read(100) == b"still here"
            writer.close()
            before = opened.tls.server
            for content in (b"half a file", ours.issue("stranger", HERE).key.read_bytes()):
                first.key.write_bytes(content)
                with logged() as lines:
                    opened.tls.refresh()
                    opened.tls.refresh()
                assert lines.getvalue().count("certificates_not_renewed") == 1
                assert opened.tls.server is before
            assert await opened.talk(trusting(ours)) == b"word"
            opened.tls.refresh()

    run(scenario())


def test_files_that_cannot_be_used_are_refused_by_name(ours: Authority, tmp_path: Path) -> None:
    good = files(ours.issue("server"), ours)
    encrypted = tmp_path / "encrypted.key"
    seal = ["openssl", "pkcs8", "-topk8", "-in", good.key, "-out", str(encrypted), "-passout", "pass:secret"]
    subprocess.run(seal, check=True, capture_output=True)
    empty = tmp_path / "empty.pem"
    empty.touch()
    for wrong, option, said in (
        (changed(good, certificate=str(tmp_path / "gone")), "tls_certificate", "No such file"),
        (changed(good, key=str(tmp_path / "gone")), "tls_key", "No such file"),
        (changed(good, key=str(ours.issue("other").key)), "tls_key", "does not belong to"),
        (changed(good, certificate=str(empty)), "tls_certificate", "hold no certificate"),
        (changed(good, key=str(empty)), "tls_certificate", "hold no certificate"),
        (changed(good, key=str(encrypted)), "tls_key", "is encrypted"),
        (changed(good, client_ca=str(empty)), "tls_client_ca", "holds no certificate"),
    ):
        with pytest.raises(TlsError, match=said) as refused:
            server_context(wrong)
        assert refused.value.option == option
