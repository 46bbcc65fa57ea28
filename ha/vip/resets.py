"""Resetting the connections to an address that goes away: who still waits on one is told, and can ask elsewhere.

Once an address is gone, nothing that its host sends for it leaves any more: a caller whose reply is due then waits for
its own time limit, half a minute and more. So the kernel is asked to end them (SOCK_DESTROY) while it can still say so.

Invariant: only connections that a process here still has open are reset. What was closed with its reply on the way is
left alone: it arrives. Not promised on kernels without CONFIG_INET_DIAG_DESTROY: then they wait, as above.
"""

import errno
import ipaddress
import socket
import struct
from collections.abc import Iterable, Iterator

from luigi_ha.ha.vip import rtnetlink
from luigi_ha.ha.vip.configured import Ip
from luigi_ha.ha.vip.kernel import LIMIT

_NETLINK_SOCK_DIAG = 4
_BY_FAMILY, _DESTROY = 20, 21
_TCP = 6
_STATES = 1 << 1 | 1 << 8  # ESTABLISHED, CLOSE_WAIT
_REQUEST = struct.Struct("=BBBBI")  # family, protocol, extensions, -, states; then the id
_HEAD = struct.Struct("=BBBB")  # of what is listed: family, state, timer, retransmissions; then the id
_ID = struct.Struct("!HH16s16s")  # source port, destination port, source, destination; then interface and cookie
_ID_BYTES = 48


def reset(ips: Iterable[Ip], port: int) -> int:
    """End every open connection to this port of these addresses; how many there were. OSError if the kernel refuses."""
    wanted = {ipaddress.ip_address(ip) for ip in ips}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as asked:
        asked.settimeout(LIMIT)
        asked.bind((0, 0))
        found = [
            (family, identity)
            for family in (socket.AF_INET, socket.AF_INET6)
            for identity in _listed(asked, family)
            if _at(family, identity, port) in wanted
        ]
        for family, identity in found:
            body = _REQUEST.pack(family, _TCP, 0, 0, _STATES) + identity
            for _ in _ask(asked, _DESTROY, rtnetlink.ACK, body):
                pass
    return len(found)


def _listed(asked: socket.socket, family: int) -> Iterator[bytes]:
    nothing = bytes(_ID_BYTES - 8) + b"\xff" * 8  # no cookie
    for part in _ask(asked, _BY_FAMILY, rtnetlink.DUMP, _REQUEST.pack(family, _TCP, 0, 0, _STATES) + nothing):
        yield part[_HEAD.size : _HEAD.size + _ID_BYTES]


def _at(family: int, identity: bytes, port: int) -> Ip | None:
    """To which address of ours the connection is, if it is to this port."""
    found, _, source, _ = _ID.unpack_from(identity)
    if found != port:
        return None
    if family == socket.AF_INET:
        return ipaddress.IPv4Address(source[:4])
    address = ipaddress.IPv6Address(source)
    return address.ipv4_mapped or address


def _ask(asked: socket.socket, kind: int, flags: int, body: bytes) -> Iterator[bytes]:
    asked.send(rtnetlink.request(kind, flags, 1, body))
    while True:
        for _, answer, part in rtnetlink.parts(asked.recv(1 << 18)):
            if answer in (rtnetlink.ERROR, rtnetlink.DONE):
                code = rtnetlink.code(part)
                if code not in (0, -errno.ENOENT, errno.ENOENT):  # it has ended by itself meanwhile
                    raise OSError(abs(code), "resetting connections")
                return
            yield part
