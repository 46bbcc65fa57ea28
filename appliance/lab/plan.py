"""What a lab consists of: its hosts, their addresses, and the directory that holds everything.

A lab is identified by its directory alone. Each of its processes carries that directory in its command line, each of
its namespaces is held by such a process, and nothing has a name outside of them: two labs on one machine do not meet,
and what has no process left has left nothing.
"""

import json
import shutil
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

from luigi_ha.appliance.lab.errors import NoLab, WrongUse
from luigi_ha.ha.lease import Timing

DEFAULT_DIRECTORY = Path("/var/tmp/luigi-ha-lab")  # noqa: S108 - a directory that is not ours is refused
MARK = ".luigi-ha-lab"  # a directory with this file is ours to delete
PREFIX, PREFIX6 = 24, 64
NETWORK, NETWORK6 = "10.9.0.0/24", "fd00:9::/64"
VIP = "10.9.0.100"
PORT, ETCD_PORT, PEER_PORT, POSTGRES_PORT, PATRONI_PORT = 8082, 2379, 2380, 5432, 8008
QUICK = {"lease_ttl": 2.0, "renew_every": 0.5, "request_timeout": 0.9}  # a node's options for short leases
POSTGRES_BIN = Path("/usr/lib/postgresql/15/bin")
ACCOUNT = "postgres"  # runs etcd, Patroni and PostgreSQL; what runs as root on a host is luigi-ha
NEEDED = {
    "etcd": "etcd-server", "etcdctl": "etcd-client", "ip": "iproute2", "nft": "nftables", "nsenter": "util-linux",
    "setpriv": "util-linux", "unshare": "util-linux",
}  # fmt: skip
ROOM_FOR_MOUNTS = (Path("/run"), Path("/dev"), Path("/proc"), Path("/sys"))  # each host mounts its own over these


@dataclass(frozen=True)
class Host:
    """One machine of the lab. `etcd`, `postgres`, `serve`: which services it has."""

    name: str
    number: int
    etcd: bool = False
    postgres: bool = False
    serve: bool = False

    @property
    def address(self) -> str:
        return f"10.9.0.{self.number}"

    @property
    def address6(self) -> str:
        return f"fd00:9::{self.number}"

    @property
    def hardware(self) -> str:
        """Its MAC address: the same after it was unplugged and came back, as a real machine's."""
        return f"02:00:0a:09:00:{self.number:02x}"


SWITCH = Host("switch", 0)
CLIENT, OBSERVER, STRANGER = Host("client", 20), Host("observer", 30), Host("stranger", 40)


@dataclass(frozen=True)
class Plan:
    """A lab as it was asked for; kept in its directory."""

    directory: Path
    witness: bool = False  # two full hosts and one with etcd alone, instead of three full ones
    stop_hook: bool = True  # run `luigi-ha release` after serve has died, as systemd's ExecStopPost= would
    failsafe: bool = True  # Patroni's failsafe_mode: a primary stays one while etcd is away and all members agree
    quick: bool = True  # leases of 2 s instead of the default 3: for a machine that does nothing else
    clocks: bool = False  # each host has a time of day of its own, for luigi-ha, Patroni and PostgreSQL
    disks: bool = False  # PostgreSQL of each host is on a small disk of its own, which can be full
    vip: bool = True  # an address moves with the leader; without one, clients find it by themselves
    environ: dict[str, str] = field(default_factory=dict)  # more variables of luigi-ha, as Environment= in its unit

    @property
    def nodes(self) -> tuple[Host, ...]:
        """The hosts of the cluster."""
        full = 2 if self.witness else 3
        return tuple(
            Host(f"n{number}", number, etcd=True, postgres=number <= full, serve=number <= full) for number in (1, 2, 3)
        )

    @property
    def hosts(self) -> tuple[Host, ...]:
        """Everything that is plugged into the switch."""
        return (*self.nodes, CLIENT, OBSERVER, STRANGER)

    @property
    def data_nodes(self) -> tuple[Host, ...]:
        return tuple(host for host in self.nodes if host.postgres)

    @property
    def servers(self) -> tuple[Host, ...]:
        return tuple(host for host in self.nodes if host.serve)

    def host(self, name: str) -> Host:
        for host in (SWITCH, *self.hosts):
            if host.name == name:
                return host
        known = ", ".join(host.name for host in self.hosts)
        raise WrongUse(f"no host {name!r} in this lab; its hosts are {known}")

    def of(self, host: Host) -> Path:
        """The host's own directory: its disk, which it keeps when it is unplugged."""
        return self.directory / host.name

    def config(self, host: Host) -> Path:
        """The configuration of the host's node."""
        return self.of(host) / "luigi-ha.toml"

    @property
    def logs(self) -> Path:
        return self.directory / "log"

    @property
    def lease(self) -> float:
        """How long a lease of leadership holds without renewal, s."""
        return QUICK["lease_ttl"] if self.quick else Timing().ttl

    @property
    def vip_url(self) -> str:
        """Where clients call: the address that moves; without one, one of the nodes."""
        return f"http://{VIP if self.vip else self.servers[0].address}:{PORT}"

    def disk(self, host: Host) -> Path:
        """The image of the disk that PostgreSQL of this host is on."""
        return self.of(host) / "disk.img"

    def save(self) -> None:
        (self.directory / "lab.json").write_text(json.dumps({**asdict(self), "directory": str(self.directory)}))

    @classmethod
    def load(cls, directory: Path) -> "Plan":
        """The plan of the lab in this directory; NoLab if there is none."""
        try:
            kept = json.loads((directory / "lab.json").read_text())
        except (OSError, ValueError):
            raise NoLab(f"no lab in {directory}: luigi-ha lab up") from None
        return cls(**{**kept, "directory": directory})


def check_machine(directory: Path) -> None:
    """WrongUse unless this machine has what a lab needs, and the directory may become one."""
    missing = {package for program, package in NEEDED.items() if shutil.which(program) is None}
    if not (POSTGRES_BIN / "postgres").exists():
        missing.add("postgresql-15")
    if missing:
        raise WrongUse(f"the lab needs these packages: apt-get install {' '.join(sorted(missing))}")
    if not any((Path(place) / "patroni").is_dir() for place in sys.path if place):
        raise WrongUse("the lab needs Patroni: pip install 'luigi-ha[lab]'")
    if any(directory.is_relative_to(place) for place in ROOM_FOR_MOUNTS):
        raise WrongUse(f"{directory}: a lab's hosts have their own /run and /dev/shm; choose a directory elsewhere")
    if directory.exists() and not (directory / MARK).exists() and any(directory.iterdir()):
        raise WrongUse(f"{directory} holds something that is not a lab; choose another directory")
