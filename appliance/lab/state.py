"""Who is what in a running lab, asked of the parts themselves: etcd, Patroni, luigi-ha, the kernel.

Each node is asked from its own namespace at its own address, so that a node cut off from the others still answers.
Nobody's answer is trusted for another: `None` means that nobody said so.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from luigi_ha.appliance.lab import inside, network
from luigi_ha.appliance.lab.errors import LabError
from luigi_ha.appliance.lab.plan import ETCD_PORT, PATRONI_PORT, PORT, VIP, Host, Plan
from luigi_ha.appliance.lab.processes import Process

TIMEOUT = 1.5  # s, each question


@dataclass(frozen=True)
class NodeState:
    """What one node says about its parts; None where it does not answer."""

    etcd: Mapping[str, Any] | None = None  # {"leads": bool, "member": hex id, "term": int}
    patroni: Mapping[str, Any] | None = None  # {"role", "state", "sync": bool, "timeline", ...}
    serve: Mapping[str, Any] | None = None  # its /api/cluster
    leads: bool = False  # its /leader says 200
    addresses: tuple[str, ...] = ()  # on eth0


@dataclass(frozen=True)
class ClusterState:
    """All nodes, and who leads what. Two leaders of one thing are named both."""

    nodes: Mapping[str, NodeState] = field(default_factory=dict)

    @property
    def etcd_leader(self) -> str | None:
        return _joined(name for name, node in self.nodes.items() if node.etcd and node.etcd["leads"])

    @property
    def primary(self) -> str | None:
        return _joined(name for name, node in self.nodes.items() if _patroni(node, "role") in ("primary", "master"))

    @property
    def synchronous(self) -> tuple[str, ...]:
        return tuple(name for name, node in self.nodes.items() if _patroni(node, "sync"))

    @property
    def leader(self) -> str | None:
        return _joined(name for name, node in self.nodes.items() if node.leads)

    @property
    def vip_holder(self) -> str | None:
        return _joined(name for name, node in self.nodes.items() if VIP in node.addresses)


def cluster(plan: Plan, inits: Mapping[str, Process]) -> ClusterState:
    """Ask all nodes at once; takes at most a few timeouts."""
    with ThreadPoolExecutor(len(plan.nodes)) as pool:
        states = pool.map(lambda host: node(host, inits.get(host.name)), plan.nodes)
        return ClusterState(dict(zip((host.name for host in plan.nodes), states, strict=True)))


def brief(now: ClusterState) -> str:
    """One line for people: who says what."""
    said = []
    for name, node_ in now.nodes.items():
        silent = [part for part in ("etcd", "patroni", "serve") if getattr(node_, part) is None]
        about = [f"no {part} answers" for part in silent]
        if node_.patroni:
            about.append(f"PostgreSQL is {node_.patroni['role']}, {node_.patroni['state']}")
        if node_.serve:
            about.append(f"luigi-ha is {node_.serve.get('state')}")
        said.append(f"{name}: {', '.join(about)}")
    return "; ".join([*said, f"leader: {now.leader or 'none'}, address: {now.vip_holder or 'nowhere'}"])


def node(host: Host, init: Process | None) -> NodeState:
    """Ask one node."""
    if init is None:
        return NodeState()
    pid = init.pid
    return NodeState(
        etcd(pid, host) if host.etcd else None,
        patroni(pid, host) if host.postgres else None,
        _dictionary(pid, host, PORT, "/api/cluster") if host.serve else None,
        _status(pid, host, PORT, "/leader") == 200 if host.serve else False,
        _addresses(pid),
    )


def etcd(pid: int, host: Host) -> dict[str, Any] | None:
    """Whether this member answers, and whether it leads."""
    try:
        code, said = inside.ask(
            pid, host.address, ETCD_PORT, "/v3/maintenance/status", method="POST", body={}, timeout=TIMEOUT
        )
        if code != 200 or "leader" not in said:
            return None
        member = said["header"]["member_id"]
        return {"leads": said["leader"] == member, "member": member, "term": int(said.get("raftTerm", 0))}
    except (OSError, KeyError, TypeError):
        return None


def patroni(pid: int, host: Host) -> dict[str, Any] | None:
    """What Patroni says of its PostgreSQL."""
    said = _dictionary(pid, host, PATRONI_PORT, "/patroni")
    if said is None or "role" not in said:
        return None
    kept = {name: said.get(name) for name in ("role", "state", "timeline", "replication_state", "pause")}
    return {**kept, "sync": bool(said.get("sync_standby"))}


def _dictionary(pid: int, host: Host, port: int, path: str) -> dict[str, Any] | None:
    try:
        said = inside.ask(pid, host.address, port, path, timeout=TIMEOUT)[1]
    except OSError:
        return None
    return said if isinstance(said, dict) else None


def _status(pid: int, host: Host, port: int, path: str) -> int | None:
    try:
        return inside.ask(pid, host.address, port, path, timeout=TIMEOUT)[0]
    except OSError:
        return None


def _addresses(pid: int) -> tuple[str, ...]:
    try:
        return tuple(network.addresses(pid))
    except LabError:
        return ()


def _patroni(state: NodeState, name: str) -> Any:
    return state.patroni[name] if state.patroni else None


def _joined(names: Any) -> str | None:
    found = list(names)
    return " and ".join(found) if found else None
