"""Addresses and interfaces as the kernel has them: rtnetlink with a time limit for each question.

The messages are pyroute2's. The sockets are our own: pyroute2's belong to an event loop, wait without limit, and cannot
be watched together with others.

An address of ours carries a mark (IFA_PROTO, kernels from 5.18 on keep it) and a short lifetime. What carries another
mark, no end, or a long lifetime without a mark was given by somebody else, and is never removed here.
"""

import errno
import fcntl
import ipaddress
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from types import TracebackType
from typing import Any, Self

from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg

from ha.errors import HaError
from ha.vip.configured import Ip, Vip

MARK = 0x6C  # IFA_PROTO of our addresses; the kernel itself uses 1 to 3
LONGEST = 120  # s; an address without any mark that lives longer than this is not ours
LIMIT = 0.5  # s for one question to the kernel

_NEWADDR, _DELADDR, _GETADDR, _ERROR, _DONE = 20, 21, 22, 2, 3
_REQUEST, _ACK, _DUMP, _CREATE_OR_REPLACE = 0x1, 0x4, 0x300, 0x500
_FOREVER = 0xFFFFFFFF
_SOL_NETLINK, _STRICT_CHECK = 270, 12
_GROUPS = 0x1 | 0x10 | 0x100  # links, IPv4 addresses, IPv6 addresses
_NODAD, _DADFAILED, _TENTATIVE, _SECONDARY = 0x02, 0x08, 0x40, 0x01
_GET_FLAGS, _GET_HARDWARE = 0x8913, 0x8927  # ioctl
_HEADER = struct.Struct("=IHHII")
_ETHERNET = 1


class KernelError(HaError):
    """The kernel refused, or did not answer in time. `code` is its errno (ETIMEDOUT for no answer)."""

    def __init__(self, code: int, what: str) -> None:
        super().__init__(f"{what}: {os.strerror(code)}")
        self.code = code


@dataclass(frozen=True)
class Shown:
    """An address as the kernel shows it. `valid`: seconds it has left, None for ever."""

    ip: Ip
    prefix: int
    index: int
    valid: int | None
    flags: int
    mark: int | None

    @property
    def ours(self) -> bool:
        """Added by this program: its mark, or (kernels that keep none) a short life and no mark."""
        return self.mark == MARK or (self.mark is None and self.valid is not None and self.valid <= LONGEST)

    @property
    def unusable(self) -> str | None:
        """What IPv6 has against using it: `dadfailed`, `tentative`, or None."""
        return "dadfailed" if self.flags & _DADFAILED else "tentative" if self.flags & _TENTATIVE else None

    @property
    def primary(self) -> bool:
        """IPv4: others of its subnet on the interface hang on it, and go with it unless the kernel promotes them."""
        return not self.flags & _SECONDARY


@dataclass(frozen=True)
class Link:
    """An interface. `up`: switched on; `running`: and with a carrier. `mac` is None if it is not Ethernet."""

    index: int
    up: bool
    running: bool
    mac: bytes | None


class Kernel:
    """Questions and orders. Each ends within LIMIT (KernelError), if the kernel itself does not stand still."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._socket.settimeout(LIMIT)
        self._socket.bind((0, 0))
        try:
            self._socket.setsockopt(_SOL_NETLINK, _STRICT_CHECK, 1)  # then the kernel filters by interface
        except OSError as error:  # before Linux 4.20; `addresses` filters in any case
            if error.errno != errno.ENOPROTOOPT:
                raise
        self._numbers = count(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def addresses(self, index: int = 0) -> list[Shown]:
        """All of one interface, or of all (index 0)."""
        message = ifaddrmsg()
        message["index"] = index
        shown = (_shown(part) for part in self._ask(message, _GETADDR, _DUMP, "list the addresses"))
        return [one for one in shown if index in (0, one.index)]

    def put(self, vip: Vip, index: int, seconds: int) -> None:
        """Add the address, or give it a new lifetime: whole seconds, at least 1.

        The kernel ends it within 0.3 s after that. An IPv6 address is added without duplicate detection, and as
        deprecated, so that this host's own connections do not come from an address that moves away (an IPv4 address
        is not chosen for that beside the host's own).
        """
        preferred = seconds if vip.ip.version == 4 else 0
        message = _message(vip, index)
        message["flags"] = _NODAD if vip.ip.version == 6 else 0
        message["attrs"] += [
            ("IFA_CACHEINFO", {"ifa_preferred": preferred, "ifa_valid": seconds, "cstamp": 0, "tstamp": 0}),
            ("IFA_FLAGS", message["flags"]),
            ("IFA_PROTO", MARK),
        ]
        self._order(message, _NEWADDR, _CREATE_OR_REPLACE, f"add {vip}")

    def delete(self, vip: Vip, index: int) -> bool:
        """Whether it was there. KernelError with EPERM without the capability, there or not."""
        try:
            self._order(_message(vip, index), _DELADDR, 0, f"remove {vip}")
        except KernelError as error:
            if error.code == errno.EADDRNOTAVAIL:
                return False
            raise
        return True

    def _order(self, message: Any, kind: int, flags: int, what: str) -> None:
        for _ in self._ask(message, kind, flags | _ACK, what):
            pass

    def _ask(self, message: Any, kind: int, flags: int, what: str) -> Iterator[bytes]:
        number = next(self._numbers)
        message["header"] |= {"type": kind, "flags": _REQUEST | flags, "sequence_number": number}
        message.encode()
        try:
            self._socket.send(bytes(message.data))
            while True:
                for answered, answer, part in _parts(self._socket.recv(1 << 18)):
                    if answered != number:
                        continue  # the late answer to a question that was given up
                    if answer in (_ERROR, _DONE):
                        code = -struct.unpack_from("=i", part, _HEADER.size)[0] if len(part) > _HEADER.size else 0
                        if code > 0:
                            raise KernelError(code, what)
                        return
                    yield part
        except TimeoutError:
            raise KernelError(errno.ETIMEDOUT, f"{what} (no answer in {LIMIT:g} s)") from None
        except OSError as error:
            raise KernelError(error.errno or errno.EIO, what) from error


def watching() -> socket.socket:
    """A socket that becomes readable when an address or an interface changes: look again, whatever it says."""
    found = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 0)
    found.bind((0, _GROUPS))
    return found


def link(interface: str) -> Link | None:
    """The interface of this name; None if there is none."""
    name = struct.pack("256s", interface.encode()[:15])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as any_socket:
        try:
            index = socket.if_nametoindex(interface)
            flags = struct.unpack_from("=H", fcntl.ioctl(any_socket, _GET_FLAGS, name), 16)[0]
            family, mac = struct.unpack_from("=H6s", fcntl.ioctl(any_socket, _GET_HARDWARE, name), 16)
        except OSError:
            return None
    return Link(index, bool(flags & 0x1), bool(flags & 0x40), mac if family == _ETHERNET else None)


def own_macs() -> set[bytes]:
    """Of all interfaces of this host: on one segment with two of them, either may answer."""
    links = (link(name) for _, name in socket.if_nameindex())
    return {one.mac for one in links if one is not None and one.mac is not None}


def _message(vip: Vip, index: int) -> Any:
    message = ifaddrmsg()
    message["family"] = socket.AF_INET if vip.ip.version == 4 else socket.AF_INET6
    message["prefixlen"] = vip.prefix
    message["index"] = index
    message["attrs"] = [("IFA_LOCAL", str(vip.ip)), ("IFA_ADDRESS", str(vip.ip))]
    return message


def _parts(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Number, type and bytes of each message in a datagram."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, _, number, _ = _HEADER.unpack_from(data, at)
        yield number, kind, data[at : at + length]
        at += (length + 3) & ~3


def _shown(part: bytes) -> Shown:
    message = ifaddrmsg(part)
    message.decode()
    times = message.get_attr("IFA_CACHEINFO")
    valid = _FOREVER if times is None else times["ifa_valid"]
    flags = message.get_attr("IFA_FLAGS")
    return Shown(
        ip=ipaddress.ip_address(message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")),
        prefix=message["prefixlen"],
        index=message["index"],
        valid=None if valid == _FOREVER else valid,
        flags=message["flags"] if flags is None else flags,
        mark=message.get_attr("IFA_PROTO"),
    )
