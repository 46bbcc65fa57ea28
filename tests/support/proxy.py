"""A TCP relay in front of a server that can hold back what clients send: a network that stalls in one direction.

with Relay(server.port) as relay:
    relay.stall()       # connections that are open now: what the client sends is taken and not passed on
    ...                 # connections opened from now on pass
    relay.release()     # what was held is delivered, late
"""

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self


class _Pair:
    """One client's connection and ours to the server."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.sockets = (client, server)
        self.passing = threading.Event()
        self.passing.set()
        for source, sink in ((client, server), (server, client)):
            threading.Thread(target=self._pump, args=(source, sink, source is client), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, from_client: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if from_client:
                    self.passing.wait()
                sink.sendall(data)
        # The end of the client's half is held back too: the server must not learn of it before the held bytes.
        if from_client:
            self.passing.wait()
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
        if not from_client:
            for end in self.sockets:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)  # wakes the other thread, which may be reading
                end.close()


class Relay:
    """Listens on `port` of the loopback address and relays to `target`."""

    def __init__(self, target: int) -> None:
        self.target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.pairs: list[_Pair] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.release()
        for pair in self.pairs:
            for end in pair.sockets:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self.target))
                except OSError:
                    client.close()
                    continue
                self.pairs.append(_Pair(client, server))

    def stall(self) -> None:
        """Hold back what is sent to the server on the connections that are open now."""
        for pair in self.pairs:
            pair.passing.clear()

    def release(self) -> None:
        """Deliver what was held."""
        for pair in self.pairs:
            pair.passing.set()
