"""What a task needs to run, and what is in use.

Equal demands are one object, so that tasks with the same resources can be kept together. A limit on the
tasks that run at once in a namespace is a resource like any other, with a name no client can send.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from luigi_ha.appliance.engine.changes import JsonText
from luigi_ha.appliance.engine.checks import LARGEST, MAX_NAMES, few
from luigi_ha.appliance.engine.errors import BadArgument
from luigi_ha.appliance.engine.model import to_json

ResourceName = str | tuple[str, str]  # ("namespace", name) is a namespace's limit
Items = tuple[tuple[ResourceName, float], ...]


class Demand:
    """Resources of a task. `resources` is what the client said; `items` adds its namespace's limit.

    `capabilities` are what its worker must offer, sorted.
    """

    __slots__ = ("capabilities", "items", "resources", "text")

    def __init__(self, resources: dict[str, float], items: Items, capabilities: tuple[str, ...]) -> None:
        self.resources = resources  # shared: never changed
        self.items = items
        self.capabilities = capabilities
        self.text: JsonText = to_json(resources)


class Demands:
    """One object for each distinct demand."""

    def __init__(self, limits: Mapping[str, int]) -> None:
        self._limits = dict(limits)
        self._known: dict[tuple[Items, tuple[str, ...]], Demand] = {}
        self.nothing = self.of({}, "")

    def of(self, resources: Mapping[str, float], namespace: str, capabilities: tuple[str, ...] = ()) -> Demand:
        """The demand of a task with these resources in this namespace. `capabilities` are sorted."""
        if not resources and not self._limits:
            items: Items = ()
        else:
            items = tuple(sorted(resources.items()))
            if namespace in self._limits:
                items = (*items, (("namespace", namespace), 1))
        which = (items, capabilities)
        found = self._known.get(which)
        if found is None:
            found = self._known[which] = Demand(dict(resources), items, capabilities)
        return found


class Usage:
    """Sums of what is held. A resource nobody holds any more is exactly zero, whatever floats were added."""

    def __init__(self) -> None:
        self.amounts: dict[ResourceName, float] = {}
        self._holders: dict[ResourceName, int] = {}

    def add(self, items: Iterable[tuple[ResourceName, float]]) -> None:
        """Count a holder in."""
        for name, amount in items:
            self.amounts[name] = self.amounts.get(name, 0) + amount
            self._holders[name] = self._holders.get(name, 0) + 1

    def remove(self, items: Iterable[tuple[ResourceName, float]]) -> None:
        """Count a holder out."""
        for name, amount in items:
            holders = self._holders[name] - 1
            if holders:
                self._holders[name] = holders
                self.amounts[name] -= amount
            else:
                del self._holders[name], self.amounts[name]


def fits(items: Items, used: Mapping[ResourceName, float], totals: Mapping[ResourceName, float]) -> bool:
    """Whether a demand fits into what is left. An unknown resource has one unit, as in Luigi."""
    return all(amount + used.get(name, 0) <= totals.get(name, 1) for name, amount in items)


def checked_resources(
    argument: str, resources: Any, least: float = -LARGEST, most: int = MAX_NAMES
) -> dict[str, float]:
    """Return a client's resources as a dict of finite amounts; None is none.

    As in Luigi true counts as 1, and an amount may be negative: of a total nothing fits, of a need it makes room.
    """
    if resources is None:
        return {}
    if not isinstance(resources, Mapping):
        raise BadArgument(argument, f"is {type(resources).__name__}", "an object of resource names and amounts")
    if not resources:
        return {}
    few(argument, resources, most)
    booleans = False
    for name, amount in resources.items():
        if not isinstance(name, str):
            raise BadArgument(argument, f"has the name {name!r}", "names that are strings")
        if not isinstance(amount, (int, float)) or not least <= amount <= LARGEST:
            where = f"{argument}.{name}"[:120]
            raise BadArgument(where, f"is {amount!r}"[:80], f"a number from {least:g} to {LARGEST:g}")
        booleans = booleans or amount is True or amount is False
    if booleans:
        return {name: int(amount) if isinstance(amount, bool) else amount for name, amount in resources.items()}
    return dict(resources)
