"""The segment: announce an address, ask who has it, hear who says so.

Two packet sockets, for ARP and IPv6; the kernel filters for claims about our addresses (ARP) and for advertisements
(IPv6), so that a busy segment costs nothing. Nothing here waits.
"""

import ctypes
import socket
import struct
from collections.abc import Iterable, Sequence
from contextlib import suppress

from luigi_ha.ha.errors import Unusable
from luigi_ha.ha.vip.configured import Ip
from luigi_ha.ha.vip.frames import ARP, IPV6, Frame, announcements, claim, question

ATTACH_FILTER = 26
_AT_MOST = 64  # claims read in one go
Claim = tuple[Ip, bytes]


class Wire:
    """Open on one Ethernet interface, for these addresses. Unusable without CAP_NET_RAW."""

    def __init__(self, interface: str, mac: bytes, addresses: Sequence[Ip]) -> None:
        self.mac = mac
        self._interface = interface
        self._addresses = frozenset(addresses)
        self._sockets: dict[int, socket.socket] = {}
        by_arp = [ip.packed for ip in addresses if ip.version == 4]
        try:
            if by_arp:
                self._open(ARP, _from(by_arp))
            if len(by_arp) < len(addresses):
                self._open(IPV6, _ADVERTISEMENTS)
        except PermissionError as error:
            self.close()
            raise Unusable(
                f"{interface}: no permission to announce an address; expected the capability CAP_NET_RAW "
                "(systemd: AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW)"
            ) from error
        except OSError:
            self.close()
            raise

    def announce(self, ip: Ip) -> None:
        """Best effort: an interface that is down, or a full queue, loses it. That is why it is repeated."""
        self._send(announcements(ip, self.mac))

    def ask(self, ip: Ip) -> None:
        """Whoever has it answers within some milliseconds: see `heard`."""
        self._send([question(ip, self.mac)])

    def heard(self) -> list[Claim]:
        """Who has said to have one of the addresses, in the order heard; others' words and our own are left out."""
        found: list[Claim] = []
        for kind, packets in self._sockets.items():
            with suppress(BlockingIOError, OSError):  # ENETDOWN once, after the interface went down
                for _ in range(_AT_MOST):
                    content, sender = packets.recvfrom(2048)
                    said = claim(kind, content)
                    if said is None or said[0] not in self._addresses:
                        continue
                    mac = said[1] or bytes(sender[4])
                    if mac != self.mac:
                        found.append((said[0], mac))
        return found

    def readable(self) -> Iterable[socket.socket]:
        return self._sockets.values()

    def close(self) -> None:
        for one in self._sockets.values():
            one.close()
        self._sockets.clear()

    def _open(self, kind: int, program: bytes) -> None:
        mode = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        opened = self._sockets[kind] = socket.socket(socket.AF_PACKET, mode, 0)  # 0: hears nothing before the filter
        code = ctypes.create_string_buffer(program)
        length = len(program) // 8
        opened.setsockopt(socket.SOL_SOCKET, ATTACH_FILTER, struct.pack("HP", length, ctypes.addressof(code)))
        opened.bind((self._interface, kind))

    def _send(self, frames: Iterable[Frame]) -> None:
        for frame in frames:
            with suppress(OSError):
                self._sockets[frame.kind].sendto(frame.content, (self._interface, frame.kind, 0, 0, frame.to))


def code(*steps: tuple[int, int, int, int]) -> bytes:
    """A filter of classic BPF: operation, jump if true, jump if false, operand."""
    return b"".join(struct.pack("HBBI", *step) for step in steps)


_LOAD_BYTE, _LOAD_WORD, _EQUAL, _RETURN = 0x30, 0x20, 0x15, 0x06
_ADVERTISEMENTS = code(
    (_LOAD_BYTE, 0, 0, 6),  # next header
    (_EQUAL, 0, 3, 58),
    (_LOAD_BYTE, 0, 0, 40),  # ICMPv6 type
    (_EQUAL, 0, 1, 136),
    (_RETURN, 0, 0, 2048),
    (_RETURN, 0, 0, 0),
)


def _from(addresses: Sequence[bytes]) -> bytes:
    """ARP whose sender has one of the addresses."""
    last = len(addresses) - 1
    tests = [
        (_EQUAL, last - number, 1 if number == last else 0, int.from_bytes(address, "big"))
        for number, address in enumerate(addresses)
    ]
    return code((_LOAD_WORD, 0, 0, 14), *tests, (_RETURN, 0, 0, 2048), (_RETURN, 0, 0, 0))
