"""The load: clients that make one call at a time, at a steady rate, and note each in the ledger.

Each client is a worker with tasks, an inbox of its own that it also empties, a resource of its own, and everybody
writes to the shared inboxes, which only the comparison empties. A client never repeats a call, and stops for this round
after the first whose fate is unknown.
"""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

from drills.ledger import (
    DONE,
    FAILED,
    PENDING,
    Effect,
    InboxFetched,
    Kind,
    Ledger,
    MessageSent,
    Outcome,
    ResourceSet,
    TaskChange,
    TaskFacts,
    WorkTaken,
)
from drills.wire import BrokenError, Connection, NotSentError

CLIENTS = 32
SHARED_INBOXES = ("shared-0", "shared-1", "shared-2", "shared-3")
MAX_BACKLOG = 12  # tasks a client leaves pending
PATIENCE = 8.0  # s a call must have waited before the scheduler may answer 503
RESTS = 0.2  # s after a refusal

Step = Callable[[str], tuple[str, Effect, dict[str, Any]]]


def own_inbox(worker: str) -> str:
    """The inbox that only this client uses."""
    return f"inbox-of-{worker}"


class Client:
    """One client; `load` once a round."""

    def __init__(self, name: str, port: int, ledger: Ledger, rng: random.Random, rate: float) -> None:
        self.name = name
        self._ledger = ledger
        self._random = rng
        self._pause = 1.0 / rate
        self._connection = Connection(port)
        self._made = 0
        self._amount = 0
        self.in_flight = False

    async def load(self, family: str, stop: asyncio.Event, *, together: bool = False) -> None:
        """Call until `stop`, or until a call's fate is unknown. `together`: at the same moments as the others do."""
        self._connection.forget_dead()
        due = time.monotonic() + (0.0 if together else self._random.random() * self._pause)
        while not stop.is_set():
            delay = due - time.monotonic()
            if delay > 0:
                await asyncio.sleep(delay)
            due = max(due + self._pause, time.monotonic() - self._pause)
            if stop.is_set() or not await self._step(family):
                return

    def close(self) -> None:
        """End of the drill."""
        self._connection.close()

    async def _step(self, family: str) -> bool:
        """One call of the mix; whether its fate is known."""
        waiting, running = self._ledger.waiting[self.name], self._ledger.running[self.name]
        choices: list[tuple[int, Step]] = [(10, self._send), (7, self._send_own), (5, self._fetch), (7, self._resource)]
        if len(waiting) < MAX_BACKLOG:
            choices.append((32, self._add))
        if waiting:
            choices.append((24, self._get_work))
        if running:
            choices += [(16, self._done), (6, self._failed), (6, self._say)]
        weights, steps = zip(*choices, strict=True)
        step = self._random.choices(steps, weights)[0]
        return await self._call(*step(family))

    async def _call(self, method: str, effect: Effect, arguments: dict[str, Any]) -> bool:
        ledger = self._ledger
        call = ledger.begin(self.name, method, effect, time.monotonic())
        self.in_flight = True
        try:
            answer = await self._connection.call(method, arguments)
        except NotSentError as error:
            ledger.end(call, Outcome.UNSENT, time.monotonic(), note=str(error))
            return False
        except BrokenError as error:
            ledger.end(call, Outcome.UNKNOWN, time.monotonic(), note=str(error))
            return False
        finally:
            self.in_flight = False
        now = time.monotonic()
        if answer.status == 200:
            ledger.end(call, Outcome.ACKNOWLEDGED, now, answer.body["response"])
            return True
        what = str(answer.body["error"]["what"]) if isinstance(answer.body.get("error"), dict) else str(answer.body)
        if answer.status != 503:
            ledger.end(call, Outcome.UNKNOWN, now, note=what)
            ledger.violate(Kind.WRONG, f"{method} {effect}", 200, f"{answer.status} {what}")
            return False
        refused = what.startswith("not executed")
        ledger.end(call, Outcome.REFUSED if refused else Outcome.UNKNOWN, now, note=what)
        if call.seconds < PATIENCE:
            ledger.violate(Kind.WRONG, f"{method} {effect}", f"no 503 before {PATIENCE} s", f"{call.seconds:.1f} s")
        await asyncio.sleep(RESTS)
        return refused

    # -- the mix -----------------------------------------------------------------------------------------------

    def _add(self, family: str) -> tuple[str, Effect, dict[str, Any]]:
        self._made += 1
        param = f"{self.name}-{self._made}"
        task_id = f"{family}_{param}"
        arguments = {"worker": self.name, "task_id": task_id, "family": family, "params": {"n": param}}
        return "add_task", TaskChange(task_id, TaskFacts(PENDING, self.name, param)), arguments

    def _get_work(self, _family: str) -> tuple[str, Effect, dict[str, Any]]:
        current = sorted(self._ledger.running[self.name])
        arguments = {"worker": self.name, "host": "drill", "current_tasks": current}
        return "get_work", WorkTaken(self.name), arguments

    def _report(self, status: str, expl: str | None) -> tuple[str, Effect, dict[str, Any]]:
        task_id = self._one_running()
        facts = self._ledger.tasks[task_id]
        arguments = {"worker": self.name, "task_id": task_id, "status": status, "params": {"n": facts.param}}
        if expl is not None:
            arguments["expl"] = expl
        return "add_task", TaskChange(task_id, facts._replace(status=status, expl=expl)), arguments

    def _done(self, _family: str) -> tuple[str, Effect, dict[str, Any]]:
        return self._report(DONE, None)

    def _failed(self, _family: str) -> tuple[str, Effect, dict[str, Any]]:
        return self._report(FAILED, f"it's broken: {self._unique()}\n")

    def _say(self, _family: str) -> tuple[str, Effect, dict[str, Any]]:
        task_id = self._one_running()
        message = self._unique()
        facts = self._ledger.tasks[task_id]._replace(message=message)
        arguments = {"task_id": task_id, "status_message": message}
        return "set_task_status_message", TaskChange(task_id, facts), arguments

    def _send(self, _family: str) -> tuple[str, Effect, dict[str, Any]]:
        return self._message(self._random.choice(SHARED_INBOXES))

    def _send_own(self, _family: str) -> tuple[str, Effect, dict[str, Any]]:
        return self._message(own_inbox(self.name))

    def _message(self, inbox: str) -> tuple[str, Effect, dict[str, Any]]:
        content = self._unique()
        arguments = {"worker": inbox, "task": "drill", "content": content}
        return "send_scheduler_message", MessageSent(inbox, content), arguments

    def _fetch(self, _family: str) -> tuple[str, Effect, dict[str, Any]]:
        inbox = own_inbox(self.name)
        return "ping", InboxFetched(inbox), {"worker": inbox}

    def _resource(self, _family: str) -> tuple[str, Effect, dict[str, Any]]:
        self._amount += 1
        name = f"resource-of-{self.name}"
        arguments = {"resource": name, "amount": self._amount}
        return "update_resource", ResourceSet(name, self._amount), arguments

    def _one_running(self) -> str:
        return self._random.choice(sorted(self._ledger.running[self.name]))

    def _unique(self) -> str:
        self._made += 1
        return f"{self.name}-{self._made}"
