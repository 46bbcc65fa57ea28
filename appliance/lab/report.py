"""The lab's state for people and for programs: hosts, services, who leads what, what is broken on purpose."""

import json
from typing import TYPE_CHECKING, Any

from luigi_ha.appliance.lab import network, processes
from luigi_ha.appliance.lab.errors import LabError
from luigi_ha.appliance.lab.plan import SWITCH, VIP, Host
from luigi_ha.appliance.lab.state import ClusterState, NodeState

if TYPE_CHECKING:
    from luigi_ha.appliance.lab.lab import Lab

BROKEN = "the lab is not whole (it crashed, or is coming up): `luigi-ha lab down`, or `up` again"


def status(lab: "Lab") -> dict[str, Any]:
    """Everything, as JSON would have it."""
    plan, inits, cluster = lab.plan, lab.inits(), lab.state()
    switch = inits.get(SWITCH.name)
    ports = network.plugged(switch.pid) if switch else {}
    return {
        "directory": str(plan.directory),
        "witness": plan.witness,
        "stop_hook": plan.stop_hook,
        "whole": switch is not None,
        "leader": cluster.leader,
        "vip": {"address": VIP if plan.vip else None, "holder": cluster.vip_holder, "url": plan.vip_url},
        "primary": cluster.primary,
        "synchronous": list(cluster.synchronous),
        "etcd_leader": cluster.etcd_leader,
        "hosts": {host.name: _host(lab, host, inits.get(host.name), ports, cluster) for host in plan.hosts},
    }


def text(said: dict[str, Any]) -> str:
    """The same for people."""
    standbys = ", ".join(said["synchronous"]) or "no host"
    address, holder, url = (said["vip"][name] for name in ("address", "holder", "url"))
    where = f"{address} on {holder or 'no host'}" if address else "none that moves"
    lines = [
        f"luigi-ha leads on  {said['leader'] or 'no host'}",
        f"address            {where} ({url})",
        f"PostgreSQL         primary on {said['primary'] or 'no host'}, synchronous standby on {standbys}",
        f"etcd               leader on {said['etcd_leader'] or 'no host'}",
        "",
    ]
    for name, host in said["hosts"].items():
        state = ", ".join([*host["faults"]]) or ("plugged in" if host["running"] else "unplugged")
        lines.append(f"{name:<9}{host['address']:<11}{state}")
        for service, about in host["services"].items():
            what = f"{about['phase']:<9}" + (f"pid {about['inner']}" if about["inner"] else "")
            again = f", {about['starts']} starts, last end: {about['last_end']}" if about["starts"] > 1 else ""
            lines.append(f"         {service:<11}{what}{again}{_said(service, host)}")
    if not said["whole"]:
        lines.append(BROKEN)
    return "\n".join(lines)


def _host(
    lab: "Lab", host: Host, init: processes.Process | None, ports: dict[str, bool], cluster: ClusterState
) -> dict[str, Any]:
    node = cluster.nodes.get(host.name, NodeState())
    return {
        "address": host.address,
        "running": init is not None,
        "faults": [] if init is None else _faults(host, init, ports),
        "services": {} if init is None else _services(lab, host),
        "etcd": node.etcd,
        "patroni": node.patroni,
        "serve": None if node.serve is None else {"state": node.serve.get("state"), "leads": node.leads},
        "addresses": list(node.addresses),
    }


def _services(lab: "Lab", host: Host) -> dict[str, Any]:
    try:
        services: dict[str, Any] = json.loads((lab.plan.of(host) / "services.json").read_text())
    except (OSError, ValueError):
        return {}
    return services


def _faults(host: Host, init: processes.Process, ports: dict[str, bool]) -> list[str]:
    found = [] if ports.get(host.name, True) else ["cut off from everybody"]
    try:
        found += [f"filter {name} ({packets} packets dropped)" for name, packets in network.filters(init.pid).items()]
    except LabError:
        return [*found, "gone while asked"]
    stopped = [process for process in processes.inside(init) if process.state in "Tt"]
    if stopped:
        found.append(f"frozen: {', '.join(sorted({process.service or 'other' for process in stopped}))}")
    return found


def _said(service: str, host: dict[str, Any]) -> str:
    """What the service says of itself."""
    about = host[service] if service in ("etcd", "patroni", "serve") else None
    if about is None:
        return "  does not answer"
    match service:
        case "etcd":
            return "  leads" if about["leads"] else ""
        case "patroni":
            return f"  {about['role']}, {about['replication_state'] or about['state']}" + (
                ", synchronous" if about["sync"] else ""
            )
        case _:
            return f"  {about['state']}"
