"""The addresses an operator configured, parsed once. From here on addresses are compared as numbers, never as text:
a comparison of text once found 1.1.1.1/24 inside of 11.1.1.1/24."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from luigi_ha.ha.errors import Unusable

Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class Vip:
    """One address that moves, and the length of the prefix it is added with."""

    ip: Ip
    prefix: int

    def __str__(self) -> str:
        return f"{self.ip}/{self.prefix}"


def configured(texts: Iterable[str]) -> tuple[Vip, ...]:
    """`10.9.0.100/24`, `fd00::100/64`; without a prefix /32, /128. Unusable if one cannot be a host's."""
    found: dict[Ip, Vip] = {}
    for text in texts:
        vip = _parsed(text)
        if vip.ip in found:
            raise Unusable(f"the virtual address {vip.ip} is given twice; expected each address once")
        found[vip.ip] = vip
    return tuple(found.values())


def _parsed(text: str) -> Vip:
    expected = "expected the address of a host and its prefix length, like 10.9.0.100/24 or fd00::100/64"
    try:
        parsed = ipaddress.ip_interface(text.strip())
    except ValueError as error:
        raise Unusable(f"the virtual address {text!r} cannot be read ({error}); {expected}") from None
    ip, network = parsed.ip, parsed.network
    if "%" in text:
        raise Unusable(f"the virtual address {text!r} names an interface; {expected}, and the interface by itself")
    if ip.is_multicast or ip.is_unspecified or ip.is_loopback or ip == ipaddress.IPv4Address("255.255.255.255"):
        raise Unusable(f"the virtual address {text!r} cannot belong to one host among others; {expected}")
    if ip.version == 4 and network.prefixlen < 31 and ip in {network.network_address, network.broadcast_address}:
        raise Unusable(f"the virtual address {text!r} is the network's own or its broadcast address; {expected}")
    return Vip(ip, network.prefixlen)
