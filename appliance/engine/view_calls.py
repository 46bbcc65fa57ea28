"""The visualiser's calls. Those that may return a whole graph come as generators, so that a server can answer
others between two nodes; `None` from such a generator is a place to pause, nothing more.

A sliced view is no snapshot: each node is right when it is read.
"""

import collections
from collections.abc import Callable, Iterator
from typing import Any, Final

from luigi_ha.appliance.engine import checks
from luigi_ha.appliance.engine.failure import error_shown
from luigi_ha.appliance.engine.links import dependents_of
from luigi_ha.appliance.engine.model import DONE, PENDING, RUNNING, Task
from luigi_ha.appliance.engine.pruning import Pruning
from luigi_ha.appliance.engine.serializer import PAUSE_EVERY, Serializer

SLICED_VIEWS: Final = frozenset({"dep_graph", "inverse_dep_graph", "graph", "task_list", "task_search"})
Items = Iterator[tuple[str, Any] | None]


class ViewCalls(Serializer, Pruning):
    """RPCs that show."""

    def view(self, method: str, **kwargs: Any) -> Items:
        """The items of the reply of one of SLICED_VIEWS, one by one. Arguments are checked before the first."""
        views: dict[str, Callable[..., Items]] = {
            "dep_graph": self._dep_graph,
            "inverse_dep_graph": self._inverse_dep_graph,
            "graph": self._graph,
            "task_list": self._task_list,
            "task_search": self._task_search,
        }
        return views[method](**kwargs)

    def graph(self, **_kwargs: Any) -> dict[str, Any]:
        """Every task with its dependencies."""
        return _whole(self._graph())

    def dep_graph(self, task_id: str, include_done: bool = True, **_kwargs: Any) -> dict[str, Any]:
        """What a task depends on, nearest first, at most `max_graph_nodes`."""
        return _whole(self._dep_graph(task_id, include_done))

    def inverse_dep_graph(self, task_id: str, include_done: bool = True, **_kwargs: Any) -> dict[str, Any]:
        """What depends on a task."""
        return _whole(self._inverse_dep_graph(task_id, include_done))

    def task_list(
        self,
        status: str = "",
        upstream_status: str = "",
        limit: bool = True,
        search: str | None = None,
        max_shown_tasks: int | None = None,
        **_kwargs: Any,
    ) -> dict[str, Any]:
        """Tasks by status; only their number where there are more than are shown."""
        return _whole(self._task_list(status, upstream_status, limit, search, max_shown_tasks))

    def task_search(self, task_str: str, **_kwargs: Any) -> dict[str, Any]:
        """Tasks whose id contains a text, by status."""
        return _whole(self._task_search(task_str))

    # -- graphs ---------------------------------------------------------------------------------------------

    def _graph(self, **_kwargs: Any) -> Items:
        self.prune()
        return self._all_graphs()

    def _all_graphs(self) -> Items:
        seen: set[str] = set()
        for task in list(self.tasks.values()):
            if task.id not in seen:
                yield from self._traverse(task.id, seen, lambda t: list(t.deps), True)

    def _dep_graph(self, task_id: str, include_done: bool = True, **_kwargs: Any) -> Items:
        checks.text("task_id", task_id)
        self.prune()
        if task_id not in self.tasks:
            return iter(())
        return self._traverse(task_id, set(), lambda t: list(t.deps), include_done)

    def _inverse_dep_graph(self, task_id: str, include_done: bool = True, **_kwargs: Any) -> Items:
        checks.text("task_id", task_id)
        self.prune()
        if task_id not in self.tasks:
            return iter(())
        return self._traverse(task_id, set(), lambda t: [d.id for d in dependents_of(t)], include_done)

    def _traverse(self, root: str, seen: set[str], edges: Callable[[Task], list[str]], include_done: bool) -> Items:
        seen.add(root)
        queue = collections.deque([root])
        shown = 0
        while queue:
            task_id = queue.popleft()
            task = self.tasks.get(task_id)
            if task is None or not task.family:
                node = self._serialize_unknown(task_id)
            else:
                deps = edges(task)
                if not include_done:
                    deps = [dep for dep in deps if dep not in self.tasks or self.tasks[dep].status != DONE]
                node = self._serialize(task, deps)
                for dep in sorted(deps):
                    if dep not in seen:
                        seen.add(dep)
                        queue.append(dep)
            if task_id != root:
                del node["display_name"]
            yield task_id, node
            shown += 1
            if shown >= self.settings.max_graph_nodes:
                break

    # -- lists ----------------------------------------------------------------------------------------------

    def _task_list(
        self,
        status: str = "",
        upstream_status: str = "",
        limit: bool = True,
        search: str | None = None,
        max_shown_tasks: int | None = None,
        **_kwargs: Any,
    ) -> Items:
        status = status or ""
        checks.text("status", status)
        search = checks.long_text("search", search)
        most = max_shown_tasks or self.settings.max_shown_tasks
        checks.number("max_shown_tasks", most)
        tasks = self.by_status.get(status, {}) if status else self.tasks
        if not search and limit and len(tasks) > most:
            return iter([("num_tasks", -1 if upstream_status else len(tasks))])
        self.prune()
        tasks = self.by_status.get(status, {}) if status else self.tasks
        terms = [] if search is None else [term.casefold() for term in search.split()]
        return self._listed(list(tasks.values()), terms, upstream_status, most if limit else None)

    def _listed(self, tasks: list[Task], terms: list[str], upstream: str, most: int | None) -> Items:
        known: dict[str, str] = {}
        found = []
        for step, task in enumerate(tasks):
            if not step % PAUSE_EVERY:
                yield None
            if terms and not _matches(task, terms):
                continue
            if upstream and task.status == PENDING:
                if task.id not in known:
                    yield from self._find_upstream_status(task, known)
                if known.get(task.id) != upstream:
                    continue
            found.append(task)
        if most is not None and len(found) > most:
            yield "num_tasks", len(found)
            return
        for task in found:
            if self.tasks.get(task.id) is task:
                yield task.id, self._serialize(task, include_deps=False)

    def _task_search(self, task_str: str, **_kwargs: Any) -> Items:
        checks.text("task_str", task_str)
        self.prune()
        return self._found(list(self.tasks.values()), task_str)

    def _found(self, tasks: list[Task], text: str) -> Items:
        found: dict[str, dict[str, Any]] = {}
        for step, task in enumerate(tasks):
            if not step % PAUSE_EVERY:
                yield None
            if text in task.id:
                found.setdefault(task.status, {})[task.id] = self._serialize(task, include_deps=False)
        yield from found.items()

    # -- workers and resources --------------------------------------------------------------------------------

    def worker_list(self, include_running: bool = True, **_kwargs: Any) -> list[dict[str, Any]]:
        """The workers, latest first."""
        self.prune()
        workers = sorted(self.workers.values(), key=lambda worker: worker.started_at, reverse=True)
        shown = []
        for worker in workers:
            row = {
                "name": worker.id,
                "last_active": worker.last_active,
                "started": worker.started_at,
                "state": worker.state,
                "first_task_display_name": self._first_task(worker.info.get("first_task", "")),
                "num_unread_rpc_messages": len(worker.messages),
                **worker.info,
            }
            if include_running:
                running = self._running_on.get(worker.id, {})
                row["num_running"] = len(running)
                row["num_pending"] = sum(team.pending for team in worker.teams)
                row["num_uniques"] = sum(team.pending for team in worker.teams if len(team.members) == 1)
                row["running"] = {t.id: self._serialize(t, include_deps=False) for t in running.values()}
            shown.append(row)
        return shown

    def _first_task(self, task_id: Any) -> Any:
        task = self.tasks.get(task_id) if isinstance(task_id, str) else None
        return task_id if task is None else task.pretty_id

    def resource_list(self) -> list[dict[str, Any]]:
        """Totals, what is in use, and by which tasks."""
        self.prune()
        consumers: dict[str, dict[str, Any]] = {name: {} for name in self.resources}
        for task in self.by_status.get(RUNNING, {}).values():
            for name in task.demand.resources:
                if name in consumers:
                    consumers[name][task.id] = self._serialize(task, include_deps=False)
        return [
            {
                "name": name,
                "num_total": total,
                "num_used": self._usage.amounts.get(name, 0),
                "num_consumer": len(consumers[name]),
                "running": consumers[name],
            }
            for name, total in self.resources.items()
        ]

    # -- one task ---------------------------------------------------------------------------------------------

    def fetch_error(self, task_id: str, **_kwargs: Any) -> dict[str, Any]:
        """What went wrong in a task."""
        task = self.tasks.get(checks.text("task_id", task_id))
        if task is None:
            return {"taskId": task_id, "error": ""}
        return {
            "taskId": task_id,
            "error": error_shown(task),
            "displayName": task.pretty_id,
            "taskParams": task.all_params(),
            "taskModule": task.module,
            "taskFamily": task.family,
        }

    def get_task_status_message(self, task_id: str) -> dict[str, Any]:
        """What the task said last."""
        task = self.tasks.get(checks.text("task_id", task_id))
        return {"taskId": task_id, "statusMessage": "" if task is None else checks.parsed(task.status_message)}

    def get_task_progress_percentage(self, task_id: str) -> dict[str, Any]:
        """How far the task says it is."""
        task = self.tasks.get(checks.text("task_id", task_id))
        progress = None if task is None else checks.parsed(task.progress_percentage)
        return {"taskId": task_id, "progressPercentage": progress}

    def get_running_task_resources(self, task_id: str) -> dict[str, Any]:
        """What the task holds while it runs."""
        task = self.tasks.get(checks.text("task_id", task_id))
        return {"taskId": task_id, "resources": None if task is None else task.resources_running}


def _matches(task: Task, terms: list[str]) -> bool:
    title = task.pretty_id.casefold()
    return all(term in title for term in terms)


def _whole(items: Items) -> dict[str, Any]:
    return dict(item for item in items if item is not None)
