"""Looking at a host from another one: does it answer, is a port reached?"""

import os
import socket
import struct
import time
from contextlib import closing

from appliance.lab import inside

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


def reaches(pid: int, address: str, port: int) -> bool:
    """Whether a connection from where process `pid` is succeeds."""
    try:
        inside.connect(pid, address, port, REACH_SECONDS).close()
    except OSError:
        return False
    return True


def _echo(identity: int, number: int) -> bytes:
    payload = b"luigi-ha lab    "
    head = struct.pack("!BBHHH", _ECHO, 0, 0, identity, number)
    total = sum(struct.unpack("!12H", head + payload))
    total = (total >> 16) + (total & 0xFFFF)
    total += total >> 16
    return struct.pack("!BBHHH", _ECHO, 0, ~total & 0xFFFF, identity, number) + payload
