"""Removing what is left of an address, and what must be so before one may move here at all.

What may be removed: an address that is configured as virtual, on the configured interface, whatever its prefix length,
and only if it is one of ours (`Shown.ours`). An address that somebody gave to the host for good stays; a node does not
start with it, for the node would be reachable under it, leader or not.
"""

import errno
import socket
from collections.abc import Iterable, Sequence

from luigi_ha.ha.errors import Unusable
from luigi_ha.ha.vip.configured import Vip, configured
from luigi_ha.ha.vip.kernel import Kernel, KernelError, Shown, link


def sweep(addresses: Iterable[str], interface: str) -> list[str]:
    """Remove the virtual addresses from this host, whoever left them; which ones those were.

    For a stop hook: synchronous, about a second at most, harmless if there is nothing to do or no such interface.
    Unusable without permission, or if the kernel refuses.
    """
    vips = configured(addresses)
    try:
        with Kernel() as kernel:
            return remove(kernel, vips, interface)
    except OSError as error:
        raise Unusable(f"netlink: {error.strerror}; expected a socket for questions about addresses") from error


def remove(kernel: Kernel, vips: Sequence[Vip], interface: str) -> list[str]:
    """See `sweep`."""
    found = link(interface)
    if found is None:
        return []
    wanted = {vip.ip for vip in vips}
    try:
        ours = [one for one in kernel.addresses(found.index) if one.ip in wanted and one.ours]
        removed = [f"{one.ip}/{one.prefix}" for one in ours if kernel.delete(Vip(one.ip, one.prefix), one.index)]
        present = {(one.ip, one.prefix) for one in kernel.addresses(found.index)}
        for vip in vips:  # to learn now, not at the first election, that the permission is missing
            if (vip.ip, vip.prefix) not in present:
                kernel.delete(vip, found.index)
    except KernelError as error:
        if error.code == errno.EPERM:
            raise Unusable(
                f"{interface}: no permission to change addresses; expected the capability CAP_NET_ADMIN "
                "(systemd: AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW)"
            ) from error
        raise Unusable(f"{interface}: {error}; expected to be able to remove {', '.join(map(str, vips))}") from error
    return removed


def must_be_able(kernel: Kernel, vips: Sequence[Vip], interface: str) -> None:
    """Unusable if this host can never hold the addresses: no such interface, switched off, or an address of its own."""
    found = link(interface)
    if found is None:
        names = ", ".join(name for _, name in socket.if_nameindex())
        raise Unusable(f"vip_interface {interface}: there is no such interface; expected one of {names}")
    if not found.up:
        raise Unusable(f"vip_interface {interface} is switched off; expected it to be up (ip link set {interface} up)")
    try:
        shown = kernel.addresses()
    except KernelError as error:
        raise Unusable(f"{interface}: {error}; expected the list of this host's addresses") from error
    for vip in vips:
        for one in shown:
            if one.ip == vip.ip and not one.ours:
                raise Unusable(_own(vip, one))


def depends_on(kernel: Kernel, vip: Vip, interface: str) -> list[Shown]:
    """IPv4: the interface's addresses of the same subnet and prefix length; the first one carries the others."""
    found = link(interface)
    shown = [] if found is None else kernel.addresses(found.index)
    same = (one for one in shown if one.ip.version == 4 and one.prefix == vip.prefix and one.ip != vip.ip)
    return [
        one for one in same if vip.prefix < 32 and int(one.ip) >> (32 - vip.prefix) == int(vip.ip) >> (32 - vip.prefix)
    ]


def _own(vip: Vip, shown: Shown) -> str:
    where = socket.if_indextoname(shown.index)
    life = "permanently" if shown.valid is None else f"for {shown.valid} s"
    return (
        f"the virtual address {vip.ip} belongs to this host itself: {where} has {shown.ip}/{shown.prefix} {life}, and "
        f"not from luigi-ha; expected an address that no host has configured: it moves with the leader. Remove it from "
        f"the network configuration (now: ip addr del {shown.ip}/{shown.prefix} dev {where})"
    )
