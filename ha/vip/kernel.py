"""Addresses and interfaces as the kernel has them: rtnetlink with a time limit for each question.

An address of ours carries a mark (IFA_PROTO, kernels from 5.18 on keep it) and a short lifetime. What carries another
mark, no end, or a long lifetime without a mark was given by somebody else, and is never removed here.
"""

import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from types import TracebackType
from typing import Self

from luigi_ha.ha.errors import HaError
from luigi_ha.ha.vip import rtnetlink
from luigi_ha.ha.vip.configured import Ip, Vip
from luigi_ha.ha.vip.rtnetlink import FOREVER, Message

MARK = 0x6C  # IFA_PROTO of our addresses; the kernel itself uses 1 to 3
LONGEST = 120  # s; an address without any mark that lives longer than this is not ours
LIMIT = 0.5  # s for one question to the kernel

_SOL_NETLINK, _STRICT_CHECK = 270, 12
_GROUPS = 0x1 | 0x10 | 0x100  # links, IPv4 addresses, IPv6 addresses
_NODAD, _DADFAILED, _TENTATIVE, _SECONDARY = 0x02, 0x08, 0x40, 0x01
_GET_FLAGS, _GET_HARDWARE = 0x8913, 0x8927  # ioctl
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
        parts = self._ask(rtnetlink.question(index), rtnetlink.GETADDR, rtnetlink.DUMP, "list the addresses")
        shown = (_shown(rtnetlink.shown(part)) for part in parts)
        return [one for one in shown if index in (0, one.index)]

    def put(self, vip: Vip, index: int, seconds: int) -> None:
        """Add the address, or give it a new lifetime: whole seconds, at least 1.

        The kernel ends it within 0.3 s after that. An IPv6 address is added without duplicate detection, and as
        deprecated, so that this host's own connections do not come from an address that moves away (an IPv4 address
        is not chosen for that beside the host's own).
        """
        preferred = seconds if vip.ip.version == 4 else 0
        flags = _NODAD if vip.ip.version == 6 else 0
        message = Message(vip.ip, vip.prefix, index, flags, preferred, seconds, MARK)
        self._order(message, rtnetlink.NEWADDR, rtnetlink.CREATE_OR_REPLACE, f"add {vip}")

    def delete(self, vip: Vip, index: int) -> bool:
        """Whether it was there. KernelError with EPERM without the capability, there or not."""
        try:
            self._order(Message(vip.ip, vip.prefix, index), rtnetlink.DELADDR, 0, f"remove {vip}")
        except KernelError as error:
            if error.code == errno.EADDRNOTAVAIL:
                return False
            raise
        return True

    def _order(self, message: Message, kind: int, flags: int, what: str) -> None:
        for _ in self._ask(rtnetlink.address(message), kind, flags | rtnetlink.ACK, what):
            pass

    def _ask(self, body: bytes, kind: int, flags: int, what: str) -> Iterator[bytes]:
        number = next(self._numbers)
        try:
            self._socket.send(rtnetlink.request(kind, flags, number, body))
            while True:
                for answered, answer, part in rtnetlink.parts(self._socket.recv(1 << 18)):
                    if answered != number:
                        continue  # the late answer to a question that was given up
                    if answer in (rtnetlink.ERROR, rtnetlink.DONE):
                        code = rtnetlink.code(part)
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


def _shown(message: Message) -> Shown:
    valid = None if message.valid == FOREVER else message.valid
    return Shown(message.ip, message.prefix, message.index, valid, message.flags, message.mark)
