"""Large calls, done in portions: so that a call about 300,000 tasks holds up nobody for longer than one about 500.

    portions = engine.portions("add_task", arguments)     # None: it is small
    for _ in portions: ...                                # others are served between two portions
    engine.add_task(**arguments)                          # as `portions` returned them; costs little now

Each portion leaves the engine whole, and what it changed is stored like any call's. It does what the call
itself would have done to some of its tasks, so repeating the call, also after only some portions, is harmless.

Of `add_task` the tasks that it waits for are made known, and linked, by and by; until the call itself is made the task
is not known better than before: UNKNOWN, or with some dependencies more, so that it cannot run too early.
Not promised: that a call which is refused in the end has changed nothing; it may have made placeholders.
"""

from collections.abc import Callable, Generator, Iterator
from itertools import islice
from typing import Any, Final

from luigi_ha.appliance.engine import checks
from luigi_ha.appliance.engine.demand import checked_resources
from luigi_ha.appliance.engine.errors import BadArgument
from luigi_ha.appliance.engine.links import dependents_of
from luigi_ha.appliance.engine.model import DEFINITION, DONE, PENDING, UNKNOWN, Task, Worker
from luigi_ha.appliance.engine.rest_tasks import Added, RestTasks
from luigi_ha.appliance.engine.runs import is_fenced, named_run
from luigi_ha.appliance.engine.task_calls import TaskCalls

LARGE: Final = 1_000  # dependencies, or tasks, from which on a call is done in portions
PORTION: Final = 250

Portions = Generator[None, None, dict[str, Any]]


class LargeCalls(RestTasks, TaskCalls):
    """What is done of large calls before they are made."""

    def portions(self, method: str, arguments: dict[str, Any]) -> Portions | None:
        """Return the portions in which this call is to be prepared; None: it is small."""
        large: Callable[[dict[str, Any]], Portions] | None = None
        if method == "add_task" and (_is_large(arguments.get("deps")) or _is_large(arguments.get("new_deps"))):
            large = self._portions_of_add_task
        elif method == "rest_put_task" and _is_large(arguments.get("deps")):
            large = self._portions_of_put_task
        elif method == "rest_put_tasks" and _weight(arguments.get("tasks")) >= LARGE:
            large = self._portions_of_put_tasks
        return None if large is None else large(arguments)

    # -- add_task ---------------------------------------------------------------------------------------------

    def _portions_of_add_task(self, arguments: dict[str, Any]) -> Portions:
        self._check_add_task(arguments)
        arguments = {**arguments}
        told: list[checks.CheckedIds] = []
        for name in ("deps", "new_deps"):
            if arguments.get(name) is not None:
                arguments[name] = yield from _checked_ids(name, arguments[name])
                told.append(arguments[name])
        task_id, worker_id = arguments["task_id"], arguments["worker"]
        if not self._is_news(arguments):
            return arguments
        caller, task = self._heard_of(worker_id), self.tasks.get(task_id)
        cooling = (
            task is not None and task.status == DONE and arguments.get("status", PENDING) == PENDING
        ) and self._is_cooling_down(task)
        if caller.disabled or cooling:
            return arguments  # the call itself will change nothing
        wanting = None if arguments.get("assistant") else worker_id
        priority = arguments.get("priority", 0)
        if task is None:
            task = self._create(task_id, UNKNOWN, arguments.get("family") or "")
            task.priority = priority
            self._enter(task)
        yield
        for ids in told:
            yield from self._grow(task, ids, wanting, priority)
        if self.tasks.get(task_id) is task and self._is_news(arguments):
            self._settle_deps(task, None if wanting is None else self._heard_of(wanting), priority)
        return arguments

    def _is_news(self, arguments: dict[str, Any]) -> bool:
        """Whether a report that names its run is of the task's current one, as the call itself will ask. Conflict."""
        run = named_run(arguments.get("run_id"), arguments.get("attempt"))
        status = checks.status(arguments.get("status", PENDING))
        if run is None or not is_fenced(status, arguments.get("new_deps")):
            return True
        task = self.tasks.get(arguments["task_id"])
        return self._admit(task, arguments["worker"], status, *run, arguments.get("batch_id"))[0]

    def _check_add_task(self, arguments: dict[str, Any]) -> None:
        """Check what the call itself will check, but for the long lists."""
        checks.worker(arguments.get("worker"))
        checks.text("task_id", arguments.get("task_id"))
        checks.status(arguments.get("status", PENDING))
        checked_resources("resources", arguments.get("resources"))
        checks.number("priority", arguments.get("priority", 0))
        checks.text("family", arguments.get("family", ""))
        checks.optional_text("module", arguments.get("module"))
        checks.mapping("params", arguments.get("params"))
        checks.mapping("param_visibilities", arguments.get("param_visibilities"))
        checks.long_text("tracking_url", arguments.get("tracking_url"))
        checks.optional_text("batch_id", arguments.get("batch_id"))
        checks.retry_policy(arguments.get("retry_policy_dict"), self._default_policy)
        checks.ids("owners", arguments.get("owners"), what="e-mail addresses", most=checks.MAX_NAMES)

    def _grow(self, task: Task, ids: tuple[str, ...], wanting: str | None, priority: float) -> Iterator[None]:
        """Make `task` wait for these too, PORTION by PORTION, wanted by a worker of this id. It ends early if the task
        has gone meanwhile."""
        had = set(task.deps)
        rest = iter(ids)
        while portion := list(islice(rest, PORTION)):
            if self.tasks.get(task.id) is not task:
                return
            if len(task.deps) < len(had):  # another call has described it meanwhile
                had = set(task.deps)
            # The caller is heard of with each portion: it is not forgotten while its call is being done.
            stakes = None if wanting is None else self._heard_of(wanting)
            for dep_id in portion:
                self._expect(dep_id, stakes, priority)
            new = [dep_id for dep_id in portion if dep_id not in had]
            if new:
                self._leave(task)
                self._link_more(task, new)
                self._enter(task)
                had.update(new)
            yield

    def _expect(self, dep_id: str, stakes: Worker | None, priority: float) -> None:
        """Know a dependency, wanted by the caller, with a priority that is not less."""
        dep = self.tasks.get(dep_id)
        if dep is None:
            if stakes is None:
                return
            dep = self._create(dep_id, UNKNOWN)
            dep.priority = priority
            self._enter(dep)
        elif dep.priority < priority:
            self._leave(dep)
            dep.priority = priority
            self._enter(dep)
            self._touched(dep)
            self._raise_dependencies(dep)
        if stakes is not None:
            self._want(dep, stakes)

    def _settle_deps(self, task: Task, stakes: Worker | None, priority: float) -> None:
        """Note that the dependencies carry the caller's stake and priority: the call need not look at each."""
        self._touched(task, DEFINITION)
        if stakes is not None and priority >= task.priority:
            already = [] if task.settled is None else task.settled.members
            task.settled = self._stakes.of([*[worker for worker in already if worker is not stakes], stakes])
            task.priority = priority

    # -- the REST API -----------------------------------------------------------------------------------------

    def _portions_of_put_task(self, arguments: dict[str, Any]) -> Portions:
        self._checked(**{**arguments, "deps": None})
        ids = yield from _checked_ids("deps", arguments["deps"], empty=False)
        task_id = arguments["task_id"]
        if task_id in ids:
            raise BadArgument("deps", "names the task itself", "ids of other tasks")
        yield from self._submit_deps(task_id, arguments["family"], ids, arguments.get("priority", 0))
        return {**arguments, "deps": ids}

    def _submit_deps(self, task_id: str, family: str, ids: tuple[str, ...], priority: float) -> Portions:
        """Make a submitted task wait for these, before it is submitted itself."""
        task = self.tasks.get(task_id)
        if task is None:
            task = self._create(task_id, UNKNOWN, family)
            self._begun.add(task_id)
            task.priority = max([priority, *(waiting.priority for waiting in dependents_of(task))])
            self._hold_new(task)
            self._enter(task)
        if task.status != DONE:
            yield from self._grow(task, ids, None, max(priority, task.priority))
            self._touched(task, DEFINITION)
        return {}

    def _portions_of_put_tasks(self, arguments: dict[str, Any]) -> Portions:
        """All are checked before the first is added."""
        puts = []
        weight = 0
        tasks = checks.listed("tasks", arguments["tasks"])
        for place, described in enumerate(tasks):
            puts.append(self._checked_at("tasks", place, described))
            weight += 1 + len(puts[-1].deps or ())
            if weight >= PORTION:
                weight = 0
                yield
        added = 0
        for put in puts:
            if put.deps is not None and len(put.deps) >= LARGE:
                added += put.task_id not in self.tasks
                yield from self._submit_deps(put.task_id, put.family, put.deps, put.priority)
            added += self._submit(put)
            weight += 1 + len(put.deps or ())
            if weight >= PORTION:
                weight = 0
                yield
        return {**arguments, "tasks": Added(added, len(puts) - added)}


def _is_large(ids: Any) -> bool:
    return isinstance(ids, (list, tuple)) and len(ids) >= LARGE


def _weight(tasks: Any) -> int:
    """How many tasks and dependencies a list of tasks has."""
    if not isinstance(tasks, list):
        return 0
    if len(tasks) >= LARGE:
        return len(tasks)
    deps = [task.get("deps") for task in tasks if isinstance(task, dict)]
    return len(tasks) + sum(len(ids) for ids in deps if isinstance(ids, list))


def _checked_ids(argument: str, ids: Any, *, empty: bool = True) -> Generator[None, None, checks.CheckedIds]:
    """Check a long list of task ids, by and by."""
    checks.few(argument, ids, checks.MAX_DEPS)
    seen: dict[str, None] = {}
    for start in range(0, len(ids), PORTION * 8):
        for dep_id in ids[start : start + PORTION * 8]:
            seen[checks.text(argument, dep_id, empty=empty)] = None
        yield
    return checks.CheckedIds(seen)
