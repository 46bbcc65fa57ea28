"""One end of the packet socket between keeper and scheduler.

Sending never blocks and never raises: what the socket does not take now waits here, in order. That the other side has
gone shows in one place only: `on_lost`, once.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Callable

from luigi_ha.ha.keeper.messages import Malformed, Message, decode, encode
from luigi_ha.ha.log import Events

_PACKET = 65536  # longest packet, in bytes
_WAITING = 1000  # packets kept for a peer that does not read; it is frozen, and will be told to catch up by Follow/Able

_log = Events("channel")


class Channel:
    """Messages over `sock` (SOCK_SEQPACKET, connected), which belongs to this object from now on."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._waiting: deque[bytes] = deque(maxlen=_WAITING)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_message: Callable[[Message], None] | None = None
        self._on_lost: Callable[[], None] | None = None

    def start(self, on_message: Callable[[Message], None], on_lost: Callable[[], None]) -> None:
        """Deliver on the running loop; what arrived before is delivered too."""
        self._loop = asyncio.get_running_loop()
        self._on_message, self._on_lost = on_message, on_lost
        self._loop.add_reader(self._sock.fileno(), self._read)
        if self._waiting:
            self._loop.add_writer(self._sock.fileno(), self._write)

    def send(self, message: Message) -> None:
        if self._sock.fileno() < 0:
            return
        self._waiting.append(encode(message))
        if len(self._waiting) == 1:
            self._write()

    def close(self) -> None:
        """Close without `on_lost`. Harmless the second time."""
        if self._sock.fileno() >= 0:
            if self._loop is not None:
                self._loop.remove_reader(self._sock.fileno())
                self._loop.remove_writer(self._sock.fileno())
            self._sock.close()
        self._waiting.clear()

    def _write(self) -> None:
        while self._waiting:
            try:
                self._sock.send(self._waiting[0])
            except BlockingIOError:
                if self._loop is not None:
                    self._loop.add_writer(self._sock.fileno(), self._write)
                return
            except OSError:  # the peer has gone: the reader says so, after what it had still sent
                self._waiting.clear()
                break
            self._waiting.popleft()
        if self._loop is not None:
            self._loop.remove_writer(self._sock.fileno())

    def _read(self) -> None:
        while self._sock.fileno() >= 0:
            try:
                packet = self._sock.recv(_PACKET)
            except BlockingIOError:
                return
            except OSError:
                packet = b""
            if not packet:
                self.close()
                if self._on_lost is not None:
                    self._on_lost()
                return
            self._deliver(packet)

    def _deliver(self, packet: bytes) -> None:
        try:
            message = decode(packet)
        except Malformed as error:
            _log.warning("message_ignored", error=str(error))
            return
        if self._on_message is not None:
            self._on_message(message)
