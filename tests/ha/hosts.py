"""Hosts on one machine: a network namespace each, on a bridge in a namespace of its own. Needs root and iproute2.

with hosts("a", "b") as network:
    network.inside("a")        # what to put before a command line
    network.address("a")       # 10.77.0.1
    network.cut("a")           # the switch drops everything; the carrier stays. mend("a") ends it
"""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.support.patience import patient

NAMESPACES = Path("/run/netns")
PREFIX = "lhm"


class Network:
    def __init__(self, names: tuple[str, ...], owner: int | None = None) -> None:
        """`owner`: the process whose network it is; None: this one."""
        self._names = names
        self._owner = owner or os.getpid()
        self._switch = self._space("sw")

    def inside(self, name: str) -> list[str]:
        return ["ip", "netns", "exec", self._space(name)]

    def address(self, name: str) -> str:
        return f"10.77.0.{self._names.index(name) + 1}"

    def cut(self, name: str) -> None:
        self._run("ip", "netns", "exec", self._switch, "bridge", "link", "set", "dev", f"p-{name}", "state", "0")

    def mend(self, name: str) -> None:
        self._run("ip", "netns", "exec", self._switch, "bridge", "link", "set", "dev", f"p-{name}", "state", "3")

    def make(self) -> None:
        self._run("ip", "netns", "add", self._switch)
        self._run("ip", "-n", self._switch, "link", "add", "br0", "type", "bridge", "stp_state", "0")
        self._run("ip", "-n", self._switch, "link", "set", "br0", "up")
        for name in self._names:
            space = self._space(name)
            self._run("ip", "netns", "add", space)
            self._run("ip", "-n", self._switch, "link", "add", f"p-{name}", "type", "veth",
                      "peer", "name", "eth0", "netns", space)  # fmt: skip
            self._run("ip", "-n", self._switch, "link", "set", f"p-{name}", "master", "br0", "up")
            self._run("ip", "-n", space, "address", "add", f"{self.address(name)}/24", "dev", "eth0")
            for link in ("lo", "eth0"):
                self._run("ip", "-n", space, "link", "set", link, "up")

    def _space(self, name: str) -> str:
        return f"{PREFIX}{self._owner}-{name}"

    @staticmethod
    def _run(*command: str) -> None:
        subprocess.run(command, check=True, capture_output=True, timeout=patient(20))


@contextlib.contextmanager
def hosts(*names: str) -> Iterator[Network]:
    """A network of these hosts; what processes that do not live any more have left behind is removed first."""
    sweep(os.getpid(), gone_only=True)
    network = Network(names)
    try:
        network.make()
        yield network
    finally:
        sweep(os.getpid())


def sweep(pid: int, *, gone_only: bool = False) -> None:
    """Remove this process's namespaces, or those of processes that have ended."""
    for path in NAMESPACES.glob(f"{PREFIX}*-*"):
        owner = path.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdigit() and (not Path(f"/proc/{owner}").exists() if gone_only else int(owner) == pid):
            subprocess.run(["ip", "netns", "delete", path.name], check=False, capture_output=True, timeout=patient(20))
