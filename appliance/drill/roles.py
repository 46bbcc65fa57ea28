"""Who has which role in a lab, moved before a fault strikes, so that it hits what it is meant for.

L leads, P has PostgreSQL's primary, S its synchronous standby, E etcd's leader. The cluster keeps its roles apart by
itself, so etcd's leader is moved just before the strike.
"""

import time

from luigi_ha.appliance.drill.place import DrillError, now
from luigi_ha.appliance.lab.errors import LabError
from luigi_ha.appliance.lab.lab import Lab

ABLE_WITHIN = 30.0  # s for a node to have read the state
ARMED_WITHIN = 60.0
TRIES = 3


def lead(lab: Lab, name: str) -> None:
    """Make this node lead, by the product's own command; as soon as it can, if it has just come back."""
    until = now() + ABLE_WITHIN
    while lab.leader() != name:
        try:
            lab.run(name, ["luigi-ha", "switchover", name, "--config", config(lab, name)])
        except LabError as error:
            if "cannot lead" not in str(error) or now() > until:
                raise
            time.sleep(1.0)


def config(lab: Lab, name: str) -> str:
    return str(lab.plan.config(lab.plan.host(name)))


def beside_primary(lab: Lab) -> None:
    """L and P on one host, and the failover of the database armed."""
    lab.wait_until_ready()
    lead(lab, str(lab.state().primary))
    armed(lab)


def apart(lab: Lab) -> None:
    """L on a host that has neither P nor S: its loss costs PostgreSQL nothing."""
    lab.wait_until_ready()
    state = lab.state()
    busy = {state.primary, *state.synchronous}
    if state.leader in busy:
        lead(lab, next(host.name for host in lab.plan.servers if host.name not in busy))
    armed(lab)


def etcd_to(lab: Lab, name: str) -> None:
    if lab.state().etcd_leader != name:
        lab.faults.move_etcd_leader(name)


def etcd_off(lab: Lab, *names: str | None) -> None:
    """Let etcd's leader be on none of these."""
    if lab.state().etcd_leader in names:
        etcd_to(lab, next(host.name for host in lab.plan.nodes if host.name not in names))


def bystander(lab: Lab) -> str:
    """A host that neither leads nor has the primary nor its synchronous standby."""
    state = lab.state()
    busy = {state.leader, state.primary, *state.synchronous}
    found = [host.name for host in lab.plan.servers if host.name not in busy]
    if not found:
        raise DrillError("each host has a role now")
    return found[0]


def host_with(lab: Lab, holds: str) -> tuple[str, str]:
    """The host that has exactly these of the roles L, P and E (none: nor S), and who has which. etcd's leader, which
    the cluster moves by itself, is moved back; DrillError if it is not so."""
    said = ""
    for _ in range(TRIES):
        state = lab.state()
        has = {"L": state.leader, "P": state.primary, "E": state.etcd_leader}
        said = ", ".join(f"{role} on {name}" for role, name in has.items())
        name = has[holds[0]] if holds else bystander(lab)
        if name is not None and {role for role, host in has.items() if host == name} == set(holds):
            return name, said
        if name is not None:
            (etcd_to if "E" in holds else etcd_off)(lab, name)
    raise DrillError(f"no host has {holds or 'no role'} alone: {said}")


def armed(lab: Lab) -> None:
    """Wait until a survivor would move the primary."""
    until, said = now() + ARMED_WITHIN, None
    while now() < until:
        leader = lab.leader()
        if leader is not None and " " not in leader:
            said = (lab.state().nodes[leader].serve or {}).get("database_failover") or {}
            if said.get("armed"):
                return
        time.sleep(0.2)
    raise DrillError(f"the failover of the database is not armed: {(said or {}).get('why_not')}")
