"""The whole cluster as one node sees it: who leads, how each node is, where the data is, and what if one dies now.

What the other nodes say is asked of them at that moment; who does not answer is shown as such. Nothing here is on the
path of a call.
"""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from luigi_ha.appliance.node.database import beside_the_primary
from luigi_ha.appliance.node.timekeeping import described
from luigi_ha.appliance.store import Replication, StoreError

if TYPE_CHECKING:
    from luigi_ha.appliance.node.node import Node

FAILOVERS = 5  # shown
Json = dict[str, Any]
ALONE = (
    "calls are refused until this program is started again on this database (stock workers ask again after 30 s, three "
    "times); nothing acknowledged is lost; no other node takes over"
)
ONE_MACHINE = "; if its disk is lost, the state is lost with it"


async def describe(node: "Node") -> Json:
    """For /api/cluster; see docs/api.md."""
    health = node.reporter.health()
    others, replication, failovers = await asyncio.gather(node.peers.health(), _replication(node), _failovers(node))
    own = {**health, "answers": True}
    nodes = [_shown(node, node.holder, own)]
    nodes += [_shown(node, name, {"answers": False} if found is None else found) for name, found in others.items()]
    nodes.sort(key=lambda each: str(each["name"]))
    for each in nodes:
        each["if_it_dies"] = _if_it_dies(node, each, nodes, replication)
    leader = next((each for each in nodes if each["leading"]), None)
    return {
        **health,
        "cluster": node.options.serve.cluster if node.link is not None else None,
        "leader_since": leader["since"] if leader is not None else None,
        "leader_lease_left": leader["lease_left"] if leader is not None else None,
        "address": list(node.options.serve.vip),
        "failover_paused": node.link.keeps is not None if node.link is not None else None,
        "failover_keeps": node.link.keeps if node.link is not None else None,
        "nodes": nodes,
        "replication": None if replication is None else _replicas(replication),
        "failovers": failovers,
        "last_drill": _last_drill({node.holder: own, **others}),
        "tasks": dict(node.engine.counts()) if node.engine is not None else {},
        "workers": len(node.engine.workers) if node.engine is not None else 0,
        "paused": node.engine.paused if node.engine is not None else None,
        "degraded": _degraded(node, health, nodes, replication),
    }


def _last_drill(healths: Mapping[str, Json | None]) -> Json | None:
    """The newest whose report any node has; `host` names the node."""
    found = [{**said["last_drill"], "host": name} for name, said in healths.items() if said and said.get("last_drill")]
    return max(found, key=lambda each: float(each["at"]), default=None)


async def _replication(node: "Node") -> Replication | None:
    if node.store is None:
        return None
    try:
        return await asyncio.to_thread(node.store.replication)
    except StoreError:
        return None


async def _failovers(node: "Node") -> list[Json]:
    return await failovers(node, FAILOVERS)


async def failovers(node: "Node", limit: int) -> list[Json]:
    """The last changes of leader, oldest first; none while the database is away."""
    if node.store is None:
        return []
    store = node.store
    try:
        found = await asyncio.to_thread(store.failovers, limit)
    except StoreError:
        return []
    names = ("epoch", "at", "holder", "previous", "cause", "parked_seconds", "promotion_seconds", "warm", "events_read")
    return [{name: getattr(each, name) for name in names} for each in found]


def _shown(node: "Node", name: str, health: Json) -> Json:
    """One node's line."""
    about = node.peers.known.get(name, {})
    mirror = health.get("mirror") or {}
    return {
        "name": name,
        "answers": health.get("answers", True),
        "state": health.get("state"),
        "leading": bool(health.get("leading")),
        "ready": bool(health.get("ready")),
        "since": health.get("since"),
        "lease_left": health.get("lease_left"),
        "mirror_age": mirror.get("age"),
        "mirror_behind": mirror.get("behind"),
        "database_away": mirror.get("away"),
        "able": about.get("able") == "yes" or bool(health.get("leading")),
        "why_not": about.get("why") or None,
        "beside_the_primary": _has_primary(node)
        and (beside_the_primary(node) if name == node.holder else about.get("preferred") == "yes"),
        "host": about.get("host"),
        "version": about.get("version"),
        "clock_apart": health.get("clock_apart"),
    }


def _has_primary(node: "Node") -> bool:
    return node.store is not None and node.store.primary is not None and node.options.serve.prefer == "primary"


def _replicas(found: Replication) -> Json:
    return {
        "durability": found.durability.value,
        "synchronous": found.synchronous,
        "primary": found.primary,
        "timeline": found.timeline,
        "degraded": found.degraded,
        "standbys": [
            {
                "name": each.name,
                "address": each.address,
                "state": each.state,
                "sync_state": each.sync_state,
                "lag_bytes": each.lag_bytes,
                "lag_seconds": each.lag_seconds,
            }
            for each in found.standbys
        ],
    }


def _degraded(node: "Node", health: Json, nodes: list[Json], replication: Replication | None) -> list[str]:
    """What is less than it should be."""
    found = []
    if health["waiting_for"] is not None:
        found.append(health["waiting_for"])
    elif health["journal"] and health["journal"]["full"]:
        found.append("the database does not keep up")
    if node.link is not None:
        if not any(each["leading"] for each in nodes):
            found.append("no node leads")
        if not any(each["able"] and not each["leading"] for each in nodes):
            found.append("no other node can take over")
        found += [f"{each['name']} does not answer" for each in nodes if not each["answers"]]
        found += [
            f"{each['name']} cannot lead: {each['why_not']}" for each in nodes if each["answers"] and each["why_not"]
        ]
        found += [f"{each['name']}: {described(each['clock_apart'])}" for each in nodes if each["clock_apart"]]
        found += [f"{name} has other options: {what}" for name, what in sorted(node.sameness.differs.items())]
        if node.link.keeps is not None:
            found.append(f"automatic failover is paused: only {node.link.keeps} may lead, until `luigi-ha resume`")
    watch = node.primary_watch
    if watch is not None and watch.managed and watch.why_not is not None:
        found.append(f"a lost primary is left to Patroni's own time: {watch.why_not}")
    if replication is not None and replication.degraded is not None:
        found.append(replication.degraded)
    elif replication is None and node.store is not None:
        found.append("the database does not say how it is replicated")
    return list(dict.fromkeys(found))


def _if_it_dies(node: "Node", one: Json, nodes: list[Json], replication: Replication | None) -> str:
    """One sentence for one machine."""
    if node.link is None:
        one_machine = replication is None or replication.primary is None
        return ALONE + (ONE_MACHINE if one_machine and node.store is not None else "")
    keeps = node.link.keeps
    if node.pair:
        return _if_the_pair_loses(one, nodes, keeps)
    said = []
    if one["leading"]:
        others = [each["name"] for each in nodes if each["able"] and not each["leading"]]
        if keeps is not None:
            said.append(_kept(keeps))
        elif others:
            lease = node.options.serve.lease_ttl
            said.append(
                f"{' or '.join(others)} takes over when its lease has ended (within {lease + 0.5:g} s); calls wait"
            )
        else:
            said.append("no node takes over: calls are refused")
    else:
        said.append("nobody notices that its scheduler is gone")
    if one["beside_the_primary"]:
        said.append(_if_the_primary_goes(node))
    elif replication is not None and _only_synchronous(one, replication):
        strict = replication.durability.value == "strict"
        said.append("no synchronous standby is left: " + ("calls wait" if strict else "commits are on one machine"))
    if replication is not None and not replication.synchronous and one["beside_the_primary"]:
        said.append("what was acknowledged last may be lost: there is no synchronous standby")
    else:
        said.append("nothing acknowledged is lost")
    return "; ".join(said)


def _if_the_primary_goes(node: "Node") -> str:
    watch = node.primary_watch
    if watch is None or watch.why_not is not None:
        return "PostgreSQL's primary goes with it: its own failover decides how long calls wait"
    return f"PostgreSQL's primary goes with it: its standby {watch.said()['standby']} is promoted at once"


def _kept(keeps: str) -> str:
    """What a pause means for the leader's death."""
    return (
        f"no node takes over: automatic failover is paused, and only {keeps} may lead; calls wait, then are refused, "
        f"until {keeps} is back, or `luigi-ha resume`"
    )


def _if_the_pair_loses(one: Json, nodes: list[Json], keeps: str | None) -> str:
    others = [each["name"] for each in nodes if each["able"] and each["name"] != one["name"]]
    if not one["leading"]:
        return "nobody notices" + ("" if others else "; then nobody leads")
    if keeps is not None:
        return f"{_kept(keeps)}; nothing acknowledged is lost"
    if others:
        return f"{others[0]} takes over at once; nothing acknowledged is lost (the machine itself has no stand-in)"
    return ALONE + ONE_MACHINE


def _only_synchronous(one: Json, replication: Replication) -> bool:
    """Whether this node's host has the only standby that commits wait for, and there is no other one at all."""
    synchronous = [each for each in replication.standbys if each.synchronous]
    here = [each for each in synchronous if one["name"] in (each.name, each.address) or one["host"] == each.name]
    return bool(here) and len(replication.standbys) == 1 and one["name"] is not None
