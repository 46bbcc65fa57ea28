"""Moving a leadership on purpose, so that a fault can hit the host it is meant for."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from luigi_ha.appliance.lab import inside, state
from luigi_ha.appliance.lab.errors import LabError, NoBite, WrongUse
from luigi_ha.appliance.lab.plan import ETCD_PORT, PATRONI_PORT, Host, Plan
from luigi_ha.appliance.lab.processes import Process

Inits = dict[str, Process]
WAIT = 30.0  # s
_SWITCHOVER_TRIES = 10


def etcd_leader(plan: Plan, inits: Inits, host: Host) -> str:
    """Make this host's etcd member the leader of etcd; how it was done."""
    if not host.etcd:
        raise WrongUse(f"{host.name} has no etcd")
    target = state.etcd(_pid(inits, host), host)
    if target is None:
        raise LabError(f"the etcd of {host.name} does not answer")
    if target["leads"]:
        return f"etcd's leader was on {host.name} already"
    before = state.cluster(plan, inits).etcd_leader
    if before is None or " " in before:
        raise LabError("etcd has no leader now")
    leader = plan.host(before)
    code, said = inside.ask(
        _pid(inits, leader), leader.address, ETCD_PORT, "/v3/maintenance/transfer-leadership",
        method="POST", body={"targetID": target["member"]}, timeout=10,
    )  # fmt: skip
    if code != 200:
        raise LabError(f"etcd refuses to move its leader: {said}")
    _until(lambda: (state.etcd(_pid(inits, host), host) or {}).get("leads"), f"etcd's leader is not on {host.name}")
    return f"etcd's leader moved from {before} to {host.name}"


def primary(plan: Plan, inits: Inits, host: Host) -> str:
    """Make this host's PostgreSQL the primary, by Patroni's own switchover; how it was done.

    Patroni switches to the synchronous standby alone; if that is another, this one is made it first.
    """
    if not host.postgres:
        raise WrongUse(f"{host.name} has no PostgreSQL")
    before = state.cluster(plan, inits).primary
    if before == host.name:
        return f"the primary was on {host.name} already"
    if before is None or " " in before:
        raise LabError("PostgreSQL has no primary now")
    leader = plan.host(before)
    others = [node for node in plan.data_nodes if node not in (host, leader)]
    with _never_synchronous(plan, inits, others):
        _until(
            lambda: state.cluster(plan, inits).synchronous == (host.name,), f"{host.name} does not become synchronous"
        )
        said: object = None
        for _ in range(_SWITCHOVER_TRIES):  # right after another one, Patroni refuses for a moment
            code, said = inside.ask(
                _pid(inits, leader), leader.address, PATRONI_PORT, "/switchover",
                method="POST", body={"leader": before, "candidate": host.name}, timeout=WAIT,
            )  # fmt: skip
            if code == 200:
                break
            time.sleep(1)
        else:
            raise LabError(f"Patroni refuses: {said}")
        _until(lambda: state.cluster(plan, inits).primary == host.name, f"the primary is not on {host.name}")
    return f"the primary moved from {before} to {host.name}"


@contextmanager
def _never_synchronous(plan: Plan, inits: Inits, hosts: list[Host]) -> Iterator[None]:
    running = [host for host in hosts if host.name in inits]
    for host in running:
        _tag(plan, inits, host, nosync=True)
    try:
        yield
    finally:
        for host in running:
            _tag(plan, inits, host, nosync=False)


def _tag(plan: Plan, inits: Inits, host: Host, *, nosync: bool) -> None:
    file = plan.of(host) / "patroni.json"
    settings: dict[str, Any] = json.loads(file.read_text())
    settings["tags"]["nosync"] = nosync
    file.write_text(json.dumps(settings, indent=2))
    inside.ask(_pid(inits, host), host.address, PATRONI_PORT, "/reload", method="POST", body={}, timeout=5)


def _until(true: Callable[[], object], otherwise: str) -> None:
    deadline = time.monotonic() + WAIT
    while not true():
        if time.monotonic() > deadline:
            raise NoBite(f"{otherwise} after {WAIT:g} s")
        time.sleep(0.1)


def _pid(inits: Inits, host: Host) -> int:
    if host.name not in inits:
        raise LabError(f"{host.name} is unplugged")
    return inits[host.name].pid
