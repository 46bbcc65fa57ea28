"""Looking at a host from another one: does it answer, is a port reached?"""

import os
import socket
import struct
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from luigi_ha.appliance.lab import inside
from luigi_ha.appliance.lab.plan import Host

PING_SECONDS, PINGS = 0.25, 3
REACH_SECONDS = 0.5
_ECHO, _REPLY = 8, 0


def ping(pid: int, address: str) -> bool:
    """Whether `address` answers one of a few ICMP echo requests sent from where process `pid` is."""
    identity = os.getpid() & 0xFFFF
    with closing(inside.socket_in(pid, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)) as raw:
        for number in range(1, PINGS + 1):
            deadline = time.monotonic() + PING_SECONDS
            try:
                raw.sendto(_echo(identity, number), (address, 0))
                while (left := deadline - time.monotonic()) > 0:
                    raw.settimeout(left)
                    packet, (sender, _) = raw.recvfrom(2048)
                    kind, _, _, echoed, _ = struct.unpack_from("!BBHHH", packet, (packet[0] & 15) * 4)
                    if sender == address and kind == _REPLY and echoed == identity:
                        return True
            except OSError:  # no answer in time, or no way there
                continue
    return False


def reached(pid: int, hosts: Iterable[Host], port: int) -> list[Host]:
    """To which of the hosts a connection from where process `pid` is succeeds; all are tried at once."""

    def reaches(host: Host) -> bool:
        try:
            inside.connect(pid, host.address, port, REACH_SECONDS).close()
        except OSError:
            return False
        return True

    asked = list(hosts)
    with ThreadPoolExecutor(max(1, len(asked))) as pool:
        return [host for host, yes in zip(asked, pool.map(reaches, asked), strict=True) if yes]


def _echo(identity: int, number: int) -> bytes:
    payload = b"luigi-ha lab    "
    head = struct.pack("!BBHHH", _ECHO, 0, 0, identity, number)
    total = sum(struct.unpack("!12H", head + payload))
    total = (total >> 16) + (total & 0xFFFF)
    total += total >> 16
    return struct.pack("!BBHHH", _ECHO, 0, ~total & 0xFFFF, identity, number) + payload
