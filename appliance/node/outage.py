"""How long nobody was served, and who waited meanwhile, as far as one node saw: for the record of a failover.

It begins with the leader that served, and ends when one serves again: who only won in between, and could not, changes
nothing. Not promised: the calls that waited at other nodes; the exact moment of a leader's silent death.
"""

from typing import TYPE_CHECKING, NamedTuple

from luigi_ha.appliance.clock import monotonic
from luigi_ha.ha.keeper.why import is_silent

if TYPE_CHECKING:
    from luigi_ha.appliance.node.node import Node

REFUSED = 503


class Toll(NamedTuple):
    """Of one outage."""

    seconds: float | None  # since the last call that can have been answered; None: nobody was ever seen to lead
    waited: int  # calls, at this node
    refused: int  # of them

    @property
    def shown(self) -> str:
        """For people, after the cause; "" if no call had to wait."""
        if not self.waited:
            return ""
        return f"; calls that waited here: {self.waited}, refused: {self.refused}"


class Outage:
    """Of one node: which leader it saw, and since when it sees none that serves."""

    def __init__(self, node: "Node") -> None:
        self._node = node
        self._since: float | None = None  # monotonic; None: somebody leads, or nobody ever did
        self._before = (0, 0)  # calls refused, and dropped, until then
        self._led = False

    def leads(self, epoch: int, served: int) -> None:
        """Another node leads. `served`: the greatest epoch known to have served; 0: not known."""
        self._led = True
        if not served or epoch <= served:
            self._since = None

    def vacant(self) -> None:
        """Nobody leads."""
        if self._led and self._since is None:
            self._since = monotonic()
            self._before = self._counted()

    def over(self, cause: str) -> Toll:
        """This node is about to serve."""
        if self._since is None:
            return Toll(None, 0, 0)
        refused, dropped = (now - then for now, then in zip(self._counted(), self._before, strict=True))
        toll = Toll(monotonic() - self._begun(cause), self._node.dispatcher.parked + refused + dropped, refused)
        self._since = None
        return toll

    def _begun(self, cause: str) -> float:
        """Who went in order said so at once. Who fell silent did that before its lease ended: when its log grew last,
        but not longer ago than it can have led."""
        assert self._since is not None  # noqa: S101 - the caller has looked
        if not is_silent(cause):
            return self._since
        earliest = self._since - self._node.options.serve.lease_ttl
        grew = self._node.roles.grew_at
        return max(earliest, min(grew, self._since)) if grew is not None else earliest

    def _counted(self) -> tuple[int, int]:
        metrics = self._node.metrics
        refused = sum(count for (_, status), count in metrics.calls.items() if status == REFUSED)
        return refused, metrics.dropped
