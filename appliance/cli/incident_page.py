"""An incident as a page of Markdown."""

from typing import Any

from luigi_ha.appliance.cli.shown import line, moment

PARTS = {  # of the program -> whose lines these are, for people
    "store": "database", "primary": "database", "journal": "database", "mirror": "database", "etcd": "etcd",
}  # fmt: skip


def incident_page(found: dict[str, Any]) -> str:
    """What /api/cluster/incident said, as Markdown."""
    story = found["story"] or {}
    before = found["previous"] or "nobody"
    lines = [
        f"# Incident: {before} -> {found['holder']}, {moment(found['at'])}",
        "",
        f"* Cause: {line(found['cause'])}",
        f"* {_served(found, story)}",
        f"* Promoted in {found['promotion_seconds']:.2f} s, {_how(found)}. Epoch {found['epoch']}.",
        "",
    ]
    if not story.get("lines"):
        return "\n".join([*lines, "No story was written down (a node of an earlier version)."])
    lines += [
        "## What happened, as the new leader saw it",
        "",
        "Times in ms from the last moment at which a call can have been answered"
        + (" (as far as is known)." if found["parked_seconds"] is None else "."),
        "",
        "| ms | part | event | |",
        "|---:|---|---|---|",
    ]
    for at, part, event, fields in story["lines"]:
        told = " ".join(f"{name}={value}" for name, value in fields.items())
        lines.append(f"| {at} | {PARTS.get(part, part)} | {event} | {_cell(told)} |")
    return "\n".join(lines)


def _served(found: dict[str, Any], story: dict[str, Any]) -> str:
    unserved = found["parked_seconds"]
    took = "It is not known for how long nobody was served"
    if unserved is not None:
        took = f"Nobody was served for {unserved:.2f} s"
    if "waited" not in story:
        return f"{took}."
    return f"{took}; calls that waited at the new leader: {story['waited']}, of which refused: {story['refused']}."


def _how(found: dict[str, Any]) -> str:
    if not found["warm"]:
        return "cold: the state was read anew from the tables"
    return f"warm: {found['events_read']} events were read from the log"


def _cell(text: str) -> str:
    return line(text).replace("|", r"\|")
