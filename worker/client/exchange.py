"""One request, one reply, within a deadline. Nothing is repeated here, but for a connection that was kept and has gone.

Invariants
* An attempt ends at its deadline whatever the peer does: each wait for bytes is given what is left of it.
* A connection is kept only after a whole reply, belongs to one thread of one process, and is closed after any error.
* NoAnswer.sent is false only if no byte of the request can have reached the peer.

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

USER_AGENT = "luigi-ha-worker"
KEEP_FOR = 20.0  # s without use; longer than between two pings, shorter than what servers and firewalls forget after
UNACKNOWLEDGED_MS = 4000  # the peer's kernel must acknowledge within this, or the connection is given up


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole reply."""

    status: int
    body: bytes
    retry_after: float


@dataclass(slots=True)
class _Kept:
    sock: socket.socket
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
        request = self._request(address, path, body, headers, verb)
        sock = self._take(address)
        if sock is not None:
            try:
                return self._converse(address, sock, request, deadline)
            except _SilentEndError:
                pass  # closed by a peer that was idle or has died: nothing came back, and the request has an id
        return self._converse(address, self._connect(address, deadline), request, deadline)

    def close(self) -> None:
        """Close what this thread keeps."""
        for kept in self._connections().values():
            kept.sock.close()
        self._connections().clear()

    # -- the conversation --------------------------------------------------------------------------------------

    def _request(self, address: Address, path: str, body: bytes, headers: dict[str, str], verb: str) -> bytes:
        host = f"[{address.host}]" if ":" in address.host else address.host or "localhost"
        lines = [f"{verb} {address.prefix}{path} HTTP/1.1", f"Host: {host}:{address.port}", f"User-Agent: {USER_AGENT}"]
        lines += [f"Content-Length: {len(body)}", "Accept-Encoding: identity"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        authorization = self._credentials.header(address)
        if authorization:
            lines.append(f"Authorization: {authorization}")
        return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body

    def _converse(self, address: Address, sock: socket.socket, request: bytes, deadline: float) -> Answer:
        begun = False
        try:
            sock.settimeout(_left(deadline))
            sock.sendall(request)
            response = http.client.HTTPResponse(_Reader(sock, deadline), method="POST")  # type: ignore[arg-type]
            with response:
                response.begin()
                begun = True
                answer = Answer(response.status, response.read(), _seconds(response.getheader("Retry-After")))
                if response.will_close:
                    sock.close()
                else:
                    self._connections()[address] = _Kept(sock, os.getpid(), time.monotonic())
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
        return answer

    # -- connections -------------------------------------------------------------------------------------------

    def _connections(self) -> dict[Address, _Kept]:
        found: dict[Address, _Kept] | None = getattr(self._local, "kept", None)
        if found is None:
            found = self._local.kept = {}
        return found

    def _take(self, address: Address) -> socket.socket | None:
        kept = self._connections().pop(address, None)
        if kept is None:
            return None
        fresh = kept.pid == os.getpid() and time.monotonic() - kept.used < KEEP_FOR
        if fresh and not select.select([kept.sock], [], [], 0)[0]:  # readable: closed, or it says what nobody asked
            return kept.sock
        kept.sock.close()
        return None

    def _connect(self, address: Address, deadline: float) -> socket.socket:
        try:
            sock = self._open(address, deadline)
        except OSError as error:
            self._resolver.forget(address.host, address.port)
            reason = "no connection in time" if isinstance(error, TimeoutError) else error.strerror or str(error)
            raise NoAnswer(reason, sent=False) from None
        if not address.secure:
            return sock
        try:
            sock.settimeout(min(_left(deadline), self._connect_timeout))
            return self._tls.context().wrap_socket(sock, server_hostname=address.host)
        except OSError as error:
            sock.close()
            raise NoAnswer(f"TLS: {getattr(error, 'reason', None) or error}", sent=False) from None

    def _open(self, address: Address, deadline: float) -> socket.socket:
        if address.unix_socket:
            return _connected(socket.AF_UNIX, address.unix_socket, min(_left(deadline), self._connect_timeout))
        last: OSError | None = None
        for family, where in self._resolver.find(address.host, address.port):
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


class _SilentEndError(NoAnswer):
    """Not one byte of a reply came."""


class _Reader:
    """What http.client needs of a socket: a file whose every read is given what is left of the deadline."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline

    def makefile(self, _mode: str) -> IO[bytes]:
        return io.BufferedReader(_Raw(self._sock, self._deadline))


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
