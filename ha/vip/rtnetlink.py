"""Messages about addresses as the kernel's rtnetlink has them: bytes from values and back (linux/if_addr.h).

Written out here, because the stop hook is a new process that callers wait for, and a library for all of netlink takes
longer to load than everything else that the hook does.
"""

import ipaddress
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from luigi_ha.ha.vip.configured import Ip

NEWADDR, DELADDR, GETADDR, ERROR, DONE = 20, 21, 22, 2, 3
REQUEST, ACK, DUMP, CREATE_OR_REPLACE = 0x1, 0x4, 0x300, 0x500
FOREVER = 0xFFFFFFFF

_ADDRESS, _LOCAL, _TIMES, _FLAGS, _PROTO = 1, 2, 6, 8, 11  # IFA_*
_HEADER = struct.Struct("=IHHII")  # length, type, flags, number, port
_BODY = struct.Struct("=BBBBI")  # family, prefix, flags (of old), scope, interface
_ATTRIBUTE = struct.Struct("=HH")  # length, kind
_KIND = 0x3FFF  # without the flags of nesting and byte order


@dataclass(frozen=True)
class Message:
    """One address on one interface. `valid`, `preferred`: s, FOREVER for without end; None: not said."""

    ip: Ip
    prefix: int
    index: int
    flags: int = 0
    preferred: int | None = None
    valid: int | None = None
    mark: int | None = None


def request(kind: int, flags: int, number: int, body: bytes) -> bytes:
    """A whole message, from `address` or `question`."""
    return _HEADER.pack(_HEADER.size + len(body), kind, REQUEST | flags, number, 0) + body


def question(index: int) -> bytes:
    """All addresses of one interface, or of all (index 0)."""
    return _BODY.pack(socket.AF_UNSPEC, 0, 0, 0, index)


def address(said: Message) -> bytes:
    """To add, to change or to remove it."""
    family = socket.AF_INET if said.ip.version == 4 else socket.AF_INET6
    body = _BODY.pack(family, said.prefix, said.flags & 0xFF, 0, said.index)
    body += _attribute(_LOCAL, said.ip.packed) + _attribute(_ADDRESS, said.ip.packed)
    if said.valid is not None:
        preferred = said.valid if said.preferred is None else said.preferred
        body += _attribute(_TIMES, struct.pack("=IIII", preferred, said.valid, 0, 0))
        body += _attribute(_FLAGS, struct.pack("=I", said.flags))
    if said.mark is not None:
        body += _attribute(_PROTO, bytes([said.mark]))
    return body


def parts(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Number, type and body of each message in a datagram."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, _, number, _ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size:
            return
        yield number, kind, data[at + _HEADER.size : at + length]
        at += _aligned(length)


def code(body: bytes) -> int:
    """The errno that ERROR or DONE brings; 0: none."""
    return -int(struct.unpack_from("=i", body)[0]) if len(body) >= 4 else 0


def shown(body: bytes) -> Message:
    """What NEWADDR says. Of a point-to-point link, the address at this end."""
    _, prefix, flags, _, index = _BODY.unpack_from(body)
    found: dict[int, bytes] = {}
    at = _BODY.size
    while at + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        if length < _ATTRIBUTE.size:
            break
        found[kind & _KIND] = body[at + _ATTRIBUTE.size : at + length]
        at += _aligned(length)
    preferred, valid = struct.unpack_from("=II", found[_TIMES]) if _TIMES in found else (None, None)
    return Message(
        ip=ipaddress.ip_address(found.get(_LOCAL) or found[_ADDRESS]),
        prefix=prefix,
        index=index,
        flags=struct.unpack("=I", found[_FLAGS])[0] if _FLAGS in found else flags,
        preferred=preferred,
        valid=valid,
        mark=found[_PROTO][0] if _PROTO in found else None,
    )


def _attribute(kind: int, value: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(_aligned(length) - length)


def _aligned(length: int) -> int:
    return (length + 3) & ~3
