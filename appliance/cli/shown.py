"""The cluster as text, for `luigi-ha status`."""

from datetime import UTC, datetime
from typing import Any

from luigi_ha.appliance.cli.tables import age

WIDTH = 16


def shown(state: dict[str, Any]) -> str:
    """Return what /api/cluster said as lines."""
    rows = [("leader", _leader(state)), ("address", ", ".join(state["address"]) or "none that moves")]
    rows += [("" if number else "nodes", _node(node)) for number, node in enumerate(state["nodes"])]
    rows += [("database", _database(state))]
    rows += [("", _standby(each)) for each in (state["replication"] or {}).get("standbys", [])]
    if state.get("database_failover") is not None:
        rows.append(("its failover", _database_failover(state["database_failover"])))
    journal = state.get("journal") or {}
    if journal:
        rows.append(("journal", f"{journal['state']}, {journal['committed']} events"))
    tasks = ", ".join(f"{count} {name}" for name, count in sorted(state["tasks"].items()) if count) or "none"
    rows += [
        ("tasks", tasks + (" (paused: none is handed out)" if state.get("paused") else "")),
        ("workers", str(state["workers"])),
        ("calls waiting", f"{state['calls_parked']} at the gate, {state['calls_waiting_for_commit']} for their commit"),
    ]
    rows += [("" if number else "failovers", failover(each)) for number, each in enumerate(state["failovers"])]
    if state["cluster"] is not None:
        rows.append(("last drill", _drill(state.get("last_drill"), state["time"])))
    rows += [("" if number else "degraded", text) for number, text in enumerate(state["degraded"] or ["no"])]
    rows += [(f"if {node['name']} dies", node["if_it_dies"]) for node in state["nodes"]]
    width = max(WIDTH, *(len(name) + 2 for name, _ in rows))
    return "\n".join(f"{name + ':' if name else '':<{width}}{text}" for name, text in rows)


def _leader(state: dict[str, Any]) -> str:
    if state["leader"] is None:
        return f"nobody ({state['node']} is {state['state']})"
    said = [f"epoch {state['epoch']}"]
    if state["leader_since"] is not None:
        said.insert(0, f"since {moment(state['leader_since'])}")
    if state["leader_lease_left"] is not None:
        said.append(f"lease left {state['leader_lease_left']:.1f} s")
    if state["failover_paused"]:
        keeps = state.get("failover_keeps")
        said.append("automatic failover is paused" + (f": it keeps {keeps}" if keeps else ""))
    return f"{state['leader']} ({', '.join(said)})"


def _node(node: dict[str, Any]) -> str:
    if not node["answers"]:
        return f"{node['name']}: does not answer" + (f" ({node['why_not']})" if node["why_not"] else "")
    said = [f"{node['name']}: {node['state']}"]
    if node["mirror_age"] is not None:
        said.append(f"mirror {node['mirror_age']:.2f} s old, {node['mirror_behind']} events behind")
    if node["beside_the_primary"]:
        said.append("beside the database's primary")
    if node["why_not"]:
        said.append(f"cannot lead: {node['why_not']}")
    elif node["database_away"]:
        said.append(f"the database is away: {node['database_away']}")
    return ", ".join(said)


def _database(state: dict[str, Any]) -> str:
    found = state["replication"]
    if found is None or found["primary"] is None:
        return f"{state['database']}"
    how = "synchronous" if found["synchronous"] else "NOT SYNCHRONOUS"
    return (
        f"{state['database']}, primary {found['primary']} (timeline {found['timeline']}), {how}, "
        f"durability = {found['durability']}"
    )


def _standby(each: dict[str, Any]) -> str:
    lag = "" if each["lag_bytes"] is None else f", {each['lag_bytes']} bytes behind"
    return f"standby {each['name'] or each['address']}: {each['state']}, {each['sync_state']}{lag}"


def _drill(found: dict[str, Any] | None, now: float) -> str:
    if found is None:
        return "no report on any node that answers (luigi-ha drill schedule)"
    when = f"{found['verdict']}, {age(now - found['at'])} ago"
    return f"{when} ({found['rounds']} rounds; {found['report']} on {found['host']})"


def _database_failover(found: dict[str, Any]) -> str:
    if found["armed"]:
        return f"armed: {found['standby']} is promoted at once when the host of {found['primary']} is lost"
    return f"not armed, left to the database's own time: {found['why_not']}"


def failover(each: dict[str, Any]) -> str:
    """One change of leader, as a line."""
    parked = "" if each["parked_seconds"] is None else f", {each['parked_seconds']:.2f} s without a leader"
    before = f"{each['previous']} -> " if each["previous"] else ""
    how = "" if each["warm"] else ", cold"
    return (
        f"{moment(each['at'])} epoch {each['epoch']}: {before}{each['holder']} ({each['cause']}{parked}, "
        f"promoted in {each['promotion_seconds']:.2f} s{how})"
    )


def moment(seconds: float) -> str:
    """A time of day, UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z"


def told(name: str, value: Any) -> str:
    """A fact's value: what is a time as one."""
    is_time = name in ("until", "since") or name.endswith("_at")
    return moment(value) if is_time and isinstance(value, (int, float)) else line(value)


def line(value: Any) -> str:
    """On one line, whatever somebody else has written into it."""
    text = str(value)
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def lines(text: str) -> str:
    """Several lines as they are, without what would steer the terminal."""
    return "\n".join(line(each.replace("\t", "    ")) for each in text.replace("\r\n", "\n").split("\n"))
