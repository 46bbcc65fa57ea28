"""Accepting connections on a port that speaks TLS, and saying why not to who does not get in.

The event loop could accept by itself; it would say nothing of failed handshakes, nor to a client that speaks plain
HTTP. So the first byte of a connection is looked at before the handshake begins.

Invariant: every connection that is not handed over is closed within HANDSHAKE seconds.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

from luigi_ha.appliance import log
from luigi_ha.appliance.tls import Tls

HANDSHAKE = 10.0  # s from the connection to the end of the handshake
AT_ONCE = 64  # connections accepted before others get a turn
AGAIN_AFTER = 0.2  # s, when the system has no more open files for us
LINGER = 1.0  # s for a client to take the answer to plain HTTP
_TLS_HANDSHAKE = 0x16
_FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_BODY = b'{"error": {"what": "plain HTTP on a port that speaks TLS", "where": "URL", "expected": "https:// instead of http://"}}'
_PLAIN_HTTP = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json; charset=UTF-8\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
)
_log = log.get("tls")


class TlsListener:
    """Hands connections whose handshake is done to the protocols that `factory` makes."""

    def __init__(self, listening: socket.socket, factory: Callable[[], asyncio.Protocol], tls: Tls) -> None:
        self._listening = listening
        self._factory = factory
        self._tls = tls
        self._silent: dict[socket.socket, asyncio.TimerHandle] = {}  # nothing has come yet; and when that ends
        self._shaking: set[asyncio.Task[None]] = set()
        self._log = log.Seldom(_log)

    @property
    def beginning(self) -> int:
        """Connections that are not handed over yet."""
        return len(self._silent) + len(self._shaking)

    def start(self) -> None:
        asyncio.get_running_loop().add_reader(self._listening, self._accept)

    def close(self) -> None:
        """Accept nothing more. Handshakes that have begun go on."""
        if self._listening.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._listening)
            self._listening.close()
        self.drop_silent()

    def drop_silent(self) -> None:
        """Close the connections on which nothing has come."""
        for client in list(self._silent):
            self._drop(client)

    async def stop(self) -> None:
        """Close everything that was not handed over."""
        self.close()
        for task in list(self._shaking):
            task.cancel()
        await asyncio.gather(*self._shaking, return_exceptions=True)

    def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(AT_ONCE):
            try:
                client, address = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _FULL:
                    raise
                _log.warning("accept_failed", error=str(error))
                loop.remove_reader(self._listening)
                loop.call_later(AGAIN_AFTER, self._accept_again)
                return
            client.setblocking(False)
            self._silent[client] = loop.call_later(HANDSHAKE, self._drop, client)
            loop.add_reader(client, self._first, client, address[0])

    def _accept_again(self) -> None:
        if self._listening.fileno() >= 0:
            self.start()

    def _first(self, client: socket.socket, address: str) -> None:
        """The first bytes are here."""
        loop = asyncio.get_running_loop()
        try:
            begins = client.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            begins = b""
        if not begins or (begins[0] != _TLS_HANDSHAKE and not begins.isalpha()):
            self._drop(client)
            return
        self._silent.pop(client).cancel()
        loop.remove_reader(client)
        if begins[0] == _TLS_HANDSHAKE:
            task = loop.create_task(self._shake(client, address))
            self._shaking.add(task)
            task.add_done_callback(self._shaking.discard)
        else:
            self._log.warning("connection_refused", "plain HTTP", client=address)
            self._answer_plain(client)

    async def _shake(self, client: socket.socket, address: str) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(
                self._factory, client, ssl=self._tls.server, ssl_handshake_timeout=HANDSHAKE
            )
        except ssl.SSLError as error:
            self._log.warning("connection_refused", _why(error), client=address)
        except OSError as error:  # it has gone, or is too slow
            _log.debug("handshake_ended", error=f"{type(error).__name__}: {error}")

    def _answer_plain(self, client: socket.socket) -> None:
        with suppress(OSError):
            client.recv(1 << 16)  # what is left unread would reset the connection under the answer
            client.send(_PLAIN_HTTP)
            client.shutdown(socket.SHUT_WR)
        self._silent[client] = asyncio.get_running_loop().call_later(LINGER, self._drop, client)

    def _drop(self, client: socket.socket) -> None:
        self._silent.pop(client).cancel()
        asyncio.get_running_loop().remove_reader(client)
        client.close()


def _why(error: ssl.SSLError) -> str:
    """A handshake's failure, for people."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the client's certificate: {error.verify_message}"
    return str(error.reason or error).lower().replace("_", " ")
