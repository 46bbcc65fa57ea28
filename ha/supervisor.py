"""Tell systemd how we are: readiness, status, watchdog. No effect without a supervisor (NOTIFY_SOCKET unset).

The protocol is one datagram of NAME=value lines to a Unix socket; a leading @ means the abstract namespace.
"""

import contextlib
import os
import socket
from collections.abc import Mapping

from luigi_ha.ha.log import Events

_log = Events("supervisor")


class Supervisor:
    """sd_notify(3), from the environment of the process."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        self._address = environment.get("NOTIFY_SOCKET", "")
        if self._address and self._address[0] not in "/@":
            _log.warning("notify_socket_unusable", address=self._address, expected="a path or @name")
            self._address = ""
        microseconds, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
        ours = not pid or pid == str(os.getpid())
        # s between two signs of life: half of what systemd allows; None: nobody watches
        self.watchdog_every = int(microseconds) / 2e6 if microseconds.isdigit() and ours and self._address else None

    def ready(self, status: str) -> None:
        self._send(f"READY=1\nSTATUS={status}")

    def status(self, status: str) -> None:
        self._send(f"STATUS={status}")

    def stopping(self, status: str) -> None:
        self._send(f"STOPPING=1\nSTATUS={status}")

    def alive(self) -> None:
        self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as out:
            out.setblocking(False)
            try:
                out.sendto(message.encode(), address)
            except OSError as error:
                _log.warning("notify_failed", address=self._address, error=str(error))
