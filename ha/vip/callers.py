"""Who calls while the address moves: kept here, and passed on to whoever has it next.

Between the last connection that a host takes under an address and the first that another one takes there, a SYN
meets nobody, and its kernel repeats it only after a second. So the host that lets go of the address hears such SYNs by
packet sockets, keeps them, and sends each of them on, as it came, to the MAC that announces the address next; for a
moment also those of callers who have not heard the announcement. The answer goes to the caller without us.

A connection that was made here after all (its ACK follows) is not passed on. A listener that was killed is missed some
milliseconds before its keeper knows: so while the address is here SYNs are heard too, and forgotten after a moment.

Best effort, and harmless: what is lost is repeated by the caller, a SYN that comes twice is one, and one of a
connection that was made and has ended since is answered by the caller's kernel.

Everything belongs to the thread of the address. Nothing here waits. Times: seconds of the given clock.
"""

import ctypes
import math
import socket
import struct
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple

from luigi_ha.ha.clock import Clock
from luigi_ha.ha.log import Events
from luigi_ha.ha.vip.configured import Ip
from luigi_ha.ha.vip.frames import IPV6
from luigi_ha.ha.vip.resets import reset
from luigi_ha.ha.vip.segments import Segment, finished, parsed
from luigi_ha.ha.vip.wire import ATTACH_FILTER, code

IPV4 = 0x0800
BEFORE = 0.2  # s before the address goes, of which SYNs are passed on
DRAIN = 0.1  # s between two readings of what is forgotten
KEEP = 10.0  # s to listen for callers, and for who has the address next
AFTER = 2.0  # s for which callers who still come here are sent on, after somebody has it
MOST = 4096  # SYNs kept; more callers than that wait their second
_AT_ONCE = 1024  # packets read in one go
_LENGTH = 512  # bytes read of each; a SYN with data (TCP fast open) is left to its caller

_log = Events("vip")


class _Kept(NamedTuple):
    kind: int
    segment: Segment
    packet: bytes


class Callers:
    """Of these addresses, on this port."""

    def __init__(self, addresses: Sequence[Ip], port: int, clock: Clock) -> None:
        self._addresses = tuple(addresses)
        self._port = port
        self._clock = clock
        self._sockets: dict[int, socket.socket] = {}
        self._watched: deque[tuple[float, int, bytes]] | None = None  # while the address is here: (when, kind, packet)
        self._read_at = 0.0
        self._interface = ""
        self._kept: dict[tuple[bytes, int], _Kept] = {}  # by the caller's address and port
        self._next: dict[Ip, bytes] = {}  # who has an address now
        self._over = 0.0
        self._passed = 0

    def watch(self, interface: str) -> None:
        """The address is here now: keep nobody, and hear only who called just now."""
        self.close()
        self._watched = deque()
        self._hear(interface, acknowledgements=False)

    def reset(self) -> None:
        """The address goes now: who is connected, and still waits for a reply, is told."""
        try:
            count = reset(self._addresses, self._port)
        except OSError as error:
            _log.warning("callers_not_reset", error=str(error))
        else:
            if count:
                _log.info("callers_reset", connections=count)

    def listen(self, interface: str, *, recent: bool) -> None:
        """The address goes, or will soon: keep who calls from now on; with `recent`, as the listener is dead, also who
        called just now. No effect if it does so already."""
        self._over = self._clock() + KEEP
        if self._sockets and self._watched is None:
            return
        self._forget()
        before, self._watched = self._watched or (), None
        self._hear(interface, acknowledgements=True)
        for _, kind, packet in before if recent else ():
            self._heard(kind, packet)

    def _hear(self, interface: str, *, acknowledgements: bool) -> None:
        """One event if that is not possible."""
        self._interface = interface
        try:
            for kind, version, code_for in ((IPV4, 4, _filter4), (IPV6, 6, _filter6)):
                mine = [ip for ip in self._addresses if ip.version == version]
                if mine:
                    self._open(kind, code_for(mine, self._port, acknowledgements))
        except OSError as error:
            self.close()
            _log.warning("callers_not_kept", interface=interface, error=str(error.strerror))

    def _open(self, kind: int, program: bytes) -> None:
        """A socket with this filter; one that is there goes on with it."""
        mode = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        new = kind not in self._sockets
        if new:
            self._sockets[kind] = socket.socket(socket.AF_PACKET, mode, 0)  # 0: hears nothing before the filter
        text = ctypes.create_string_buffer(program)
        self._sockets[kind].setsockopt(
            socket.SOL_SOCKET, ATTACH_FILTER, struct.pack("HP", len(program) // 8, ctypes.addressof(text))
        )
        if new:
            self._sockets[kind].bind((self._interface, kind))

    def readable(self) -> Iterable[socket.socket]:
        """What to read as soon as something comes; nothing while all is forgotten anyhow."""
        return () if self._watched is not None else self._sockets.values()

    @property
    def next(self) -> float:
        """When to read next, whether something is said to have come or not."""
        return self._read_at + DRAIN if self._watched is not None and self._sockets else math.inf

    def turn(self) -> None:
        """Read what has come; send on what can be sent."""
        if self._watched is not None:
            self._forget()
            return
        for kind, packets in self._sockets.items():
            with suppress(OSError):  # nothing more; or the interface is down
                for _ in range(_AT_ONCE):
                    self._heard(kind, packets.recv(_LENGTH))
        if self._sockets and self._clock() >= self._over:
            self.close()

    def _forget(self) -> None:
        """All but what came just now."""
        watched, now = self._watched, self._clock()
        if watched is None or not self._sockets:
            return
        self._read_at = now
        for kind, packets in self._sockets.items():
            with suppress(OSError):
                for _ in range(_AT_ONCE):
                    watched.append((now, kind, packets.recv(_LENGTH)))
        while watched and watched[0][0] < now - BEFORE:
            watched.popleft()

    def _heard(self, kind: int, packet: bytes) -> None:
        segment = parsed(packet)
        if segment is None or segment.to not in self._addresses or segment.port != self._port:
            return
        who = segment.caller
        if not segment.syn:
            kept = self._kept.get(who)
            if kept is not None and segment.sequence == (kept.segment.sequence + 1) % (1 << 32):
                del self._kept[who]  # the kernel has taken it
        elif len(packet) < _LENGTH:
            if segment.to in self._next:
                self._send(_Kept(kind, segment, packet))
            elif who in self._kept or len(self._kept) < MOST:
                self._kept[who] = _Kept(kind, segment, packet)

    def pass_on(self, ip: Ip, mac: bytes) -> None:
        """`mac` has this address now."""
        if not self._sockets or self._watched is not None:
            return
        self.turn()
        if self._next.get(ip) == mac:
            return
        self._next[ip] = mac
        self._over = self._clock() + AFTER
        for who, kept in list(self._kept.items()):
            if kept.segment.to == ip:
                del self._kept[who]
                self._send(kept)

    def _send(self, kept: _Kept) -> None:
        where = (self._interface, kept.kind, 0, 0, self._next[kept.segment.to])
        with suppress(OSError):
            self._sockets[kept.kind].sendto(finished(kept.packet, kept.segment), where)
            self._passed += 1

    def close(self) -> None:
        """Keep nobody any more."""
        for one in self._sockets.values():
            one.close()
        if self._passed:
            _log.info("callers_passed_on", interface=self._interface, requests=self._passed)
        self._passed = 0
        self._watched = None
        self._sockets.clear()
        self._kept.clear()
        self._next.clear()


# What passes the filter, from the first byte of the IP header: TCP to one of the addresses and the port, and of that
# only what sets SYN, or, if wanted, is so short that it may be an ACK without data. IPv6 addresses are compared by
# their last word.
_BYTE, _HALF, _WORD, _BYTE_AT, _HALF_AT, _HEADER = 0x30, 0x28, 0x20, 0x50, 0x48, 0xB1
_EQUAL, _GREATER, _ANY_BIT, _RETURN = 0x15, 0x25, 0x45, 0x06
_SYN, _TCP, _FRAGMENT = 0x02, 6, 0x1FFF
_SHORT4, _SHORT6 = 80, 60  # bytes: of the whole packet; behind the IPv6 header


def _filter4(addresses: Sequence[Ip], port: int, acknowledgements: bool) -> bytes:
    words = [int.from_bytes(ip.packed, "big") for ip in addresses]
    end = 7 + 3  # steps behind the comparison of addresses up to the last return
    return code(
        (_BYTE, 0, 0, 9), (_EQUAL, 0, end + len(words) + 1, _TCP),
        (_WORD, 0, 0, 16), *_one_of(words, end),
        (_HALF, 0, 0, 6), (_ANY_BIT, 8, 0, _FRAGMENT),
        (_HEADER, 0, 0, 0), (_HALF_AT, 0, 0, 2), (_EQUAL, 0, 5, port),
        (_BYTE_AT, 0, 0, 13), (_ANY_BIT, 2, 0, _SYN),
        (_HALF, 0, 0, 2), (_GREATER, 1, 0, _SHORT4 if acknowledgements else 0),
        (_RETURN, 0, 0, _LENGTH), (_RETURN, 0, 0, 0),
    )  # fmt: skip


def _filter6(addresses: Sequence[Ip], port: int, acknowledgements: bool) -> bytes:
    words = [int.from_bytes(ip.packed[12:], "big") for ip in addresses]
    end = 7
    return code(
        (_BYTE, 0, 0, 6), (_EQUAL, 0, end + len(words) + 1, _TCP),
        (_WORD, 0, 0, 36), *_one_of(words, end),
        (_HALF, 0, 0, 42), (_EQUAL, 0, 5, port),
        (_BYTE, 0, 0, 53), (_ANY_BIT, 2, 0, _SYN),
        (_HALF, 0, 0, 4), (_GREATER, 1, 0, _SHORT6 if acknowledgements else 0),
        (_RETURN, 0, 0, _LENGTH), (_RETURN, 0, 0, 0),
    )  # fmt: skip


def _one_of(words: Sequence[int], otherwise: int) -> Iterable[tuple[int, int, int, int]]:
    """Go on behind these steps if the word is among them; skip `otherwise` more if it is not."""
    last = len(words) - 1
    return [(_EQUAL, last - at, otherwise if at == last else 0, word) for at, word in enumerate(words)]
