"""One command at a time brings a lab up or down.

The lock is a Unix socket in the abstract namespace, named after the lab's directory: it exists as long as its process
and leaves nothing behind, whatever happens.
"""

import hashlib
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from luigi_ha.appliance.lab.errors import LabError

WAIT = 120.0  # s; longer than another command takes


@contextmanager
def exclusive(directory: Path, wait: float = WAIT) -> Iterator[None]:
    """Hold the lab's lock; waits for another command to finish, LabError if that takes too long."""
    name = "\0luigi-ha-lab-" + hashlib.sha256(str(directory).encode()).hexdigest()
    deadline = time.monotonic() + wait
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as lock:
        while True:
            try:
                lock.bind(name)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise LabError(f"{_holder(name)} is still at work on the lab in {directory}") from None
                time.sleep(0.1)
        lock.listen(1)
        yield


def _holder(name: str) -> str:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.settimeout(1)
            asking.connect(name)
            pid, _, _ = struct.unpack("3i", asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            return f"process {pid}"
    except OSError:
        return "another command"
