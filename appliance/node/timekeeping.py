"""Scheduler time across machines: a node that follows hears it from the leader; one whose time of day is apart says so.

The two nodes of a pair share a machine, and with it the time of day, which they follow.
"""

from typing import TYPE_CHECKING, Any

from luigi_ha.appliance import log

if TYPE_CHECKING:
    from luigi_ha.appliance.node.node import Node

_log = log.get("node")


class Timekeeping:
    """Of one node."""

    def __init__(self, node: "Node") -> None:
        self._node = node
        self._said = False

    def hear(self, answers: dict[str, dict[str, Any] | None], took: float) -> None:
        """What the others said of themselves (/health); it took `took` s to ask them."""
        node = self._node
        if not node.life.acting and not node.pair:
            for said in answers.values():
                if said is not None and said.get("leading") and said.get("ready") and "scheduler_time" in said:
                    node.clock.heard(float(said["scheduler_time"]) + took / 2)
        apart = node.clock.apart
        if bool(apart) is self._said:
            return
        self._said = bool(apart)
        if apart:
            _log.warning("clock_apart", seconds=round(apart, 1), reason=described(apart))
        else:
            _log.info("clock_agrees")

    def lead(self) -> None:
        """This node is about to serve."""
        node = self._node
        node.clock.lead(hold=node.link is not None and not node.pair)


def described(apart: float) -> str:
    """For people: what it means that a node's time of day is so many seconds ahead of scheduler time."""
    direction = "ahead of" if apart > 0 else "behind"
    return (
        f"its time of day is {abs(apart):.0f} s {direction} scheduler time, which goes on without it; "
        "expected clocks kept by one time service"
    )
