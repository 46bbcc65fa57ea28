"""One request, one reply, within a deadline. Nothing is repeated here, but for a connection that was kept and has gone.

Invariants
* An attempt ends at its deadline whatever the peer does: each wait for bytes is given what is left of it.
* A connection is kept only after a whole reply, belongs to one thread of one process, and is closed after any error.
* NoAnswer.sent is false only if no byte of the request can have reached the peer.
* Where the environment names a proxy, nobody but the proxy is connected to (`surroundings`).

Not promised: that a request which brought no answer was not executed.
"""

import contextlib
import http.client
import io
import os
import select
import socket
import threading
import time
from dataclasses import dataclass
from typing import IO, Any

from luigi_ha.worker.client.addresses import Address
from luigi_ha.worker.client.credentials import Credentials, Tls
from luigi_ha.worker.client.errors import NoAnswer
from luigi_ha.worker.client.resolving import Resolver
from luigi_ha.worker.client.surroundings import BadProxy, Proxy, proxy_for

USER_AGENT = "luigi-ha-worker"
KEEP_FOR = 20.0  # s without use; longer than between two pings, shorter than what servers and firewalls forget after
UNACKNOWLEDGED_MS = 4000  # the peer's kernel must acknowledge within this, or the connection is given up


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole reply."""

    status: int
    body: bytes
    retry_after: float
    proxy: str = ""  # by way of which it came


@dataclass(slots=True)
class _Kept:
    sock: socket.socket
    proxy: Proxy | None
    pid: int
    used: float


class Exchange:
    """Sends requests. May be used by any thread, and by processes forked from this one."""

    def __init__(self, credentials: Credentials, tls: Tls, resolver: Resolver, connect_timeout: float) -> None:
        self._credentials = credentials
        self._tls = tls
        self._resolver = resolver
        self._connect_timeout = connect_timeout
        self._local = threading.local()

    def send(
        self, address: Address, path: str, body: bytes, headers: dict[str, str], timeout: float, verb: str = "POST"
    ) -> Answer:
        """NoAnswer."""
        deadline = time.monotonic() + timeout
        try:
            proxy = proxy_for(address)
        except BadProxy as error:
            raise NoAnswer(str(error), sent=False) from None
        request = self._request(address, path, body, headers, verb, proxy)
        sock = self._take(address, proxy)
        if sock is not None:
            try:
                return self._converse(address, proxy, sock, request, deadline)
            except _SilentEndError:
                pass  # closed by a peer that was idle or has died: nothing came back, and the request has an id
        return self._converse(address, proxy, self._connect(address, proxy, deadline), request, deadline)

    def close(self) -> None:
        """Close what this thread keeps."""
        for kept in self._connections().values():
            kept.sock.close()
        self._connections().clear()

    # -- the conversation --------------------------------------------------------------------------------------

    def _request(
        self, address: Address, path: str, body: bytes, headers: dict[str, str], verb: str, proxy: Proxy | None
    ) -> bytes:
        where = _host_and_port(address)
        relayed = proxy is not None and not address.secure  # through a tunnel the proxy reads nothing of it
        target = f"http://{where}{address.prefix}{path}" if relayed else f"{address.prefix}{path}"
        lines = [f"{verb} {target} HTTP/1.1", f"Host: {where}", f"User-Agent: {USER_AGENT}"]
        if relayed and proxy is not None and proxy.authorization:
            lines.append(f"Proxy-Authorization: {proxy.authorization}")
        lines += [f"Content-Length: {len(body)}", "Accept-Encoding: identity"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        authorization = self._credentials.header(address)
        if authorization:
            lines.append(f"Authorization: {authorization}")
        return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body

    def _converse(
        self, address: Address, proxy: Proxy | None, sock: socket.socket, request: bytes, deadline: float
    ) -> Answer:
        begun = False
        try:
            sock.settimeout(_left(deadline))
            sock.sendall(request)
            response = http.client.HTTPResponse(_Reader(sock, deadline), method="POST")  # type: ignore[arg-type]
            with response:
                response.begin()
                begun = True
                retry_after = _seconds(response.getheader("Retry-After"))
                answer = Answer(response.status, response.read(), retry_after, str(proxy or ""))
                if response.will_close:
                    sock.close()
                else:
                    self._connections()[address] = _Kept(sock, proxy, os.getpid(), time.monotonic())
        except TimeoutError:
            sock.close()
            raise NoAnswer("no reply in time", sent=True) from None
        except (http.client.RemoteDisconnected, ConnectionError) as error:
            sock.close()
            kind = NoAnswer if begun else _SilentEndError
            raise kind(f"closed before a whole reply ({type(error).__name__})", sent=True) from None
        except (OSError, http.client.HTTPException) as error:
            sock.close()
            raise NoAnswer(f"{type(error).__name__} in the middle of it", sent=True) from None
        if proxy is not None and answer.status == http.client.PROXY_AUTHENTICATION_REQUIRED:
            raise NoAnswer(f"the proxy {proxy} wants a user and a password: http://user:password@...", sent=False)
        return answer

    # -- connections -------------------------------------------------------------------------------------------

    def _connections(self) -> dict[Address, _Kept]:
        found: dict[Address, _Kept] | None = getattr(self._local, "kept", None)
        if found is None:
            found = self._local.kept = {}
        return found

    def _take(self, address: Address, proxy: Proxy | None) -> socket.socket | None:
        kept = self._connections().pop(address, None)
        if kept is None:
            return None
        fresh = kept.proxy == proxy and kept.pid == os.getpid() and time.monotonic() - kept.used < KEEP_FOR
        if fresh and not select.select([kept.sock], [], [], 0)[0]:  # readable: closed, or it says what nobody asked
            return kept.sock
        kept.sock.close()
        return None

    def _connect(self, address: Address, proxy: Proxy | None, deadline: float) -> socket.socket:
        to = proxy or address
        try:
            sock = self._open(address, to.host, to.port, deadline)
        except OSError as error:
            self._resolver.forget(to.host, to.port)
            reason = "no connection in time" if isinstance(error, TimeoutError) else error.strerror or str(error)
            raise NoAnswer(reason if proxy is None else f"the proxy {proxy}: {reason}", sent=False) from None
        if proxy is not None and proxy.scheme == "https":
            sock = self._secured(sock, proxy.host, deadline)
        if proxy is not None and address.secure:
            _tunnel(sock, address, proxy, deadline)
        return self._secured(sock, address.host, deadline) if address.secure else sock

    def _secured(self, sock: socket.socket, host: str, deadline: float) -> socket.socket:
        try:
            sock.settimeout(min(_left(deadline), self._connect_timeout))
            return self._tls.context().wrap_socket(sock, server_hostname=host)
        except OSError as error:
            sock.close()
            raise NoAnswer(f"TLS: {getattr(error, 'reason', None) or error}", sent=False) from None

    def _open(self, address: Address, host: str, port: int, deadline: float) -> socket.socket:
        if address.unix_socket:
            return _connected(socket.AF_UNIX, address.unix_socket, min(_left(deadline), self._connect_timeout))
        last: OSError | None = None
        for family, where in self._resolver.find(host, port):
            try:
                sock = _connected(family, where, min(_left(deadline), self._connect_timeout))
            except OSError as error:
                last = error
                continue
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with contextlib.suppress(OSError, AttributeError):
                # A machine that is gone, or an address that moved, acknowledges nothing.
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)
            return sock
        raise last if last is not None else OSError("the name has no address")


def _host_and_port(address: Address) -> str:
    host = f"[{address.host}]" if ":" in address.host else address.host or "localhost"
    return f"{host}:{address.port}"


def _tunnel(sock: socket.socket, address: Address, proxy: Proxy, deadline: float) -> None:
    """Have the proxy connect us to the address. NoAnswer, with the connection closed."""
    where = _host_and_port(address)
    lines = [f"CONNECT {where} HTTP/1.1", f"Host: {where}", f"User-Agent: {USER_AGENT}"]
    lines += [f"Proxy-Authorization: {proxy.authorization}"] if proxy.authorization else []
    try:
        sock.settimeout(_left(deadline))
        sock.sendall("\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n")
        # Without a buffer: what follows the head is the peer's, and is read by TLS.
        response = http.client.HTTPResponse(_Bytewise(sock, deadline), method="CONNECT")  # type: ignore[arg-type]
        response.begin()
        status, reason = response.status, response.reason
    except (OSError, http.client.HTTPException) as error:
        status, reason = 0, "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
    if status != http.client.OK:
        sock.close()
        raise NoAnswer(f"the proxy {proxy} does not connect us: {status or ''} {reason}".replace("  ", " "), sent=False)


class _SilentEndError(NoAnswer):
    """Not one byte of a reply came."""


class _Reader:
    """What http.client needs of a socket: a file whose every read is given what is left of the deadline."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline

    def makefile(self, _mode: str) -> IO[bytes]:
        return io.BufferedReader(_Raw(self._sock, self._deadline))


class _Bytewise(_Reader):
    """The same, which takes no more than it was asked for."""

    def makefile(self, _mode: str) -> IO[bytes]:
        return io.BufferedReader(_Raw(self._sock, self._deadline), buffer_size=1)


class _Raw(io.RawIOBase):
    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(_left(self._deadline))
        return self._sock.recv_into(buffer)


def _connected(family: int, where: Any, timeout: float) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        sock.connect(where)
    except OSError:
        sock.close()
        raise
    return sock


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("deadline")
    return left


def _seconds(retry_after: str | None) -> float:
    """Retry-After as seconds; its other form, a date, is read as "soon"."""
    return float(retry_after) if retry_after is not None and retry_after.strip().isdecimal() else 0.0
