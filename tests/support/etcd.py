"""Throw-away etcd: real members on loopback ports, in a temporary directory, with short timers.

    with etcd_cluster() as cluster:
        cluster.endpoints            # ["http://127.0.0.1:40123", ...]
        cluster.members[0].kill()    # SIGKILL; start() continues with its data
        cluster.members[0].freeze()  # SIGSTOP; thaw() continues
        cluster.leader()             # the member that leads etcd now

The members flush to disk as in production. Heartbeat 50 ms and election 500 ms instead of 100 and 1000: an election
takes about half of what it takes in production, and the least time a lease can have is 1 s. Needs Debian's etcd-server.
"""

import contextlib
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from luigi_ha.appliance.lab.ports import free_port
from tests.support.servers import START_SECONDS, Server, ServerError

HEARTBEAT_MS = 50
ELECTION_MS = 500


@dataclass(frozen=True)
class Tls:
    """Files of one server: its certificate, its key, and the authority whose client certificates it takes."""

    certificate: Path
    key: Path
    authority: Path
    demand_client_certificate: bool = True


class Member(Server):
    """One etcd process."""

    name = "etcd"

    def __init__(
        self,
        directory: Path,
        label: str,
        tls: Tls | None = None,
        options: Sequence[str] = (),
        host: str = "127.0.0.1",
        inside: Sequence[str] = (),
    ) -> None:
        """`host`: the address it listens on; `inside`: what to put before its command line, e.g. to enter a namespace
        (as root)."""
        directory.mkdir()
        super().__init__(directory, "etcd", options)
        self.label = label
        self.tls = tls
        self.peer = f"http://{host}:{free_port()}"
        self.endpoint = f"http{'s' if tls else ''}://{host}:{self.port}"
        self.inside = list(inside)
        if inside:
            self.account = None
        self.together: Sequence[Member] = (self,)

    def command(self) -> list[str]:
        cluster = ",".join(f"{member.label}={member.peer}" for member in self.together)
        options = {
            "name": self.label, "data-dir": str(self.data), "listen-client-urls": self.endpoint,
            "advertise-client-urls": self.endpoint, "listen-peer-urls": self.peer,
            "initial-advertise-peer-urls": self.peer, "initial-cluster": cluster,
            "heartbeat-interval": HEARTBEAT_MS, "election-timeout": ELECTION_MS, "pre-vote": "true",
            "logger": "zap", "log-level": "warn",
        }  # fmt: skip
        if self.tls is not None:
            options |= {"cert-file": self.tls.certificate, "key-file": self.tls.key}
            options |= {"trusted-ca-file": self.tls.authority}
            options |= {"client-cert-auth": str(self.tls.demand_client_certificate).lower()}
        return [*self.inside, "etcd", *(f"--{name}={value}" for name, value in options.items())]

    def ask(self, path: str, **body: object) -> Any:
        """One question over the JSON gateway; an OSError if it is not answered well."""
        request = urllib.request.Request(self.endpoint + path, json.dumps(body).encode() if body else None)
        try:
            with urllib.request.urlopen(request, timeout=2) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as error:
            with error:
                raise OSError(f"{error.code} {error.reason}") from None

    def ready(self) -> bool:
        if self.tls is not None:  # whoever has no certificate may still see that it takes part in handshakes
            with contextlib.suppress(OSError):
                ssl.get_server_certificate(("127.0.0.1", self.port), timeout=2)
                return True
            return False
        try:
            return bool(self.ask("/health")["health"] == "true")
        except (OSError, ValueError):
            return False

    def launch(self) -> None:
        """Start without waiting: alone it is not ready."""
        ready, self.ready = self.ready, lambda: True  # type: ignore[method-assign]
        try:
            self.start()
        finally:
            self.ready = ready  # type: ignore[method-assign]

    def await_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self.ready():
            if self.process is None or self.process.poll() is not None or time.monotonic() > deadline:
                raise ServerError(f"{self.label} did not start: {self.log.read_text()[-2000:]}")
            time.sleep(0.02)


class Cluster:
    """Members that know each other."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = list(members)
        for member in members:
            member.together = members

    @property
    def endpoints(self) -> list[str]:
        return [member.endpoint for member in self.members]

    def start(self) -> None:
        """Start those that do not run, and return when all answer."""
        for member in self.members:
            if member.process is None:
                member.launch()
        for member in self.members:
            member.await_ready()

    def heal(self) -> None:
        """Everybody runs, nobody is frozen, all answer."""
        for member in self.members:
            member.thaw()
        self.start()

    def leader(self) -> Member:
        """The member that leads etcd; waits until there is one."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            for member in self.members:
                with contextlib.suppress(OSError, ValueError, KeyError):
                    status = member.ask("/v3/maintenance/status", x=0)
                    if status["leader"] == status["header"]["member_id"]:
                        return member
            time.sleep(0.02)
        raise ServerError("etcd has no leader")

    def kill(self) -> None:
        for member in self.members:
            member.kill()


@contextlib.contextmanager
def etcd_cluster(size: int = 3, tls: Tls | None = None, options: Sequence[str] = ()) -> Iterator[Cluster]:
    """A running cluster, empty."""
    with TemporaryDirectory(prefix="luigi-ha-etcd-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        directory.chmod(0o755)
        members = [Member(directory / f"m{number}", f"m{number}", tls, options) for number in range(1, size + 1)]
        cluster = Cluster(members)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.kill()
