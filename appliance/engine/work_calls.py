"""The calls that hand out work: `get_work` and `count_pending`.

A worker whose tasks need no resources takes the first of its own ready tasks. For the others Luigi asks two
questions of each task in the order of work: are its resources free now, and would they be free if all workers
were scheduled again greedily (so that many low priorities cannot starve a high one)? Tasks of one ready group
get the same answers, and a greedy step uses up a worker's slot, so the walk ends after the groups and the slots.
"""

import hashlib
import heapq
from collections.abc import Iterator, Mapping
from typing import Any

from appliance.engine import checks
from appliance.engine.demand import Items, ResourceName, fits
from appliance.engine.model import BATCH_RUNNING, PENDING, RUNNING, Task, Worker
from appliance.engine.pruning import Pruning
from appliance.engine.ready import ReadyGroup, ReadyKey


class WorkCalls(Pruning):
    """RPCs of workers that look for work."""

    def count_pending(self, worker: str) -> dict[str, Any]:
        """How much there is left for a worker, and which of its tasks run where."""
        return self._count_pending(self._worker(checks.text("worker", worker)))

    def get_work(
        self,
        host: Any = None,
        assistant: bool = False,
        current_tasks: Any = None,
        worker: str | None = None,
        **_kwargs: Any,
    ) -> dict[str, Any]:
        """The next task, or batch, for a worker. A task it should have but does not name is handed out again."""
        worker_id = checks.text("worker", worker)
        current = checks.ids("current_tasks", current_tasks)
        if self.settings.prune_on_get_work:
            self.prune()
        caller = self._heard_of(worker_id)
        caller.last_get_work = caller.last_active
        if caller.disabled:
            return {
                "n_pending_tasks": 0,
                "running_tasks": [],
                "task_id": None,
                "n_unique_pending": 0,
                "worker_state": caller.state,
            }
        if assistant and caller.info.get("assistant") != assistant:
            caller.info["assistant"] = assistant
            self._dirty_workers[caller] = None

        best, batch = None, []
        offered_again = False
        if current is not None:
            best = self._lost_run(worker_id, set(current))
            offered_again = best is not None
            self._free_orphaned_members(worker_id)
        if best is None and not self.paused:
            trivial = not caller.assistant and not any(team.heavy for team in caller.teams)
            best = self._first_own(caller) if trivial else self._first_greedy(caller, assistant)
            if best is not None:
                batch = self._batch_of(best, caller, own_only=trivial)

        reply = self._count_pending(caller)
        if len(batch) > 1 and best is not None:
            reply.update(self._hand_out_batch(batch, worker_id))
        elif best is not None:
            self._hand_out(best, worker_id, offered_again)
            reply["task_id"] = best.id
            reply["task_family"] = best.family
            reply["task_module"] = best.module
            reply["task_params"] = best.all_params()
        else:
            reply["task_id"] = None
        return reply

    # -- counting -------------------------------------------------------------------------------------

    def _count_pending(self, caller: Worker) -> dict[str, Any]:
        pending = unique = last = 0
        running = []
        for team in caller.teams:
            pending += team.waiting
            if len(team.members) == 1:
                unique += team.waiting
            if team.members[-1] is caller:
                last += team.waiting
            for task in team.running.values():
                if task.worker_running is not None:
                    other = self._worker(task.worker_running)
                    running.append({"task_id": task.id, "worker": other.id, **other.info})
        return {
            "n_pending_tasks": pending,
            "n_unique_pending": unique,
            "n_pending_last_scheduled": last,
            "worker_state": caller.state,
            "running_tasks": running,
        }

    # -- what was handed out and got lost ---------------------------------------------------------------

    def _lost_run(self, worker_id: str, current: set[str]) -> Task | None:
        """The first task in the order of work that the worker should be running and does not name."""
        lost = [task for task in self._running_on.get(worker_id, {}).values() if task.id not in current]
        return min(lost, key=lambda task: task.ready_key or (), default=None)

    def _free_orphaned_members(self, worker_id: str) -> None:
        """Members of a batch whose head the worker never claimed go back."""
        batched = self._batched_on.get(worker_id)
        if not batched:
            return
        claimed = {task.batch_id for task in self._running_on.get(worker_id, {}).values()}
        for task in [task for task in batched.values() if task.batch_id not in claimed]:
            self._transition(task, PENDING)

    # -- choosing -----------------------------------------------------------------------------------------

    def _first_own(self, caller: Worker) -> Task | None:
        heads = [group.tasks[0] for team in caller.teams for group in team.groups.values()]
        return min(heads)[3] if heads else None

    def _first_greedy(self, caller: Worker, assistant: bool) -> Task | None:
        capacity = self.capacity
        used = self._usage.amounts
        slots = self._active_slots()
        greedy: dict[ResourceName, float] = {}
        heads: list[tuple[ReadyKey, Iterator[ReadyKey], ReadyGroup | None]] = []
        for candidates in self._ready.groups:
            _push(heads, iter(candidates.tasks), candidates)
        _push(heads, iter(self._running), None)
        heapq.heapify(heads)
        while heads:
            key, rest, group = heapq.heappop(heads)
            task: Task = key[3]
            if group is None:
                if task.worker_running in slots:
                    slots[task.worker_running] -= 1
                    _add(greedy, self._held(task))
            else:
                items = group.demand.items
                if not fits(items, greedy, capacity):
                    continue  # nor will the rest of the group: greedy use only grows
                its_own = (assistant and group.runnable) or caller in group.team.members
                if its_own and fits(items, used, capacity):
                    return task
                if not self._take_slot(slots, group, caller if assistant else None):
                    continue
                _add(greedy, items)
            following = next(rest, None)
            if following is not None:
                heapq.heappush(heads, (following, rest, group))
        return None

    def _active_slots(self) -> dict[str | None, float]:
        """Free slots of the workers that asked for work lately, before anything is given to them."""
        since = self._clock() - self.settings.worker_disconnect_delay
        return {
            worker.id: worker.slots
            for worker in self.workers.values()
            if worker.last_get_work is not None and worker.last_get_work > since
        }

    def _take_slot(self, slots: dict[str | None, float], group: ReadyGroup, assistant: Worker | None) -> bool:
        """Use up a slot of the first worker that could run a task of this group."""
        for worker in group.team.members:
            if slots.get(worker.id, 0) > 0:
                slots[worker.id] -= 1
                return True
        if assistant is not None and slots.get(assistant.id, 0) > 0:
            slots[assistant.id] -= 1
            return True
        return False

    # -- handing out ----------------------------------------------------------------------------------------

    def _hand_out(self, task: Task, worker_id: str, offered_again: bool) -> None:
        self._leave(task)
        self._set_status(task, RUNNING)
        if offered_again:
            task.time_running = self._clock()
        else:
            self._start_run(task, worker_id)
        task.resources_running = task.demand.resources
        self._enter(task)
        self._touched(task)

    def _batch_of(self, best: Task, caller: Worker, *, own_only: bool) -> list[Task]:
        """`best` and the ready tasks that can run together with it."""
        arguments, most = self.batchers.get(caller.id, {}).get(best.family, ((), 1))
        if not arguments or not best.batchable or best.ready_key is None:
            return []
        if any(name not in best.all_params() for name in arguments):
            return []
        batch = [best]
        for mate in self._ready.mates(best, arguments, best.ready_key):
            if len(batch) >= most:
                break
            if not own_only or caller in mate.team.members:
                batch.append(mate)
        return batch

    def _hand_out_batch(self, batch: list[Task], worker_id: str) -> dict[str, Any]:
        best = batch[0]
        arguments, _most = self.batchers[worker_id][best.family]
        members = "|".join(task.id for task in batch)
        batch_id = hashlib.md5(members.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()
        params = best.all_params()
        all_params = [task.all_params() for task in batch]
        params.update({name: [own.get(name) for own in all_params] for name in arguments})
        for task in batch:
            self._leave(task)
            self._set_status(task, BATCH_RUNNING)
            task.batch_id = batch_id
            task.resources_running = task.demand.resources
            self._start_run(task, worker_id)
            self._enter(task)
        return {
            "task_id": None,
            "task_family": best.family,
            "task_module": best.module,
            "task_params": params,
            "batch_id": batch_id,
            "batch_task_ids": [task.id for task in batch],
        }


def _push(
    heads: list[tuple[ReadyKey, Iterator[ReadyKey], ReadyGroup | None]],
    keys: Iterator[ReadyKey],
    group: ReadyGroup | None,
) -> None:
    first = next(keys, None)
    if first is not None:
        heads.append((first, keys, group))


def _add(sums: dict[ResourceName, float], items: Items | Mapping[ResourceName, float]) -> None:
    for name, amount in items if isinstance(items, tuple) else items.items():
        sums[name] = sums.get(name, 0) + amount
