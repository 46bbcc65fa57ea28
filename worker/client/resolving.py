"""Names to socket addresses, remembered, so that a name is looked up when connecting to what it meant has failed.

Why remember: a look-up holds locks of the C library that a process forked meanwhile would inherit locked. With `guard`
(luigi's fork_lock) a thread looks names up only while nobody forks, and with a memory that is hardly ever.
"""

import contextlib
import socket
from typing import Any

Found = tuple[int, tuple[Any, ...]]  # family, socket address


class Resolver:
    """One memory per client."""

    def __init__(self, guard: contextlib.AbstractContextManager[Any] | None = None) -> None:
        self._guard = guard if guard is not None else contextlib.nullcontext()
        self._known: dict[tuple[str, int], list[Found]] = {}

    def find(self, host: str, port: int) -> list[Found]:
        """All addresses of a host. OSError."""
        known = self._known.get((host, port))
        if known is None:
            with self._guard:
                infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            known = self._known[host, port] = list(dict.fromkeys((info[0], info[4]) for info in infos))
        return known

    def forget(self, host: str, port: int) -> None:
        """Connecting failed: the name may mean something else now."""
        self._known.pop((host, port), None)
