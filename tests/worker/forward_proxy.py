"""A forward proxy, as companies have them, and something that ends TLS in front of a node."""

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Self
from urllib.parse import urlsplit

from tests.worker.peers import whole_request


class Listening:
    """Treats each connection in a thread of its own."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._open:
            sock.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self._open.append(sock)
                threading.Thread(target=self._one, args=(sock,), daemon=True).start()

    def _one(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            if self._context is None:
                self.treat(sock)
            else:
                with self._context.wrap_socket(sock, server_side=True) as secured:
                    self.treat(secured)

    def treat(self, sock: socket.socket) -> None:
        raise NotImplementedError


class Terminator(Listening):
    """Speaks TLS to its callers, and passes on what they say."""

    def __init__(self, context: ssl.SSLContext, port: int) -> None:
        super().__init__(context)
        self._to = port

    def treat(self, sock: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", self._to)) as other:
            pump(sock, other)


class ForwardProxy(Listening):
    """Passes on requests in absolute form, and connects. `heads`: the request lines and headers it has read."""

    def __init__(
        self, context: ssl.SSLContext | None = None, allow: Callable[[bytes], bytes | None] = lambda head: None
    ) -> None:
        """`allow`: the whole answer for whom it does not serve; None: served."""
        super().__init__(context)
        self._allow = allow
        self.heads: list[bytes] = []
        self.names: dict[str, tuple[str, int]] = {}  # a name that only the proxy knows -> where that is

    def treat(self, sock: socket.socket) -> None:
        while True:
            request = whole_request(sock)
            head, _, body = request.partition(b"\r\n\r\n")
            if not head:
                return
            self.heads.append(head)
            refusal = self._allow(head)
            if refusal is not None:
                sock.sendall(refusal)
                return
            verb, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
            if verb == "CONNECT":
                host, _, port = target.rpartition(":")
                with socket.create_connection(self._where(host, int(port))) as other:
                    sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    pump(sock, other)
                return
            parts = urlsplit(target)
            with socket.create_connection(self._where(parts.hostname or "", parts.port or 80)) as other:
                other.sendall(head.replace(target.encode(), parts.path.encode(), 1) + b"\r\nConnection: close\r\n\r\n")
                other.sendall(body)
                while chunk := other.recv(65536):
                    sock.sendall(chunk)
            return

    def _where(self, host: str, port: int) -> tuple[str, int]:
        return self.names.get(host, (host, port))


def pump(one: socket.socket, other: socket.socket) -> None:
    """Pass on what each says until one of them ends."""
    while True:
        pending = isinstance(one, ssl.SSLSocket) and one.pending()
        ready = [one] if pending else select.select([one, other], [], [], 30)[0]
        if not ready:
            return
        for sock in ready:
            chunk = sock.recv(65536)
            if not chunk:
                return
            (other if sock is one else one).sendall(chunk)
