"""A submission from its plan to its outcome, and what is said of it meanwhile.

It is complete, and held until it is done or cancelled, with the last call: by it the client says that it runs none of
the tasks. A process that dies before that has submitted nothing that lasts.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from luigi_ha.worker.client import PatientScheduler, Refused
from luigi_ha.worker.submitting.following import Following, last_word
from luigi_ha.worker.submitting.resolving import Plan

LOOK_EVERY = 1.0  # s
HINT_AFTER = 10.0  # s without a change, after which it is asked why
SAY_EVERY = 5.0  # s between two lines about tasks that are being sent
SUBMITTED, DONE, FAILED, WAITING = "submitted", "done", "failed", "waiting"
Say = Callable[[str], None]  # a line of progress


@dataclass
class Outcome:
    """What came of it."""

    plan: Plan
    outcome: str
    counts: dict[str, int]
    culprits: list[dict[str, Any]]
    seconds: float

    def shown(self) -> dict[str, Any]:
        """For programs."""
        return {
            "task_id": self.plan.root,
            "outcome": self.outcome,
            "tasks": len(self.plan.tasks),
            "complete_before": self.plan.complete,
            "counts": self.counts,
            "failed": self.culprits,
            "seconds": round(self.seconds, 3),
        }


def send(client: PatientScheduler, plan: Plan, say: Say) -> Outcome:
    """Tell the scheduler all of it. CallError."""
    try:
        client.look("/api/scheduler")
    except Refused as refused:
        if refused.status not in (404, 405):
            raise
        raise Refused(refused.status, f"{client.shown} is no luigi-ha scheduler: it would forget the tasks") from None
    began = said = time.monotonic()
    for number, (method, told) in enumerate(plan.calls):
        getattr(client, method)(**told)
        if time.monotonic() - said > SAY_EVERY:
            said = time.monotonic()
            say(f"{number + 1} of {len(plan.calls)} calls made")
    client.add_worker(plan.worker_id, plan.info)  # type: ignore[attr-defined]
    counts = {"DONE": plan.complete, "PENDING": len(plan.tasks) - plan.complete}
    return Outcome(plan, SUBMITTED, {status: n for status, n in counts.items() if n}, [], time.monotonic() - began)


def wait(
    client: PatientScheduler,
    plan: Plan,
    say: Say,
    *,
    timeout: float,
    through_retries: bool,
    look_every: float = LOOK_EVERY,
) -> Outcome:
    """Until its outcome is known, or so many seconds are over; 0: as long as it takes. CallError."""
    began = changed = time.monotonic()
    following = Following(client, plan.root, plan.tasks, through_retries=through_retries)
    before: tuple[Any, ...] = ()
    while True:
        following.look()
        now = time.monotonic()
        outcome = DONE if following.done else FAILED if following.stuck else ""
        over = bool(timeout) and now - began >= timeout
        stand = (following.counts, [task.task_id for task in following.culprits])
        if stand != before:
            before, changed = stand, now
            say(_progress(following))
        elif now - changed > HINT_AFTER and not outcome:
            changed = now
            say(_hint(client, following) or _progress(following))
        if outcome or over:
            culprits = [task.shown() for task in following.culprits]
            return Outcome(plan, outcome or WAITING, following.counts, culprits, now - began)
        left = began + timeout - now if timeout else look_every
        time.sleep(max(0.0, min(look_every, left)))


def _progress(following: Following) -> str:
    counts = following.counts
    words = [f"{counts.get('DONE', 0)} of {sum(counts.values())} done"]
    running = counts.get("RUNNING", 0) + counts.get("BATCH_RUNNING", 0)
    words += [f"{running} running"] if running else []
    words += [f"{counts['FAILED']} failed"] if counts.get("FAILED") else []
    words += [f"{counts['DISABLED']} disabled"] if counts.get("DISABLED") else []
    told = [
        f"{task.task_id}: {task.error or 'it does not exist, and no worker can make it'}" for task in following.culprits
    ]
    return ", ".join(words) + "".join(f"; {line}" for line in told[:3])


def _hint(client: PatientScheduler, following: Following) -> str:
    """Why nothing happens."""
    task = following.ready
    if task is None:
        return ""
    why = client.look(f"/api/task/{quote(task.task_id, safe='')}/why")
    return f"{task.task_id}: {why.get('reason') or last_word(why)}"
