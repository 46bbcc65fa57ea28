"""What the connections of the fast lane share, and how they take turns."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from luigi_ha.appliance.api.access_browser import Browsers
from luigi_ha.appliance.api.calls import Admit
from luigi_ha.appliance.api.dispatch import Dispatcher
from luigi_ha.appliance.api.heads import ReplyHead
from luigi_ha.appliance.api.traffic import Traffic

if TYPE_CHECKING:
    from luigi_ha.appliance.api.fastlane import FastLane

TURN = 0.01  # s that the requests of one turn of the loop may take together
HEAVY = 0.001  # s; a method whose requests take longer may have to wait for the next turn


class Turns:
    """Counts how long the requests of this turn of the loop have taken. Beyond TURN, those of methods that have been
    taking long wait for the next one.

    Dozens of requests that each take milliseconds would hold up one that takes none: between two turns the loop looks
    at its sockets, and serves what is light first.
    """

    def __init__(self) -> None:
        self._spent = 0.0
        self._begun = False
        self._costs: dict[str, float] = {}  # s that a method's latest requests took, about

    @property
    def over(self) -> bool:
        """Whether this turn has taken long enough."""
        return self._spent > TURN

    def is_heavy(self, method: str) -> bool:
        """Whether requests of this method have been taking long."""
        return self._costs.get(method, 0.0) > HEAVY

    def took(self, method: str, seconds: float) -> None:
        """A request of this turn has taken so long."""
        self._costs[method] = 0.8 * self._costs.get(method, 0.0) + 0.2 * seconds
        self._spent += seconds
        if not self._begun:
            self._begun = True
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        self._spent, self._begun = 0.0, False


class Lanes(NamedTuple):
    """What all connections of a server share."""

    dispatcher: Dispatcher
    heads: ReplyHead
    connections: "dict[FastLane, None]"  # in the fast lane, oldest first
    other: Callable[[], asyncio.Protocol]
    admit: Admit
    browsers: Browsers
    traffic: Traffic
    has_room: Callable[[], bool]  # for one more connection
    turns: Turns
