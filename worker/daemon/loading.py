"""From what a scheduler says of a task to the task itself: the one place where this worker imports for somebody else.

Whoever may submit names the module. So what `--only-modules`, `--families` and `--namespaces` leave out is not loaded
here, whatever a scheduler hands out; with `--only-modules` nothing else is even imported, and a class that an admitted
module has only borrowed from another one is not taken either.

What cannot be loaded is no failure of the task: it is given back, and named with each question for work from then on,
so that it is not given to this worker again (`refusals`). A worker that is started anew tries anew.
"""

import importlib
from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple

import luigi
from luigi.task_register import Register, TaskClassAmbigiousException

from luigi_ha.worker import log, private
from luigi_ha.worker.daemon.options import OptionError, Options

Kind = Literal["modules", "families", "tasks"]
MOST_TASKS: Final = 20  # of one family, after which the family is given up
MOST_NAMES: Final = 1_000  # of one kind; the oldest are forgotten, and tried again
LONGEST_REASON: Final = 300  # characters
SCRIPT: Final = "__main__"
_log = log.get()


class CannotLoad(Exception):  # noqa: N818 - it says what happened
    """This worker cannot load a task, or may not: none of this module, none of this family, or just this one."""

    def __init__(self, kind: Kind, name: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.name = name


class Description(NamedTuple):
    """What a scheduler says of a task."""

    task_id: str
    module: str | None
    family: str
    params: dict[str, str]

    @property
    def kind(self) -> str:
        """Its class, as it is named to the scheduler."""
        return f"{self.module or ''}:{self.family}"


class Loader:
    """Loads tasks, and keeps what it could not load."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self._only = frozenset(options.only_modules)
        self.refusals: dict[Kind, dict[str, str]] = {"modules": {}, "families": {}, "tasks": {}}
        self._failed: dict[str, int] = {}  # tasks that could not be loaded, by family
        self._offered: list[str] | None = None
        self._own_values: set[str] = set()  # classes of which it was said that private parameters are this worker's

    def import_named(self) -> None:
        """Import what the options name. OptionError."""
        for name in dict.fromkeys([*self.options.modules, *self.options.only_modules]):
            try:
                importlib.import_module(name)
            except (Exception, SystemExit) as error:
                raise OptionError(f"module: {name} cannot be imported: {type(error).__name__}: {error}") from error

    @property
    def offered(self) -> list[str]:
        """Modules whose tasks it has loaded from the start: those named, and those they import."""
        if self._offered is None:
            classes: list[Any] = Register._reg  # noqa: SLF001 - luigi has no other list of them
            theirs = [cls.__module__ for cls in classes if cls.__module__.partition(".")[0] not in ("luigi", SCRIPT)]
            named = [*self.options.modules, *self.options.only_modules]
            self._offered = list(dict.fromkeys([*named, *sorted(theirs)]))[:MOST_NAMES]
        return self._offered

    def offer(self) -> dict[str, Any]:
        """What the worker is ready to take, said with each question for work."""
        return {
            "namespaces": self.options.namespaces,
            "families": self.options.families,
            "capabilities": self.options.capabilities,
            "modules": self.offered,
            "only_modules": self.options.only_modules,
            "cannot_load": {kind: names for kind, names in self.refusals.items() if names},
        }

    def load(self, told: Description) -> luigi.Task:
        """The task. CannotLoad."""
        if not self._wanted(told.family):
            raise CannotLoad("families", told.kind, f"--families or --namespaces leave out {told.family}")
        if told.module == SCRIPT:
            raise CannotLoad("modules", SCRIPT, "it is defined in a script; a worker loads modules")
        if told.module:
            self._import(told.module)
        family = self._class(told)
        lacking = private.missing(family)
        if lacking:
            raise CannotLoad("families", told.kind, _lacking(told.family, lacking))
        try:
            task: luigi.Task = family.from_str_params(told.params)
        except BaseException as error:
            raise CannotLoad("tasks", told.task_id, _told(error)) from error
        own = private.names(family)
        if own and told.kind not in self._own_values:
            self._own_values.add(told.kind)
            _log.info("private_parameters", family=told.family, parameters=",".join(own), values="luigi.cfg or default")
        return task

    def refuse(self, told: Description, cannot: CannotLoad) -> None:
        """Do not ask for it again."""
        kind, name, reason = cannot.kind, cannot.name, str(cannot)
        if kind == "tasks":
            failed = self._failed[told.kind] = self._failed.get(told.kind, 0) + 1
            if failed >= MOST_TASKS:
                kind, name = "families", told.kind
                reason = f"{failed} of its tasks could not be loaded, the last one: {reason}"
        known = self.refusals[kind]
        if name not in known and len(known) >= MOST_NAMES:
            del known[next(iter(known))]
        known[name] = reason[:LONGEST_REASON]

    # -- inside ------------------------------------------------------------------------------------------------

    def _wanted(self, family: str) -> bool:
        options = self.options
        if options.families and family not in options.families:
            return False
        return not options.namespaces or any(name in options.namespaces for name in _around(_parent(family)))

    def _import(self, module: str) -> None:
        if not self._admits(module):
            raise CannotLoad("modules", module, f"--only-modules leaves out {module}")
        try:
            __import__(module)
        except BaseException as error:  # SystemExit, pytest's skip, ...
            raise CannotLoad("modules", module, _told(error)) from error

    def _class(self, told: Description) -> Any:
        try:
            found: Any = _registered(told)
        except Exception as error:
            raise CannotLoad("families", told.kind, _told(error)) from error
        if not self._admits(found.__module__):
            reason = f"--only-modules leaves out {found.__module__}, where {told.family} is defined"
            raise CannotLoad("families", told.kind, reason)
        return found

    def _admits(self, module: str) -> bool:
        return not self._only or any(name in self._only for name in _around(module))


def _registered(told: Description) -> Any:
    """The class of this name. Two teams may have one each: then the module decides."""
    try:
        return Register.get_task_cls(told.family)
    except TaskClassAmbigiousException:
        known: list[Any] = Register._reg  # noqa: SLF001 - as above
        of_module = [cls for cls in known if (cls.__module__, cls.get_task_family()) == (told.module, told.family)]
        if not of_module or not issubclass(of_module[-1], of_module[0]):
            raise
        return of_module[-1]


def _lacking(family: str, names: list[str]) -> str:
    return (
        f"no scheduler is told the values of private parameters, and here is none for {', '.join(names)}; expected "
        f"[{family}] {names[0]} = ... in this worker's luigi.cfg, or a default"
    )


def _around(name: str) -> Iterator[str]:
    """A module or namespace, and those that it is in."""
    yield name
    while "." in name:
        name = _parent(name)
        yield name


def _parent(name: str) -> str:
    return name.rpartition(".")[0]


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
