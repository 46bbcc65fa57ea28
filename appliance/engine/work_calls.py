"""The calls that hand out work: `get_work` and `count_pending`. Which task it is, `choosing` says."""

import hashlib
from typing import Any

from luigi_ha.appliance.engine import checks
from luigi_ha.appliance.engine.choosing import Choosing
from luigi_ha.appliance.engine.model import BATCH_RUNNING, PENDING, RUNNING, Task, Worker
from luigi_ha.appliance.engine.offers import ANYTHING, OFFERED, Offer

MOST_CURRENT = 100_000  # tasks that a worker may say it runs
LARGEST_BATCH = 2_000  # tasks handed out together; what is beyond is the next batch


class WorkCalls(Choosing):
    """RPCs of workers that look for work."""

    def count_pending(self, worker: str) -> dict[str, Any]:
        """How much there is left for a worker, and which of its tasks run where."""
        return self._count_pending(self._worker(checks.worker(worker)))

    def get_work(  # noqa: C901, PLR0917 - called by keyword; Luigi's order of steps
        self,
        host: Any = None,
        assistant: bool = False,
        current_tasks: Any = None,
        worker: str | None = None,
        runs: bool = False,
        namespaces: Any = None,
        families: Any = None,
        capabilities: Any = None,
        modules: Any = None,
        only_modules: Any = None,
        cannot_load: Any = None,
        **_kwargs: Any,
    ) -> dict[str, Any]:
        """The next task, or batch, for a worker. A task it should have but does not name is handed out again.

        `runs`: name the attempt and the run_id too, of a batch those of its first task. `namespaces` and all that
        follows: see `offers`.
        """
        worker_id = checks.worker(worker)
        named = checks.ids("current_tasks", current_tasks, most=MOST_CURRENT)
        current = None if named is None else frozenset(named)
        offer = Offer.of(namespaces, families, capabilities, modules, only_modules, cannot_load)
        if self.settings.prune_on_get_work:
            self.prune()
        caller = self._heard_of(worker_id)
        caller.last_get_work = caller.last_active
        if caller.disabled or caller.draining:
            reply: dict[str, Any] = {
                "n_pending_tasks": 0,
                "running_tasks": [],
                "task_id": None,
                "n_unique_pending": 0,
                "worker_state": caller.state,
            }
            if current is not None and not caller.disabled:
                lost = self._lost_run(worker_id, lambda task: task.id in current)
                if lost is not None:  # it is the worker's already
                    self._hand_out(lost, worker_id, True)
                    reply.update(_assigned(lost, runs=runs))
            return reply
        if assistant and caller.info.get("assistant") != assistant:
            caller.info["assistant"] = assistant
            self._dirty_workers[caller] = None
        if runs or offer is not ANYTHING:
            self._note(caller, offer.shown(), OFFERED)

        best, batch = None, []
        offered_again = False
        if current is not None:
            best = self._lost_run(worker_id, lambda task: task.id in current)
            offered_again = best is not None
            self._free_orphaned_members(worker_id)
        if best is None and not self.paused:
            trivial = not caller.assistant and not any(team.heavy for team in caller.teams)
            best = self._choose(caller, offer, assistant=assistant, own_only=trivial)
            if best is not None:
                batch = self._batch_of(best, caller, offer, own_only=trivial)

        reply = self._count_pending(caller)
        if len(batch) > 1 and best is not None:
            reply.update(self._hand_out_batch(batch, worker_id))
            reply.update(_run(best) if runs else {})
        elif best is not None:
            self._hand_out(best, worker_id, offered_again)
            reply.update(_assigned(best, runs=runs))
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

    def _free_orphaned_members(self, worker_id: str) -> None:
        """Members of a batch whose head the worker never claimed go back."""
        batched = self._batched_on.get(worker_id)
        if not batched:
            return
        claimed = {task.batch_id for task in self._running_on.get(worker_id, {}).values()}
        for task in [task for task in batched.values() if task.batch_id not in claimed]:
            self._transition(task, PENDING)

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

    def _batch_of(self, best: Task, caller: Worker, offer: Offer, *, own_only: bool) -> list[Task]:
        """`best` and the ready tasks that can run together with it."""
        arguments, most = self.batchers.get(caller.id, {}).get(best.family, ((), 1))
        if not arguments or not best.batchable or best.ready_key is None:
            return []
        if any(name not in best.all_params() for name in arguments):
            return []
        batch = [best]
        for mate in self._ready.mates(best, arguments, best.ready_key):
            if len(batch) >= min(most, LARGEST_BATCH):
                break
            if (not own_only or caller in mate.team.members) and self._takes(mate, caller, offer):
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


def _assigned(task: Task, *, runs: bool) -> dict[str, Any]:
    """What a worker is told of the task it gets."""
    told: dict[str, Any] = {
        "task_id": task.id,
        "task_family": task.family,
        "task_module": task.module,
        "task_params": task.all_params(),
    }
    return {**told, **_run(task)} if runs else told


def _run(task: Task) -> dict[str, Any]:
    return {"attempt": task.attempt, "run_id": task.run_id}
