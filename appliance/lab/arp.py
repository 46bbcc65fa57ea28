"""The address as the wire knows it: who answers for it, asked all the time; and claiming it for somebody else."""

import ipaddress
import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Self

from luigi_ha.appliance.lab import inside
from luigi_ha.appliance.lab.plan import Host
from luigi_ha.ha.vip.frames import ARP, announcements, claim, question

EVERY = 0.05  # s between two questions
INTERFACE = "eth0"
Told = Callable[[float, str], object]


def announce(pid: int, host: Host, address: str) -> None:
    """Say on the segment that the host, whose process 1 is `pid`, has the address."""
    with closing(_listening(pid)) as wire:
        for frame in announcements(ipaddress.IPv4Address(address), _mac(host)):
            wire.sendto(frame.content, (INTERFACE, frame.kind, 0, 0, frame.to))


class Questions:
    """Asks from a host who has an address, and tells `told(at, name)` whenever somebody else answers than before, and
    of the last answer.

    `at`: CLOCK_BOOTTIME, s. Silence is not told; the caller's own calls show what that costs.
    """

    def __init__(self, pid: int, asker: Host, hosts: tuple[Host, ...], address: str, told: Told) -> None:
        self._wire = _listening(pid)
        self._asked = ipaddress.IPv4Address(address)
        self._frame = question(self._asked, _mac(asker))
        self._names = {_mac(host): host.name for host in hosts}
        self._told = told
        self.failed: str | None = None
        """Why it ended early; None: it did not."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join()
        self._wire.close()

    def _ask(self) -> None:
        try:
            self._converse()
        except Exception as error:  # noqa: BLE001 - a thread has nobody above it
            self.failed = f"{type(error).__name__}: {error}"

    def _converse(self) -> None:
        before: str | None = None
        last, due = 0.0, 0.0
        while not self._over.is_set():
            if time.monotonic() >= due:
                self._wire.sendto(self._frame.content, (INTERFACE, self._frame.kind, 0, 0, self._frame.to))
                due = time.monotonic() + EVERY
            if not select.select([self._wire], [], [], max(0.0, due - time.monotonic()))[0]:
                continue
            said = claim(ARP, self._wire.recv(2048))
            if said is not None and said[0] == self._asked:
                last, name = time.clock_gettime(time.CLOCK_BOOTTIME), self._names.get(said[1], said[1].hex(":"))
                if name != before:
                    self._told(last, name)
                before = name
        if before is not None:
            self._told(last, before)


def _listening(pid: int) -> socket.socket:
    wire = inside.socket_in(pid, socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ARP))
    wire.bind((INTERFACE, ARP))
    return wire


def _mac(host: Host) -> bytes:
    return bytes.fromhex(host.hardware.replace(":", ""))
