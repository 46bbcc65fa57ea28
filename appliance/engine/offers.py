"""What a worker is ready to take: of which namespaces and families, and with which capabilities.

A task that asks for capabilities goes to nobody who does not offer all of them. Namespaces and families restrict only
who names some. An empty list restricts nothing.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from appliance.engine import checks
from appliance.engine.demand import Demand
from appliance.engine.errors import BadArgument
from appliance.engine.model import namespace_of


class Offer(NamedTuple):
    """`namespaces` and `families`: None is any."""

    namespaces: frozenset[str] | None
    families: frozenset[str] | None
    capabilities: frozenset[str]

    @classmethod
    def of(cls, namespaces: Any, families: Any, capabilities: Any) -> "Offer":
        """From what a worker sent."""
        if namespaces is None and families is None and capabilities is None:
            return ANYTHING
        return cls(
            frozenset(checks.ids("namespaces", namespaces, what="namespaces", most=checks.MAX_NAMES) or ()) or None,
            frozenset(checks.ids("families", families, what="families", most=checks.MAX_NAMES) or ()) or None,
            frozenset(checks.ids("capabilities", capabilities, what="names", most=checks.MAX_NAMES) or ()),
        )

    @classmethod
    def noted(cls, info: dict[str, Any]) -> "Offer":
        """From a worker's description, in which clients may write what they like."""
        try:
            return cls.of(*(info.get(name) for name in OFFERED))
        except BadArgument:
            return ANYTHING

    @property
    def any_family(self) -> bool:
        """Whether it takes tasks of every family."""
        return self.namespaces is None and self.families is None

    def able(self, demand: Demand) -> bool:
        """Whether it has the capabilities that a task needs."""
        return not demand.capabilities or self.capabilities.issuperset(demand.capabilities)

    def takes(self, family: str) -> bool:
        """Whether it takes tasks of this family."""
        if self.families is not None and family not in self.families:
            return False
        return self.namespaces is None or any(name in self.namespaces for name in _within(namespace_of(family)))

    def shown(self) -> dict[str, list[str]]:
        """For the worker's description: what it restricts, what it offers."""
        named = (
            ("namespaces", self.namespaces),
            ("families", self.families),
            ("capabilities", self.capabilities),
        )
        return {name: sorted(values) for name, values in named if values}


ANYTHING = Offer(None, None, frozenset())
OFFERED = Offer._fields  # their names in a worker's description


def _within(namespace: str) -> Iterator[str]:
    """A namespace and those around it: "a.b" is in "a.b" and in "a"; no namespace is only in itself."""
    yield namespace
    while "." in namespace:
        namespace = namespace.rpartition(".")[0]
        yield namespace
