"""What a node says about itself, for machines: /health. For people there is `cluster`."""

from typing import TYPE_CHECKING, Any

from luigi_ha.appliance.clock import monotonic, wall
from luigi_ha.appliance.node.states import State

if TYPE_CHECKING:
    from luigi_ha.appliance.node.node import Node


class Reporter:
    """Reads the node; changes nothing."""

    def __init__(self, node: "Node") -> None:
        self._node = node

    def health(self) -> dict[str, Any]:
        """Cheap; answered in every state."""
        node = self._node
        journal, store, link, mirror = node.journal, node.store, node.link, node.roles.mirror
        leading = node.life.state is State.LEADING
        follows = node.life.state is State.STANDBY and mirror is not None and mirror.away is None
        return {
            "node": node.holder,
            "pair": node.pair or None,
            "leading": leading,
            "ready": (leading and node.gate.is_open) or follows,
            "state": node.life.state.value,
            "leader": self._leader(),
            "epoch": node.epoch,
            "since": node.life.since,
            "lease_left": link.remaining() if link is not None and leading else None,
            "waiting_for": node.gate.reason if not follows else None,
            "database": store.target.shown if store is not None else None,
            "mirror": None
            if mirror is None
            else {
                "seq": mirror.seq,
                "behind": mirror.behind,
                "age": mirror.age,
                "away": mirror.away,
                "reached_for": mirror.reaching.seconds,
            },
            "journal": None
            if journal is None
            else {
                "state": journal.state.name.lower(),
                "reason": journal.reason,
                "for_seconds": monotonic() - journal.since,
                "appended": journal.appended,
                "committed": journal.committed,
                "full": journal.full,
            },
            "synchronous": node.replication.synchronous
            if node.replication is not None and journal is not None
            else None,
            "replication_degraded": node.replication.degraded if node.replication is not None else None,
            "database_failover": node.primary_watch.said() if node.primary_watch is not None else None,
            "last_drill": node.drilled.as_json() if node.drilled is not None else None,
            "options": node.sameness.digests if link is not None else None,
            "calls_parked": node.dispatcher.parked,
            "calls_waiting_for_commit": node.dispatcher.waiting,
            "calls_passed_on": node.relay.in_flight,
            "connections": node.api.connections,
            "time": wall(),
            "scheduler_time": node.clock(),
            "clock_apart": round(node.clock.apart, 1),
        }

    def _leader(self) -> str | None:
        node = self._node
        if node.life.state is State.LEADING:
            return node.holder
        return node.roles.leader.name if node.roles.leader is not None else None
