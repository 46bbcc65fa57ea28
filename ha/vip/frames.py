"""What is said on an Ethernet segment about who has an address: ARP (RFC 826, 5227) and IPv6 neighbours (RFC 4861).

Pure: bytes from values and back. The Ethernet header is not part of them.
"""

import ipaddress
import struct
from dataclasses import dataclass

from luigi_ha.ha.vip.configured import Ip

ARP, IPV6 = 0x0806, 0x86DD  # Ethernet types
BROADCAST = b"\xff" * 6
ALL_NODES = ipaddress.IPv6Address("ff02::1")
ALL_NODES_MAC = bytes.fromhex("333300000001")
NOBODY = bytes(6)

_ARP = struct.Struct("!HHBBH6s4s6s4s")
_REQUEST, _REPLY = 1, 2
_ICMP6, _SOLICITATION, _ADVERTISEMENT = 58, 135, 136
_OVERRIDE = 0x20000000
_IP6 = struct.Struct("!IHBB16s16s")
_NEIGHBOUR = struct.Struct("!BBHI16s")


@dataclass(frozen=True)
class Frame:
    """What goes out: Ethernet type, destination, content."""

    kind: int
    to: bytes
    content: bytes


def announcements(ip: Ip, mac: bytes) -> list[Frame]:
    """`ip` is at `mac` now, whatever you thought. For IPv4 in both forms: some listen only to one of them."""
    if isinstance(ip, ipaddress.IPv4Address):
        forms = ((_REQUEST, NOBODY), (_REPLY, mac))
        return [Frame(ARP, BROADCAST, _arp(form, mac, ip, target, ip)) for form, target in forms]
    content = _NEIGHBOUR.pack(_ADVERTISEMENT, 0, 0, _OVERRIDE, ip.packed) + b"\x02\x01" + mac  # 2: target's own MAC
    return [Frame(IPV6, ALL_NODES_MAC, _ip6(ip, ALL_NODES, content))]


def question(ip: Ip, mac: bytes) -> Frame:
    """Who has `ip`? Asked without an address of our own, so that nobody learns anything from the question."""
    if isinstance(ip, ipaddress.IPv4Address):
        return Frame(ARP, BROADCAST, _arp(_REQUEST, mac, ipaddress.IPv4Address(0), NOBODY, ip))
    group = bytes.fromhex("ff0200000000000000000001ff") + ip.packed[13:]  # the solicited-node address
    content = _NEIGHBOUR.pack(_SOLICITATION, 0, 0, 0, ip.packed)
    return Frame(IPV6, b"\x33\x33" + group[12:], _ip6(ipaddress.IPv6Address(0), ipaddress.IPv6Address(group), content))


def claim(kind: int, content: bytes) -> tuple[Ip, bytes] | None:
    """Which address the sender says it has, and at which MAC; None if it says nothing of that sort.

    An IPv6 advertisement without the target's MAC gives an empty one: the frame's sender is meant.
    """
    if kind == ARP and len(content) >= _ARP.size:
        hardware, protocol, _, _, _, mac, ip, _, _ = _ARP.unpack_from(content)
        return (ipaddress.IPv4Address(ip), mac) if (hardware, protocol) == (1, 0x0800) and any(ip) else None
    if kind == IPV6 and len(content) >= _IP6.size + _NEIGHBOUR.size:
        _, _, following, hops, _, _ = _IP6.unpack_from(content)
        form, _, _, _, target = _NEIGHBOUR.unpack_from(content, _IP6.size)
        if following == _ICMP6 and hops == 255 and form == _ADVERTISEMENT:  # 255: it has passed no router
            return ipaddress.IPv6Address(target), _target_mac(content[_IP6.size + _NEIGHBOUR.size :])
    return None


def _target_mac(options: bytes) -> bytes:
    while len(options) >= 8 and options[1]:
        if options[0] == 2:
            return options[2:8]
        options = options[options[1] * 8 :]
    return b""


def _arp(
    form: int, mac: bytes, sender: ipaddress.IPv4Address, target_mac: bytes, target: ipaddress.IPv4Address
) -> bytes:
    return _ARP.pack(1, 0x0800, 6, 4, form, mac, sender.packed, target_mac, target.packed)


def _ip6(source: ipaddress.IPv6Address, to: ipaddress.IPv6Address, message: bytes) -> bytes:
    pseudo = source.packed + to.packed + struct.pack("!II", len(message), _ICMP6) + message
    total = sum(struct.unpack(f"!{len(pseudo) // 2}H", pseudo))
    total = (total & 0xFFFF) + (total >> 16)
    total = ~(total + (total >> 16)) & 0xFFFF
    header = _IP6.pack(0x60000000, len(message), _ICMP6, 255, source.packed, to.packed)
    return header + message[:2] + struct.pack("!H", total) + message[4:]
