"""TCP segments as they stand in IP packets: what a caller's SYN says, and a checksum that holds elsewhere.

Pure: bytes from values and back. No IPv6 extension headers: what has them is not recognized.
"""

import ipaddress
import struct
from typing import NamedTuple

from luigi_ha.ha.vip.configured import Ip

TCP = 6
_PORTS = struct.Struct("!HHI")
_SYN, _RST, _ACK = 0x02, 0x04, 0x10
_HEADER6, _LEAST = 40, 20  # bytes of an IPv6 header; of a TCP header at least


class Segment(NamedTuple):
    """One that begins a connection (`syn`), or acknowledges."""

    caller: tuple[bytes, int]  # the sender's address and port
    to: Ip
    port: int
    sequence: int
    syn: bool
    offset: int  # of the TCP header


def parsed(packet: bytes) -> Segment | None:
    """None: neither a SYN nor an ACK, or no TCP at all."""
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= _LEAST and packet[9] == TCP:
        offset, sender, to = 4 * (packet[0] & 0xF), packet[12:16], packet[16:20]
    elif version == 6 and len(packet) >= _HEADER6 and packet[6] == TCP:
        offset, sender, to = _HEADER6, packet[8:24], packet[24:40]
    else:
        return None
    if len(packet) < offset + _LEAST:
        return None
    source, port, sequence = _PORTS.unpack_from(packet, offset)
    flags = packet[offset + 13]
    if flags & _RST or bool(flags & _SYN) == bool(flags & _ACK):
        return None
    return Segment((sender, source), ipaddress.ip_address(to), port, sequence, bool(flags & _SYN), offset)


def finished(packet: bytes, segment: Segment) -> bytes:
    """The packet with its TCP checksum. A sender on the same machine, or its network card, may have left it undone."""
    at = segment.offset + 16
    content = packet[segment.offset : at] + b"\0\0" + packet[at + 2 :]
    ends = packet[12:20] if packet[0] >> 4 == 4 else packet[8:40]
    return packet[:at] + checksum(ends + struct.pack("!II", TCP, len(content)) + content) + packet[at + 2 :]


def checksum(content: bytes) -> bytes:
    """The Internet checksum (RFC 1071)."""
    if len(content) % 2:
        content += b"\0"
    total = sum(struct.unpack(f"!{len(content) // 2}H", content))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)
