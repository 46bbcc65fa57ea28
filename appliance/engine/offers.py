"""What a worker is ready to take: of which namespaces and families, with which capabilities, and of which modules.

A task that asks for capabilities goes to nobody who does not offer all of them. Namespaces and families restrict only
who names some. An empty list restricts nothing.

A worker that says which modules it has loaded leaves to a client what that client runs itself (it is *reserved*),
unless it is of one of these modules: a colleague's script is no affair of the fleet. What it could not load it says
with each question from then on, and is not given it again.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from luigi_ha.appliance.engine import checks
from luigi_ha.appliance.engine.demand import Demand
from luigi_ha.appliance.engine.errors import BadArgument
from luigi_ha.appliance.engine.model import namespace_of

MOST_REASONS: Final = 1_000  # of one kind


class CannotLoad(NamedTuple):
    """What a worker has found out that it cannot load, each with the reason."""

    modules: dict[str, str]
    families: dict[str, str]  # by "module:family"
    tasks: dict[str, str]  # by task id

    @classmethod
    def of(cls, told: Any) -> "CannotLoad":
        """From what a worker sent: {"modules": {name: reason}, "families": ..., "tasks": ...}, each may be left out."""
        found = checks.described("cannot_load", checks.mapping("cannot_load", told), frozenset(cls._fields), ())
        return cls(*(_reasons(f"cannot_load.{name}", found.get(name)) for name in cls._fields))


class Offer(NamedTuple):
    """`namespaces`, `families` and `only_modules`: None is any. `modules`: None is not told."""

    namespaces: frozenset[str] | None
    families: frozenset[str] | None
    capabilities: frozenset[str]
    modules: frozenset[str] | None = None  # that it has loaded
    only_modules: frozenset[str] | None = None  # it loads no others
    cannot_load: CannotLoad | None = None

    @classmethod
    def of(
        cls,
        namespaces: Any,
        families: Any,
        capabilities: Any,
        modules: Any = None,
        only_modules: Any = None,
        cannot_load: Any = None,
    ) -> "Offer":
        """From what a worker sent."""
        told = (namespaces, families, capabilities, modules, only_modules, cannot_load)
        if all(part is None for part in told):
            return ANYTHING
        loaded = checks.ids("modules", modules, what="modules", most=checks.MAX_ENTRIES)
        return cls(
            frozenset(checks.ids("namespaces", namespaces, what="namespaces", most=checks.MAX_NAMES) or ()) or None,
            frozenset(checks.ids("families", families, what="families", most=checks.MAX_NAMES) or ()) or None,
            frozenset(checks.ids("capabilities", capabilities, what="names", most=checks.MAX_NAMES) or ()),
            None if loaded is None else frozenset(loaded),
            frozenset(checks.ids("only_modules", only_modules, what="modules", most=checks.MAX_NAMES) or ()) or None,
            CannotLoad.of(cannot_load) if cannot_load else None,
        )

    @classmethod
    def noted(cls, info: dict[str, Any]) -> "Offer":
        """From a worker's description, in which clients may write what they like."""
        try:
            return cls.of(*(info.get(name) for name in OFFERED))
        except BadArgument:
            return ANYTHING

    @property
    def sifts(self) -> bool:
        """Whether it takes tasks of some families and not of others, of a module that it takes."""
        chosen = self.namespaces is not None or self.families is not None
        return chosen or (self.cannot_load is not None and bool(self.cannot_load.families))

    def able(self, demand: Demand) -> bool:
        """Whether it has the capabilities that a task needs."""
        return not demand.capabilities or self.capabilities.issuperset(demand.capabilities)

    def takes(self, family: str) -> bool:
        """Whether it takes tasks of this family."""
        if self.families is not None and family not in self.families:
            return False
        return self.namespaces is None or any(name in self.namespaces for name in _within(namespace_of(family)))

    def loads(self, module: str | None, *, reserved: bool) -> bool:
        """Whether it takes tasks of this module, as far as modules go."""
        if reserved and self.modules is not None and not self.has_loaded(module):
            return False
        return self.refusal("", module) is None

    def has_loaded(self, module: str | None) -> bool:
        """Whether it says that it has this module, or a package around it."""
        return self.modules is not None and bool(module) and _is_in(module, self.modules)

    def refusal(self, family: str, module: str | None, task_id: str = "") -> str | None:
        """Why it cannot load a task, as it told; None: nothing is known against it."""
        if module and self.only_modules is not None and not _is_in(module, self.only_modules):
            return f"it loads only {', '.join(sorted(self.only_modules))}"[:200]
        cannot = self.cannot_load
        if cannot is None:
            return None
        reason = cannot.modules.get(module or "")
        if reason is None:
            reason = cannot.families.get(f"{module or ''}:{family}")
        return cannot.tasks.get(task_id) if reason is None else reason

    def has_given_back(self, task_id: str) -> bool:
        """Whether it cannot load this very task."""
        return self.cannot_load is not None and task_id in self.cannot_load.tasks

    def shown(self) -> dict[str, Any]:
        """For the worker's description: what it restricts, what it offers."""
        named = {name: getattr(self, name) for name in OFFERED if name != "cannot_load"}
        told: dict[str, Any] = {name: sorted(values) for name, values in named.items() if values}
        if self.cannot_load is not None:
            told["cannot_load"] = {name: found for name, found in self.cannot_load._asdict().items() if found}
        return told


ANYTHING = Offer(None, None, frozenset())
OFFERED = Offer._fields  # their names in a worker's description


def _is_in(module: str | None, names: frozenset[str]) -> bool:
    return bool(module) and any(name in names for name in _within(module or ""))


def _reasons(argument: str, told: Any) -> dict[str, str]:
    """Names, each with why."""
    found = checks.mapping(argument, told)
    if len(found) > MOST_REASONS:
        raise BadArgument(argument, f"has {len(found)} names", f"at most {MOST_REASONS}")
    for name, reason in found.items():
        checks.text(f"{argument}.{name}"[:80], reason)
    return found


def _within(namespace: str) -> Iterator[str]:
    """A namespace, or a module, and those around it: "a.b" is in "a.b" and in "a"; none is only in itself."""
    yield namespace
    while "." in namespace:
        namespace = namespace.rpartition(".")[0]
        yield namespace
