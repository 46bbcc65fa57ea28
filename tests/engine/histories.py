"""What every random history of the engine keeps, and what must hold after each of its steps."""

import random
from collections.abc import Callable
from typing import Any, ClassVar

from hypothesis.stateful import RuleBasedStateMachine, invariant

from luigi_ha.appliance.engine import Scheduler, Settings
from tests.engine.conftest import Clock
from tests.engine.invariants import check


def picture(s: Scheduler) -> dict[str, Any]:
    """Everything durable of an engine. A mark for removal is memory: it is made again by the next prune."""
    tasks = {
        task.id: (
            s._serialize(task),
            task.params,
            task.namespace,
            sorted(w.id for w in task.stakes.members),
            task.runnable,
            task.batchable,
            task.batch_id,
            (task.run_id, task.attempt, task.run_reported),
            (task.retry_at, task.disabled_at),
            (task.failures, task.first_failure_at, task.failed_in_row),
            (task.expl, task.responses, task.retry_policy),
            (task.cancelled, task.demand.capabilities),
        )
        for task in s.tasks.values()
    }
    workers = {w.id: (w.started_at, w.disabled, w.draining, w.info, w.messages) for w in s.workers.values()}
    mails = {name: s.mailbox.dump(name) for name in getattr(s.mailbox, "_entries", ())}  # type: ignore[union-attr]
    return {
        "tasks": tasks, "workers": workers, "resources": s.resources, "paused": s.paused, "batchers": s.batchers,
        "drained": s.drained, "mails": mails, "usage": s._usage.amounts, "answers": list(s._answers.values()),
    }  # fmt: skip


class Recorded(RuleBasedStateMachine):
    """An engine, and all the records it ever handed over."""

    options: ClassVar[dict[str, Any]] = {}
    make: Callable[..., Scheduler] = Scheduler

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.s = self.engine()
        self.log: list[Any] = []

    def engine(self) -> Scheduler:
        return self.make(Settings(**self.options), resources={"db": 2}, clock=self.clock, random=random.Random(7))

    @invariant()
    def the_indexes_agree_with_the_tasks(self) -> None:
        check(self.s)

    @invariant()
    def the_records_rebuild_the_engine(self) -> None:
        self.log += self.s.take_changes().records
        rebuilt = self.engine()
        rebuilt.restore(self.log)
        check(rebuilt)
        assert picture(rebuilt) == picture(self.s)
