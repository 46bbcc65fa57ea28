"""The address as the wire knows it: who answers for it, asked all the time; and claiming it for somebody else."""

import ipaddress
import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing

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


def ask(pid: int, asker: Host, hosts: tuple[Host, ...], address: str, told: Told, over: threading.Event) -> None:
    """Ask from a host who has an address, until it is over; tell `told(at, name)` whenever somebody else answers than
    before, and of the last answer.

    `at`: CLOCK_BOOTTIME, s. Silence is not told; the caller's own calls show what that costs.
    """
    asked, names = ipaddress.IPv4Address(address), {_mac(host): host.name for host in hosts}
    frame = question(asked, _mac(asker))
    before: str | None = None
    last, due = 0.0, 0.0
    with closing(_listening(pid)) as wire:
        while not over.is_set():
            if time.monotonic() >= due:
                wire.sendto(frame.content, (INTERFACE, frame.kind, 0, 0, frame.to))
                due = time.monotonic() + EVERY
            if not select.select([wire], [], [], max(0.0, due - time.monotonic()))[0]:
                continue
            said = claim(ARP, wire.recv(2048))
            if said is not None and said[0] == asked:
                last, name = time.clock_gettime(time.CLOCK_BOOTTIME), names.get(said[1], said[1].hex(":"))
                if name != before:
                    told(last, name)
                before = name
    if before is not None:
        told(last, before)


def _listening(pid: int) -> socket.socket:
    wire = inside.socket_in(pid, socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ARP))
    wire.bind((INTERFACE, ARP))
    return wire


def _mac(host: Host) -> bytes:
    return bytes.fromhex(host.hardware.replace(":", ""))
