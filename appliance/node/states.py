"""The life of a node as a table: named rows, nothing else moves it.

    starting --lead--> leading                          alone: no other node, no lease
    starting --stand_by--> standby --promote--> promoting --lead--> leading
    leading --hand_over--> handing_over --step_down--> standby      (--keep--> leading)
    leading, promoting, reloading --step_down--> standby
    leading --reload--> reloading --resume--> leading
    any of them --drain--> draining --stop--> stopped;  --fence--> fenced (alone);  --fail--> failed

The log line of each move names its row and the states before and after.
"""

from enum import Enum
from typing import NamedTuple

from luigi_ha.appliance import clock, log

_log = log.get("node")


class State(Enum):
    STARTING = "starting"  # database, state: calls park, or are passed on
    STANDBY = "standby"  # mirrors the leader's log, passes calls on
    PROMOTING = "promoting"  # fences the leader before, reads the log's end: calls park
    LEADING = "leading"  # calls are executed
    HANDING_OVER = "handing_over"  # everything is in the database, nothing is executed any more: calls park
    RELOADING = "reloading"  # the engine is being built anew from the database: calls park
    DRAINING = "draining"  # finishing what is in flight
    STOPPED = "stopped"
    FENCED = "fenced"  # another node leads, and this one is alone: nothing may be answered any more
    FAILED = "failed"


class Row(NamedTuple):
    before: frozenset[State]
    after: State


_ACTING = frozenset({State.PROMOTING, State.LEADING, State.HANDING_OVER, State.RELOADING})
_ALIVE = _ACTING | {State.STARTING, State.STANDBY, State.DRAINING}
TRANSITIONS = {
    "stand_by": Row(frozenset({State.STARTING}), State.STANDBY),
    "promote": Row(frozenset({State.STANDBY}), State.PROMOTING),
    "lead": Row(frozenset({State.STARTING, State.PROMOTING}), State.LEADING),
    "hand_over": Row(frozenset({State.LEADING}), State.HANDING_OVER),
    "keep": Row(frozenset({State.HANDING_OVER}), State.LEADING),
    "step_down": Row(_ACTING, State.STANDBY),
    "reload": Row(frozenset({State.LEADING}), State.RELOADING),
    "resume": Row(frozenset({State.RELOADING}), State.LEADING),
    "drain": Row(_ALIVE - {State.DRAINING}, State.DRAINING),
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

    @property
    def acting(self) -> bool:
        """Whether this node has, or is about to have, the leadership."""
        return self.state in _ACTING

    def fire(self, name: str, **why: object) -> None:
        """Move by the named row; a row that does not start here is a defect of ours."""
        row = TRANSITIONS[name]
        if self.state not in row.before:
            raise RuntimeError(f"transition {name!r} does not start in state {self.state.value!r}")
        before, self.state, self.since = self.state, row.after, clock.wall()
        _log.info("state_changed", transition=name, before=before.value, after=row.after.value, **why)
