"""What systemd wants to hear (sd_notify), over its datagram socket. Without systemd: nothing happens."""

import contextlib
import os
import socket


class Notifier:
    """Reads NOTIFY_SOCKET and WATCHDOG_USEC once, and takes them out of the environment: tasks are not the service."""

    def __init__(self) -> None:
        self._path = os.environ.pop("NOTIFY_SOCKET", "")
        microseconds = os.environ.pop("WATCHDOG_USEC", "")
        watched = os.environ.pop("WATCHDOG_PID", "")
        ours = watched in ("", str(os.getpid()))
        self.watchdog = int(microseconds) / 1e6 if microseconds.isdecimal() and ours and self._path else 0.0

    def tell(self, *lines: str) -> None:
        """`READY=1`, `STATUS=...`, `STOPPING=1`, `WATCHDOG=1`. A supervisor that does not listen is no error."""
        if not self._path:
            return
        where = "\0" + self._path[1:] if self._path.startswith("@") else self._path
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.settimeout(1)
            sock.sendto("\n".join(lines).encode(), where)
