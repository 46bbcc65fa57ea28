"""The life of a node as a table: named rows, nothing else moves it.

    starting --lead--> leading --drain--> draining --stop--> stopped
                 \\--reload--> reloading --resume--> leading
    any of them --fence--> fenced       starting --fail--> failed

The log line of each move names its row and the states before and after. (A standby that is promoted becomes two more
rows here; nothing else knows how a node came to lead.)
"""

from enum import Enum
from typing import NamedTuple

from appliance import clock, log

_log = log.get("node")


class State(Enum):
    STARTING = "starting"  # database, lead, load: calls park
    LEADING = "leading"  # calls are executed
    RELOADING = "reloading"  # the engine is being built anew from the database: calls park
    DRAINING = "draining"  # finishing what is in flight
    STOPPED = "stopped"
    FENCED = "fenced"  # another node leads: nothing may be answered any more
    FAILED = "failed"


class Row(NamedTuple):
    before: frozenset[State]
    after: State


_ALIVE = frozenset({State.STARTING, State.LEADING, State.RELOADING, State.DRAINING})
TRANSITIONS = {
    "lead": Row(frozenset({State.STARTING}), State.LEADING),
    "reload": Row(frozenset({State.LEADING}), State.RELOADING),
    "resume": Row(frozenset({State.RELOADING}), State.LEADING),
    "drain": Row(frozenset({State.STARTING, State.LEADING, State.RELOADING}), State.DRAINING),
    "stop": Row(frozenset({State.DRAINING}), State.STOPPED),
    "fence": Row(_ALIVE, State.FENCED),
    "fail": Row(_ALIVE, State.FAILED),
}


class Life:
    """The state of one node, and since when."""

    __slots__ = ("since", "state")

    def __init__(self) -> None:
        self.state = State.STARTING
        self.since = clock.wall()

    def may(self, name: str) -> bool:
        """Whether the row can fire now."""
        return self.state in TRANSITIONS[name].before

    def fire(self, name: str, **why: object) -> None:
        """Move by the named row; a row that does not start here is a defect of ours."""
        row = TRANSITIONS[name]
        if self.state not in row.before:
            raise RuntimeError(f"transition {name!r} does not start in state {self.state.value!r}")
        before, self.state, self.since = self.state, row.after, clock.wall()
        _log.info("state_changed", transition=name, before=before.value, after=row.after.value, **why)
