"""The faults of the drill: how the cluster is arranged before, what is done to it, and how that is mended."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from luigi_ha.appliance.lab import processes
from luigi_ha.appliance.lab.errors import LabError
from luigi_ha.appliance.lab.faults import Bite
from luigi_ha.appliance.lab.lab import Lab
from luigi_ha.appliance.lab.targets import Target, found

ENDED_WITHIN = 10.0  # s for a scheduler that has lost its keeper
ABLE_WITHIN = 30.0  # s for a node to have read the state
Arrange = Callable[[Lab], None]
Strike = Callable[[Lab], Bite]
Mend = Callable[[Lab, Bite], None]


@dataclass(frozen=True)
class Scenario:
    """`watch`: seconds of calls after the fault, before it is mended; `rest`: after it was mended."""

    name: str
    arrange: Arrange
    strike: Strike
    mend: Mend
    watch: float = 4.0
    rest: float = 0.5
    hook: bool = True  # the supervisor's stop hook runs


def now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def nothing(_lab: Lab, _bite: Bite | None = None) -> None:
    """Leave it as it is."""


def plug(lab: Lab, bite: Bite) -> None:
    lab.faults.plug(bite.host)


def heal(lab: Lab, bite: Bite) -> None:
    lab.faults.heal(bite.host)


def switch_to(lab: Lab, name: str) -> None:
    """Make this node lead, by the product's own command; as soon as it can, if it has just come back."""
    config = str(lab.plan.of(lab.plan.host(name)) / "luigi-ha.toml")
    until = now() + ABLE_WITHIN
    while True:
        try:
            lab.run(name, ["luigi-ha", "switchover", name, "--config", config])
        except LabError as error:
            if "cannot lead" not in str(error) or now() > until:
                raise
            time.sleep(1.0)
        else:
            return


def leader_beside_primary(lab: Lab) -> None:
    state = lab.state()
    if state.primary != state.leader:
        switch_to(lab, str(state.primary))


def leader_apart(lab: Lab) -> None:
    """The leader's host has neither the primary nor the synchronous standby: its loss costs PostgreSQL nothing."""
    state = lab.state()
    busy = {state.primary, *state.synchronous}
    if state.leader in busy:
        free = next(host.name for host in lab.plan.servers if host.name not in busy)
        switch_to(lab, free)


def etcd_elsewhere(lab: Lab) -> None:
    state = lab.state()
    if state.etcd_leader == state.leader:
        lab.faults.move_etcd_leader(next(node.name for node in lab.plan.nodes if node.name != state.leader))


def both(*steps: Arrange) -> Arrange:
    def arrange(lab: Lab) -> None:
        for step in steps:
            step(lab)

    return arrange


def unplug_bystander(lab: Lab) -> Bite:
    """The host that neither leads nor has the primary nor the synchronous standby."""
    state = lab.state()
    busy = {state.leader, state.primary, *state.synchronous}
    return lab.faults.unplug(next(host.name for host in lab.plan.servers if host.name not in busy))


def unplug_with_etcd(lab: Lab) -> Bite:
    etcd_to(lab, str(lab.leader()))
    return lab.faults.unplug("leader")


def etcd_to(lab: Lab, host: str) -> None:
    """Just before the strike: the leader itself moves etcd's leader to where it does least harm."""
    if lab.state().etcd_leader != host:
        lab.faults.move_etcd_leader(host)


def unplug_primary_alone(lab: Lab) -> Bite:
    state = lab.state()
    busy = (state.leader, state.primary)
    etcd_to(lab, next(node.name for node in lab.plan.nodes if node.name not in busy))
    return lab.faults.unplug("primary")


def unplug_primary_with_etcd(lab: Lab) -> Bite:
    etcd_to(lab, str(lab.state().primary))
    return lab.faults.unplug("primary")


def unplug_etcd_leader(lab: Lab) -> Bite:
    """A host that has etcd's leader, and neither leads nor has the primary."""
    state = lab.state()
    host = next(node.name for node in lab.plan.nodes if node.name not in (state.leader, state.primary))
    etcd_to(lab, host)
    return lab.faults.unplug(host)


def switchover_with_primary(lab: Lab) -> Bite:
    """To the host of the synchronous standby: the primary goes along."""
    state = lab.state()
    to = state.synchronous[0]
    at = now()
    switch_to(lab, to)
    until = now() + 5.0
    while lab.state().primary != to:
        if now() > until:
            raise LabError(f"the primary did not go along to {to}")
        time.sleep(0.1)
    return Bite("switchover", to, at, "the command says so, and the primary is there too")


def switchover(lab: Lab) -> Bite:
    state = lab.state()
    to = next(host.name for host in lab.plan.servers if host.name != state.leader)
    at = now()
    switch_to(lab, to)
    return Bite("switchover", to, at, "the command says so")


def freeze_patroni(lab: Lab) -> Bite:
    return lab.faults.freeze("primary", Target.PATRONI)


def thaw_patroni(lab: Lab, bite: Bite) -> None:
    lab.faults.thaw(bite.host, Target.PATRONI)


def kill(what: Target) -> Strike:
    """SIGKILL; then wait for the end of what goes down with it, which still takes calls until then."""

    def strike(lab: Lab) -> Bite:
        schedulers = found(lab.init(lab.resolve("leader").name), Target.SCHEDULER)
        with processes.held(process.pid for process in schedulers) as watched:
            bite = lab.faults.kill("leader", what)
            if processes.ended(watched, ENDED_WITHIN):
                raise LabError(f"the scheduler of {bite.host} lives on")
            return replace(bite, over=now())

    return strike


def freeze(what: Target) -> Strike:
    return lambda lab: lab.faults.freeze("leader", what)


def thaw(what: Target) -> Mend:
    return lambda lab, bite: lab.faults.thaw(bite.host, what) and None


def unplug_leader(lab: Lab) -> Bite:
    return lab.faults.unplug("leader")


def cut_leader(lab: Lab) -> Bite:
    return lab.faults.cut("leader")


def cut_etcd(lab: Lab) -> Bite:
    return lab.faults.cut_etcd("leader")


def cut_postgres(lab: Lab) -> Bite:
    return lab.faults.cut_postgres("leader")


def frozen(what: Target, arrange: Arrange) -> Scenario:
    return Scenario(f"freeze-{what.value}", arrange, freeze(what), thaw(what), watch=30.0, rest=5.0)


beside, apart = leader_beside_primary, both(leader_apart, etcd_elsewhere)
_TABLE = (
    Scenario("kill-scheduler", beside, kill(Target.SCHEDULER), nothing),
    Scenario("kill-keeper", beside, kill(Target.KEEPER), nothing, watch=6.0),
    Scenario("kill-both", beside, kill(Target.BOTH), nothing),
    Scenario("kill-keeper-no-hook", beside, kill(Target.KEEPER), nothing, watch=8.0, hook=False),
    Scenario("kill-both-no-hook", beside, kill(Target.BOTH), nothing, watch=8.0, hook=False),
    Scenario("switchover", nothing, switchover, nothing, watch=3.0),
    Scenario("switchover-with-primary", beside, switchover_with_primary, nothing, watch=3.0, rest=5.0),
    Scenario("unplug-primary", leader_apart, unplug_primary_alone, plug, watch=14.0),
    Scenario("unplug-primary-and-etcd", leader_apart, unplug_primary_with_etcd, plug, watch=18.0),
    Scenario("unplug-etcd-leader", beside, unplug_etcd_leader, plug, watch=10.0),
    Scenario("unplug-all-three", beside, unplug_with_etcd, plug, watch=18.0),
    Scenario("unplug-bystander", beside, unplug_bystander, plug, watch=6.0),
    Scenario("unplug-leader", apart, unplug_leader, plug, watch=8.0),
    Scenario("unplug-leader-and-etcd", leader_apart, unplug_with_etcd, plug, watch=14.0),
    Scenario("unplug-leader-and-primary", both(beside, etcd_elsewhere), unplug_leader, plug, watch=14.0),
    Scenario("cut-leader", apart, cut_leader, heal, watch=10.0, rest=3.0),
    Scenario("cut-leader-and-primary", beside, cut_leader, heal, watch=40.0, rest=3.0),
    Scenario("cut-etcd", beside, cut_etcd, heal, watch=10.0, rest=3.0),
    Scenario("cut-postgres", beside, cut_postgres, heal, watch=20.0, rest=3.0),
    Scenario("freeze-patroni", beside, freeze_patroni, thaw_patroni, watch=60.0, rest=5.0),
    frozen(Target.SCHEDULER, beside),
    frozen(Target.KEEPER, beside),
    frozen(Target.BOTH, beside),
    frozen(Target.HOST, apart),
)
ALL = {scenario.name: scenario for scenario in _TABLE}
