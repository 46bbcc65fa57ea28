"""One Ethernet segment on this machine: a switch and three hosts, each a network namespace, nothing in the root one.

    with segment() as net:
        net.a.ip("addr", "show")            # a command on a host
        with net.a.inside(): ...            # this thread, and the threads it starts, are on that host
        net.c.ask("10.9.0.100")             # whose UDP answers there, as seen by a client; None in 50 ms

Names start with lhv-<pid>-<number>-; what an earlier run that was killed left is removed at the start.
"""

import contextlib
import ctypes
import itertools
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.patience import patient

PREFIX = "lhv-"
PORT = 4711
_number = itertools.count(1)  # two segments of one process may live at once
_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


def why_not() -> str | None:
    """Why these tests cannot run here."""
    if os.geteuid() != 0:
        return "needs root: network namespaces are made"
    tried = subprocess.run(["unshare", "--net", "true"], check=False, capture_output=True, timeout=patient(10))
    return None if tried.returncode == 0 else f"no network namespaces: {tried.stderr.decode().strip()}"


@dataclass
class Host:
    """A network namespace with an interface eth0."""

    name: str
    number: int
    echo: list[socket.socket] = field(default_factory=list)

    @property
    def own4(self) -> str:
        return f"10.9.0.{self.number}"

    @property
    def own6(self) -> str:
        return f"fd00:9::{self.number}"

    @property
    def mac(self) -> str:
        return f"02:00:00:00:00:0{self.number}"

    def ip(self, *command: str) -> str:
        done = subprocess.run(
            ["ip", "-n", self.name, *command], check=False, capture_output=True, text=True, timeout=patient(10)
        )
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout

    def batch(self, *commands: str) -> None:
        """Several commands of ip, in one process."""
        command, given = ["ip", "-n", self.name, "-batch", "-"], "\n".join(commands)
        subprocess.run(command, input=given, check=True, capture_output=True, text=True, timeout=patient(10))

    def sysctl(self, name: str, value: str) -> None:
        """name like net/ipv6/conf/eth0/disable_ipv6"""
        with self.inside():
            Path("/proc/sys", name).write_text(value)

    def has(self, address: str) -> bool:
        return f" {address}/" in self.ip("-o", "addr", "show", "dev", "eth0")

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        with Path("/proc/thread-self/ns/net").open() as before, Path("/run/netns", self.name).open() as here:
            _enter(here.fileno())
            try:
                yield
            finally:
                _enter(before.fileno())

    def udp(self, address: str) -> socket.socket:
        """A datagram socket on this host, of the address's family."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with self.inside():
            return socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def serve(self, *addresses: str) -> None:
        """Answer under these addresses with the own name, whether this host has them or not."""
        for address in addresses:
            opened = self.udp(address)
            level, option = (socket.IPPROTO_IPV6, 78) if ":" in address else (socket.IPPROTO_IP, 15)  # *_FREEBIND
            opened.setsockopt(level, option, 1)
            opened.bind((address, PORT))
            self.echo.append(opened)

    def answer(self) -> None:
        for one in self.echo:
            with contextlib.suppress(BlockingIOError):
                while True:
                    _, who = one.recvfrom(100)
                    one.sendto(self.name.encode(), who)


@dataclass
class Segment:
    """Hosts a and b, which may hold addresses, and c, the client."""

    switch: Host
    a: Host
    b: Host
    c: Host

    def who_has(self, address: str, patience: float = 0.05) -> Host | None:
        """Who answers the client there; None if nobody does within `patience` s."""
        with self.c.udp(address) as asking:
            until = time.monotonic() + patience
            sent = 0.0
            while (now := time.monotonic()) < until:
                if now > sent + 0.005:
                    with contextlib.suppress(OSError):
                        asking.sendto(b"?", (address, PORT))
                    sent = now
                self.a.answer()
                self.b.answer()
                with contextlib.suppress(OSError):
                    name = asking.recv(100).decode()
                    return self.a if name == self.a.name else self.b
                time.sleep(0.0005)
        return None

    def until_at(self, host: Host, address: str, patience: float) -> float | None:
        """Seconds until the client reaches `host` under the address; None if not within `patience`."""
        started = time.monotonic()
        while time.monotonic() - started < patience:
            if self.who_has(address, 0.01) is host:
                return time.monotonic() - started
        return None

    def close(self) -> None:
        """Nobody answers any more."""
        for host in (self.a, self.b):
            for one in host.echo:
                one.close()
            host.echo.clear()

    def reset(self) -> None:
        """As at the start: own addresses only, up, nobody knows anybody."""
        for host in (self.a, self.b, self.c):
            host.batch(
                "link set eth0 up",
                "addr flush dev eth0 scope global",
                f"addr add {host.own4}/24 dev eth0",
                f"addr add {host.own6}/64 dev eth0 nodad",
                "neigh flush dev eth0",
            )


@contextlib.contextmanager
def segment() -> Iterator[Segment]:
    """Made anew, and gone afterwards."""
    _remove_left_behind()
    mine = f"{PREFIX}{os.getpid()}-{next(_number)}-"
    switch, *hosts = (Host(f"{mine}{name}", number) for number, name in enumerate(("sw", "a", "b", "c")))
    try:
        for host in (switch, *hosts):
            _run("ip", "netns", "add", host.name)
            host.ip("link", "set", "lo", "up")
        switch.ip("link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
        switch.ip("link", "set", "br0", "up")
        for host in hosts:
            plug(switch, host)
        net = Segment(switch, *hosts)
        net.reset()
        yield net
    finally:
        for host in (switch, *hosts):
            subprocess.run(["ip", "netns", "del", host.name], check=False, capture_output=True, timeout=patient(10))


def plug(switch: Host, host: Host) -> None:
    """A cable from the switch to the host's eth0."""
    port = f"p{host.number}"
    peer = ("peer", "name", port, "netns", switch.name)
    host.ip("link", "add", "eth0", "address", host.mac, "type", "veth", *peer)
    switch.ip("link", "set", port, "master", "br0", "up")
    host.ip("link", "set", "eth0", "up")


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=patient(10))


def _remove_left_behind() -> None:
    for path in Path("/run/netns").glob(f"{PREFIX}*-*"):
        pid = path.name.removeprefix(PREFIX).split("-")[0]
        if pid.isdigit() and not Path("/proc", pid).exists():
            subprocess.run(["ip", "netns", "del", path.name], check=False, capture_output=True, timeout=patient(10))


def _enter(descriptor: int) -> None:
    if _LIBC.setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")
