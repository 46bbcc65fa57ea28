"""The node's gauges, beside the API's counters."""

from typing import TYPE_CHECKING

from luigi_ha.appliance.store import JournalState

if TYPE_CHECKING:
    from luigi_ha.appliance.node.node import Node


def register(node: "Node") -> None:
    """Let the node's metrics show the node."""
    metrics = node.metrics
    metrics.counts = lambda: node.engine.counts() if node.engine is not None else {}
    metrics.gauge("luigi_ha_leading", "1 while this node leads and executes calls", lambda: float(node.gate.is_open))
    metrics.gauge("luigi_ha_fenced", "1 after another node has taken over", lambda: float(metrics.fenced))
    metrics.gauge("luigi_ha_epoch", "The epoch this node writes", lambda: float(node.epoch))
    metrics.gauge("luigi_ha_parked_calls", "Calls waiting at the gate", lambda: float(node.dispatcher.parked))
    metrics.gauge("luigi_ha_waiting_calls", "Calls waiting for their commit", lambda: float(node.dispatcher.waiting))
    metrics.gauge("luigi_ha_connections", "Open HTTP connections", lambda: float(node.api.connections))
    text = "Records appended and not yet committed"
    metrics.gauge("luigi_ha_journal_queue", text, lambda: float(node.journal.queued) if node.journal else 0.0)
    text = "1 while the journal waits for the database"
    metrics.gauge("luigi_ha_journal_waiting", text, lambda: float(_waits(node)))
    text = "Times the database was found away since the start"
    metrics.gauge("luigi_ha_journal_retries", text, lambda: float(node.journal.stats.retries) if node.journal else 0.0)

    text = "Tasks that could be begun now, with the resources that are free: for autoscalers, beside those that run"
    metrics.gauge("luigi_task_ready", text, lambda: float(node.engine.rest_queue()["ready"]) if node.engine else 0.0)
    text = "Tasks that only resources or the limit of their namespace keep from being begun"
    metrics.gauge(
        "luigi_task_waiting_for_resources", text, lambda: float(node.engine.startable()[1]) if node.engine else 0.0
    )

    text = "Seconds since what a follower shows was certainly the present"
    metrics.gauge("luigi_ha_mirror_age_seconds", text, lambda: node.roles.mirror.age if node.roles.mirror else 0.0)
    text = "Events of the leader's log that a follower has not applied"
    metrics.gauge("luigi_ha_mirror_behind", text, lambda: float(node.roles.mirror.behind) if node.roles.mirror else 0.0)
    text = "Seconds for which the leader's lease holds without another renewal"
    metrics.gauge("luigi_ha_lease_left_seconds", text, lambda: node.link.remaining() if node.link else 0.0)
    text = "Seconds by which this machine's time of day is ahead of scheduler time; 0 while they agree"
    metrics.gauge("luigi_ha_clock_apart_seconds", text, lambda: node.clock.apart)
    text = "1 while a commit of the leader is on a second machine before it is acknowledged"
    metrics.gauge("luigi_ha_synchronous", text, lambda: float(_synchronous(node)))
    text = "1 while the loss of the host of PostgreSQL's primary makes its standby the primary at once"
    metrics.gauge("luigi_ha_database_failover_armed", text, lambda: float(_armed(node)))
    text = "When the last drill ended whose report is on this host, s since 1970; 0: none"
    metrics.gauge("luigi_ha_last_drill_timestamp_seconds", text, lambda: node.drilled.at if node.drilled else 0.0)
    text = "1 if that drill passed"
    metrics.gauge("luigi_ha_last_drill_passed", text, lambda: float(_passed(node)))


def _passed(node: "Node") -> bool:
    return node.drilled is not None and node.drilled.verdict == "passed"


def _armed(node: "Node") -> bool:
    return node.primary_watch is not None and node.primary_watch.why_not is None


def _synchronous(node: "Node") -> bool:
    return node.journal is not None and node.replication is not None and node.replication.synchronous


def _waits(node: "Node") -> bool:
    return node.journal is not None and node.journal.state is JournalState.WAITING
