"""Machines as network namespaces: a switch, hosts that can be unplugged from it, and threads that run on one of them.

    with lan("a", "b") as net:
        net.on("a", server.start)      # in a thread of that host, and so are the processes and threads it starts
        net.unplug("a")                # nobody answers for it any more; no connection is reset

The switch itself is a host too, "c" (10.77.0.1); the others follow in order. Names carry our process id, so what a
killed run left behind is found and removed by the next.
"""

import contextlib
import ctypes
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from tests.support.patience import patient

T = TypeVar("T")
PREFIX = "lhs-"
NEW_NETWORK = 0x40000000  # CLONE_NEWNET
SWITCH = "c"


def available() -> bool:
    """Whether we may make namespaces here."""
    return os.geteuid() == 0 and shutil.which("ip") is not None


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=patient(10))


def _names() -> list[str]:
    listed = subprocess.run(
        ["ip", "netns", "list"], check=True, capture_output=True, text=True, timeout=patient(10)
    ).stdout
    return [line.split()[0] for line in listed.splitlines() if line.startswith(PREFIX)]


class Lan:
    """See the module."""

    def __init__(self, hosts: tuple[str, ...]) -> None:
        self.hosts = hosts
        self._prefix = f"{PREFIX}{os.getpid()}-"

    def address(self, host: str) -> str:
        """The host's address."""
        return f"10.77.0.{(SWITCH, *self.hosts).index(host) + 1}"

    def build(self) -> None:
        for host in (SWITCH, *self.hosts):
            _ip("netns", "add", self._prefix + host)
            _ip("-n", self._prefix + host, "link", "set", "lo", "up")
        switch = self._prefix + SWITCH
        _ip("-n", switch, "link", "add", "br0", "type", "bridge")
        _ip("-n", switch, "addr", "add", f"{self.address(SWITCH)}/24", "dev", "br0")
        _ip("-n", switch, "link", "set", "br0", "up")
        for host in self.hosts:
            there = self._prefix + host
            _ip("-n", switch, "link", "add", f"to-{host}", "type", "veth", "peer", "name", "eth0", "netns", there)
            _ip("-n", switch, "link", "set", f"to-{host}", "master", "br0", "up")
            _ip("-n", there, "addr", "add", f"{self.address(host)}/24", "dev", "eth0")
            _ip("-n", there, "link", "set", "eth0", "up")

    def unplug(self, host: str) -> None:
        """Pull the host's cable."""
        _ip("-n", self._prefix + SWITCH, "link", "set", f"to-{host}", "down")

    def plug(self, host: str) -> None:
        """Put it back."""
        _ip("-n", self._prefix + SWITCH, "link", "set", f"to-{host}", "up")

    def on(self, host: str, work: Callable[[], T]) -> T:
        """Run `work` in a thread on that host, and wait for it."""
        results: list[T] = []
        errors: list[BaseException] = []

        def enter_and_work() -> None:
            try:
                with Path(f"/run/netns/{self._prefix}{host}").open() as namespace:
                    libc = ctypes.CDLL(None, use_errno=True)
                    if libc.setns(namespace.fileno(), NEW_NETWORK):
                        raise OSError(ctypes.get_errno(), "setns")
                results.append(work())
            except BaseException as error:  # noqa: BLE001 - raised again where the caller is
                errors.append(error)

        thread = threading.Thread(target=enter_and_work)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return results[0]


def _sweep(mine: str = "") -> None:
    for name in _names():
        pid = name.removeprefix(PREFIX).partition("-")[0]
        if (mine and name.startswith(mine)) or not Path(f"/proc/{pid}").exists():
            with contextlib.suppress(subprocess.SubprocessError):
                _ip("netns", "del", name)


@contextlib.contextmanager
def lan(*hosts: str) -> Iterator[Lan]:
    """A switch with these hosts."""
    _sweep()
    net = Lan(hosts)
    try:
        net.build()
        yield net
    finally:
        _sweep(f"{PREFIX}{os.getpid()}-")
