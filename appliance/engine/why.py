"""Why a task is not running: one sentence and its facts."""

from typing import Any

from luigi_ha.appliance.engine.demand import fits
from luigi_ha.appliance.engine.failure import SILENT, error_line, was_given_up
from luigi_ha.appliance.engine.model import BATCH_RUNNING, DISABLED, DONE, FAILED, NULL, RUNNING, UNKNOWN, Task, Worker
from luigi_ha.appliance.engine.offers import Offer
from luigi_ha.appliance.engine.reserving import Reserving
from luigi_ha.appliance.engine.serializer import Serializer
from luigi_ha.appliance.engine.settings import LATEST
from luigi_ha.appliance.engine.submissions import SUBMISSIONS

MOST_FACTS = 20  # of one kind


class Why(Serializer, Reserving):
    """Reads only."""

    def why(self, task_id: str) -> dict[str, Any]:
        """`{"task_id", "status", "reason", "facts"}`. KeyError for a task the scheduler does not know."""
        task = self.tasks[task_id]
        reason, facts = self._explain(task)
        return {"task_id": task_id, "status": task.status, "reason": reason, "facts": facts}

    def _explain(self, task: Task) -> tuple[str, list[dict[str, Any]]]:
        now = self._clock()
        if task.status == DONE:
            return "It is done.", [{"done_at": task.updated_at}]
        if task.status in (RUNNING, BATCH_RUNNING):
            return self._explain_running(task, now)
        if task.status == DISABLED:
            return self._explain_disabled(task, now)
        if task.status == FAILED:
            return self._explain_failed(task, now)
        if task.status == UNKNOWN:
            return (
                "It is known only as a dependency of others, or its worker could not tell whether it is complete.",
                [{"wanted_by": _wanting(task)}],
            )
        reason, facts = self._explain_pending(task)
        if task.failed_in_row or task.expl != NULL:
            facts = [*facts, _last_run(task)]  # it failed before, or was given back
        return reason, facts

    def _explain_running(self, task: Task, now: float) -> tuple[str, list[dict[str, Any]]]:
        facts = [{"worker": task.worker_running, "since": task.time_running, "attempt": task.attempt}]
        running = f"It is running on {task.worker_running} since {_ago(now, task.time_running)}"
        if task.cancelled is not None:
            return f"{running}, and is cancelled{_because(task)}: it will not run again.", facts
        return f"{running}.", facts

    def _explain_disabled(self, task: Task, now: float) -> tuple[str, list[dict[str, Any]]]:
        if task.cancelled is not None:
            facts: list[dict[str, Any]] = [{"cancelled_at": task.updated_at, "cause": task.cancelled}]
            return f"It was cancelled{_because(task)}; it runs again only when it is retried.", facts
        if task.disabled_at is None:
            return "A worker disabled it; it runs again only when a worker says so.", []
        until = task.disabled_at + self.settings.disable_persist
        facts = [{"failures": len(task.failures), "disabled_at": task.disabled_at, "until": until}, _last_run(task)]
        ended = _how_it_ended(task)
        return f"It failed too often and is disabled for another {max(0, until - now):.0f} s.{ended}", facts

    def _explain_failed(self, task: Task, now: float) -> tuple[str, list[dict[str, Any]]]:
        facts = [{"failures_in_a_row": task.failed_in_row, "retry_at": task.retry_at}, _last_run(task)]
        ended = _how_it_ended(task)
        if not self.settings.retries or task.retry_at is None:
            return f"It failed, and retries are switched off (retry_delay is negative).{ended}", facts
        if task.retry_at >= LATEST:
            return f"It failed, and is never retried (retry_delay is endless).{ended}", facts
        if task.retry_at < now:
            return f"It failed and is about to be retried.{ended}", facts
        wait = f"{task.retry_at - now:.0f} s (failure {task.failed_in_row} in a row)"
        return f"It failed and is retried in {wait}.{ended}", facts

    def _explain_pending(self, task: Task) -> tuple[str, list[dict[str, Any]]]:
        if task.unmet:
            return self._explain_unmet(task)
        if self.paused:
            return "The scheduler is paused: no work is handed out.", [{"paused": True}]
        assistants = [worker for worker in self.workers.values() if worker.assistant and task.runnable]
        able = [worker for worker in (*task.team.members, *assistants) if not worker.disabled]
        willing = [worker for worker in able if Offer.noted(worker.info).takes(task.family)]
        capable = [worker for worker in willing if Offer.noted(worker.info).able(task.demand)]
        loading = [worker for worker in capable if self._loads(worker, task)]
        active = list(dict.fromkeys(worker.id for worker in loading if not worker.draining))
        if not active:
            return _explain_no_worker(task, able, willing, capable, loading)
        lacking = self._lacking(task)
        if lacking:
            names = ", ".join(str(fact["resource"]) for fact in lacking)
            amounts = "; ".join(_amounts(fact) for fact in lacking)
            never = any(fact["needs"] > fact["total"] for fact in lacking)
            verdict = ": it can never run while that is so" if never else ""
            return f"It waits for {names} ({amounts}){verdict}.", lacking
        return self._explain_order(task, active)

    def _loads(self, worker: Worker, task: Task) -> bool:
        """Whether a worker can load a task, and may: a client may run it itself."""
        return self._takes(task, worker, Offer.noted(worker.info))

    def _explain_unmet(self, task: Task) -> tuple[str, list[dict[str, Any]]]:
        facts: list[dict[str, Any]] = []
        for dep_id in task.deps:
            dep = self.tasks.get(dep_id)
            if dep is None or dep.status != DONE or dep is task:
                facts.append({"dependency": dep_id, "status": "not known" if dep is None else dep.status})
            if len(facts) >= MOST_FACTS:
                break
        if not facts:
            return "All that it waited for is done; it becomes ready in a moment.", []
        first = facts[0]
        others = f" and {task.unmet - 1} more" if task.unmet > 1 else ""
        blocked = ", of which some are disabled" if task.blocked else ""
        return f"It waits for {first['dependency']} ({first['status']}){others}{blocked}.", facts

    def _lacking(self, task: Task) -> list[dict[str, Any]]:
        capacity, used = self.capacity, self._usage.amounts
        lacking: list[dict[str, Any]] = []
        for name, amount in task.demand.items:
            if fits(((name, amount),), used, capacity):
                continue
            plain = isinstance(name, str)
            shown = name if plain else f"the limit of namespace {name[1]!r}"
            fact = {"needs": amount, "in_use": used.get(name, 0), "total": capacity.get(name, 1)}
            lacking.append({"resource": shown, "kind": "resource" if plain else "namespace_limit", **fact})
        return lacking

    def _explain_order(self, task: Task, able: list[str]) -> tuple[str, list[dict[str, Any]]]:
        ahead = sum(group.tasks.bisect_left(task.ready_key) for group in self._ready.groups)
        facts: list[dict[str, Any]] = [{"workers": able[:MOST_FACTS], "ahead_in_order": ahead}]
        if task.demand.items and ahead:
            return f"Its resources are kept for {ahead} ready tasks that come first, or its workers are busy.", facts
        where = f", after {ahead} that come first" if ahead else ""
        return f"It is ready: the next worker of {', '.join(able[:3])} with a free slot gets it{where}.", facts


def _explain_no_worker(
    task: Task, able: list[Worker], willing: list[Worker], capable: list[Worker], loading: list[Worker]
) -> tuple[str, list[dict[str, Any]]]:
    """Why none of the workers is one for this task."""
    facts: list[dict[str, Any]] = [
        {"workers": [worker.id for worker in able][:MOST_FACTS], "wanted_by": _wanting(task)}
    ]
    of_module = f" (module {task.module})" if task.module else ""
    if not able:
        return f"No live worker can run it{of_module}.", facts
    if not willing:
        facts.append({"family": task.family, "namespace": task.namespace})
        return f"No live worker takes tasks of {task.family}: they named other namespaces or families.", facts
    if not capable:
        facts.append({"capabilities": list(task.demand.capabilities)})
        return f"No live worker that takes it offers {', '.join(task.demand.capabilities)}.", facts
    if not loading:
        refusals = [(worker.id, _refusal(worker, task)) for worker in dict.fromkeys(capable)]
        facts += [{"worker": worker_id, "cannot_load": refusal} for worker_id, refusal in refusals[:MOST_FACTS]]
        told = "; ".join(f"{worker_id}: {refusal}" for worker_id, refusal in refusals[:3])
        return f"No live worker can load it{of_module}: {told}.", facts
    return f"Its workers are draining: {', '.join([worker.id for worker in loading][:3])} get no new work.", facts


def _refusal(worker: Worker, task: Task) -> str:
    told = Offer.noted(worker.info).refusal(task.family, task.module, task.id)
    return told or f"has not loaded {task.module or 'its module'}, and leaves it to the client that wants to run it"


def _amounts(fact: dict[str, Any]) -> str:
    what = f"resource {fact['resource']!r}" if fact["kind"] == "resource" else "tasks that run at once"
    return f"{what}: needs {fact['needs']:g}, total {fact['total']:g}, in use {fact['in_use']:g}"


def _last_run(task: Task) -> dict[str, Any]:
    """How the last run ended, as far as is known."""
    worker, began = task.worker_running, task.time_running
    seconds = None if worker is None or began is None else round(max(0.0, task.updated_at - began), 3)
    return {"attempt": task.attempt, "worker": worker, "seconds": seconds, "error": error_line(task)}


def _how_it_ended(task: Task) -> str:
    told = _last_run(task)
    if not task.attempt and not told["error"]:
        return ""
    if was_given_up(task):
        return f" {SILENT}"
    on = "" if told["worker"] is None else f" on {told['worker']}"
    after = "" if told["seconds"] is None else f" after {told['seconds']:.1f} s"
    return f" The last run ended{on}{after}: {told['error']}" if told["error"] else f" The last run ended{on}{after}."


def _wanting(task: Task) -> list[str]:
    shown = ["a submission" if worker.id == SUBMISSIONS else worker.id for worker in task.stakes.members]
    return shown[:MOST_FACTS]


def _because(task: Task) -> str:
    return f" ({task.cancelled})" if task.cancelled else ""


def _ago(now: float, then: float | None) -> str:
    return "a time unknown" if then is None else f"{max(0.0, now - then):.0f} s"
