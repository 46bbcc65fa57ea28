"""Ports for servers that are started by their number, or again on the one they had.

They lie below those that the kernel gives to outgoing connections (32768 and more on Linux): of these, one whose server
is away may become the source of somebody's connection, even of one to itself, and the server cannot come back.
"""

import itertools
import os
import socket

_FIRST = 10_000
_EACH = 2_500  # for each of the processes among which pytest-xdist deals the tests, so that no two try one at a time
_SLICES = 8

_numbers = itertools.count(os.getpid() * 61)


def free_port() -> int:
    """A port of the loopback address that nobody listens on now, and that this process has not given out of late."""
    name = os.environ.get("PYTEST_XDIST_WORKER", "gw7")
    first = _FIRST + int(name.removeprefix("gw")) % _SLICES * _EACH
    for number in itertools.islice(_numbers, _EACH):
        port = first + number % _EACH
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"every port from {first} to {first + _EACH - 1} is taken")
