"""A forward proxy, as companies have them, and something that ends TLS in front of a node."""

import contextlib
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Self
from urllib.parse import urlsplit

from tests.worker.peers import whole_request


class Listening:
    """Treats each connection in a thread of its own, which alone closes it: leaving shuts it down and waits for it."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._serving = threading.Thread(target=self._serve, daemon=True)
        self._serving.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._serving.join()
        self._listener.close()
        # A thread adds the other side of what it passes on at any time: each is ended until no thread is left.
        while any(thread.is_alive() for thread in self._threads):
            for sock in list(self._open):
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            time.sleep(0.005)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                thread = threading.Thread(target=self._one, args=(sock,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _one(self, sock: socket.socket) -> None:
        with self._ended_at_exit(sock), contextlib.suppress(OSError):
            if self._context is None:
                self.treat(sock)
            else:
                with self._ended_at_exit(self._context.wrap_socket(sock, server_side=True)) as secured:
                    self.treat(secured)

    def _ended_at_exit(self, sock: socket.socket) -> socket.socket:
        self._open.append(sock)
        return sock

    def treat(self, sock: socket.socket) -> None:
        raise NotImplementedError


class Terminator(Listening):
    """Speaks TLS to its callers, and passes on what they say."""

    def __init__(self, context: ssl.SSLContext, port: int) -> None:
        super().__init__(context)
        self._to = port

    def treat(self, sock: socket.socket) -> None:
        with self._ended_at_exit(socket.create_connection(("127.0.0.1", self._to))) as other:
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
                with self._ended_at_exit(socket.create_connection(self._where(host, int(port)))) as other:
                    sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    pump(sock, other)
                return
            parts = urlsplit(target)
            where = self._where(parts.hostname or "", parts.port or 80)
            with self._ended_at_exit(socket.create_connection(where)) as other:
                other.sendall(head.replace(target.encode(), parts.path.encode(), 1) + b"\r\nConnection: close\r\n\r\n")
                other.sendall(body)
                while chunk := other.recv(65536):
                    sock.sendall(chunk)
            return

    def _where(self, host: str, port: int) -> tuple[str, int]:
        return self.names.get(host, (host, port))


def pump(one: socket.socket, other: socket.socket) -> None:
    """Pass on what each says until one of them ends."""
    either = select.poll()
    either.register(one, select.POLLIN)
    either.register(other, select.POLLIN)
    while True:
        pending = isinstance(one, ssl.SSLSocket) and one.pending()
        ready = [one.fileno()] if pending else [fd for fd, _ in either.poll(30_000)]
        if not ready:
            return
        for sock in (one, other):
            if sock.fileno() not in ready:
                continue
            chunk = sock.recv(65536)
            if not chunk:
                return
            (other if sock is one else one).sendall(chunk)
