"""Listening sockets, and how they stop taking connections without refusing one.

A listening socket that is closed resets whoever is connected and not yet accepted; one whose address moves away leaves
them hanging. So before either, `hold_back` drops new connection requests silently (a packet filter on the socket, no
privilege needed): the client's kernel asks again within a second, and reaches whoever has the address or the port then.
"""

import ctypes
import socket
import struct
from contextlib import suppress

BACKLOG = 4096
_ATTACH, _DETACH = 26, 27  # SO_ATTACH_FILTER, SO_DETACH_FILTER
# Classic BPF over the TCP header: load byte 13 (flags); if SYN is set, drop; else keep.
_DROP_SYN = b"".join(
    struct.pack("HBBI", *line)
    for line in ((0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
)


def listen(host: str, port: int, *, shared: bool = False) -> list[socket.socket]:
    """Sockets listening on the host's addresses (empty: all), or OSError. `shared`: other processes may listen too."""
    sockets: list[socket.socket] = []
    flags = socket.AI_PASSIVE
    found = dict.fromkeys(socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=flags))
    try:
        for family, kind, protocol, _name, address in found:
            try:
                sock = socket.socket(family, kind, protocol)
            except OSError:
                continue  # no IPv6 here
            sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shared:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            # Any port: the one that the first of them was given.
            same = port if port or len(sockets) == 1 else sockets[0].getsockname()[1]
            sock.setblocking(False)
            sock.bind((address[0], same, *address[2:]))
            sock.listen(BACKLOG)
    except OSError as error:
        for sock in sockets:
            sock.close()
        where = f"{host or 'all addresses'}, port {port}"
        raise OSError(error.errno, f"cannot listen on {where}: {error.strerror or error}") from error
    return sockets


def shown(sock: socket.socket) -> str:
    """host:port, as in a URL."""
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def hold_back(sock: socket.socket) -> bool:
    """Drop new connection requests from now on. False: the kernel does not let us, and nothing has changed."""
    program = ctypes.create_string_buffer(_DROP_SYN)
    header = struct.pack("HL", len(_DROP_SYN) // 8, ctypes.addressof(program))
    try:
        sock.setsockopt(socket.SOL_SOCKET, _ATTACH, header)
    except OSError:
        return False
    return True


def let_in(sock: socket.socket) -> None:
    """Take connections again."""
    with suppress(OSError):  # it had no filter
        sock.setsockopt(socket.SOL_SOCKET, _DETACH, struct.pack("i", 0))
