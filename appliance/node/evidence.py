"""Whether another node reaches the database, while this one does not: what a leader must know before it makes way.

A node that has just lost its database does not know it yet: a read hangs in a dead connection for as long as its
deadline. So "no error so far" is no evidence. What counts is a reading that was begun a moment ago and has come to its
end, and not one but all of them for a while; asked of the node itself, at the moment at which it is to be acted upon.

Invariant: nobody makes way because of what was true before the database was lost.
"""

from collections.abc import Callable, Mapping
from typing import Any

from luigi_ha.appliance.clock import monotonic

FRESH = 0.5  # s since the last reading that reached the log's end was begun
FOR = 1.0  # s for which every one of them has come to its end in time
SLOW = 0.5  # s that one reading may take


class Reaching:
    """Since when one node has reached the database without a gap."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._since: float | None = None
        self._last: float | None = None

    def read(self, begun: float) -> None:
        """A reading that was begun then has come to its end."""
        now = self._clock()
        gap = now - (self._last if self._last is not None else now)
        if self._since is None or now - begun > SLOW or gap > FRESH + SLOW:
            self._since = now
        self._last = now

    def failed(self) -> None:
        """One has failed."""
        self._since = None

    @property
    def seconds(self) -> float:
        """For how long it has been reached; 0: it is not."""
        return self._clock() - self._since if self._since is not None else 0.0


def reaches(health: Mapping[str, Any] | None) -> bool:
    """Whether a node that says this of itself now (/health) reaches the database, and has for a while."""
    mirror = (health or {}).get("mirror")
    if not isinstance(mirror, Mapping) or mirror.get("away") is not None:
        return False
    age, reached_for = mirror.get("age"), mirror.get("reached_for")
    if not isinstance(age, (int, float)) or not isinstance(reached_for, (int, float)):
        return False  # a node of an earlier version: nothing is known
    return age <= FRESH and reached_for >= FOR
