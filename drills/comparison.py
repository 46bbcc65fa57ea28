"""After a restart: the scheduler's state, asked over HTTP, against the ledger.

`quick` looks at everything that changed since the last comparison, and at totals that show a change anywhere else
(tasks by status, undelivered messages by inbox, all resources); `full` looks at every task and empties every inbox.
Both settle the fate of unknown calls by what they see, and adopt what is there after noting a contradiction, so that
one fault is counted once.

Needs a scheduler that nobody else talks to while it runs.
"""

import random
import time
from typing import Any

from drills.ledger import (
    FAILED,
    PENDING,
    RUNNING,
    Call,
    InboxFetched,
    Kind,
    Ledger,
    MessageSent,
    Outcome,
    ResourceSet,
    TaskChange,
    TaskFacts,
    WorkTaken,
    family_of,
)
from drills.wire import Connection

CHECKER = "checker"
_RANK = {PENDING: 0, RUNNING: 1}  # what follows is 2


class ComparisonError(Exception):
    """The scheduler did not answer the comparison's own calls."""


class Comparison:
    """Compares one ledger with the scheduler on one port."""

    def __init__(self, ledger: Ledger, port: int, rng: random.Random) -> None:
        self._ledger = ledger
        self._random = rng
        self._port = port
        self._connection = Connection(port)

    async def quick(self) -> None:
        """What changed since the last time, and totals."""
        await self._compare(full=False)

    async def full(self) -> None:
        """Everything."""
        await self._compare(full=True)

    async def _compare(self, *, full: bool) -> None:
        self._connection = Connection(self._port)
        try:
            await self._tasks(full=full)
            await self._resources()
            await self._inboxes(full=full)
        finally:
            self._connection.close()
        for call in self._ledger.unknown:
            call.applied = bool(call.applied)
        self._ledger.unknown.clear()
        self._ledger.touched.clear()

    async def _ask(self, method: str, **arguments: Any) -> Any:
        answer = await self._connection.call(method, arguments)
        if answer.status != 200:
            raise ComparisonError(f"{method}: {answer.status} {answer.body}")
        return answer.body["response"]

    # -- tasks -------------------------------------------------------------------------------------------------

    async def _tasks(self, *, full: bool) -> None:
        ledger = self._ledger
        if full:
            shown = await self._ask("task_list", status="", upstream_status="", limit=False)
            ids = set(ledger.tasks)
        else:
            shown = {}
            for family in sorted(ledger.touched):
                found = await self._ask("task_list", status="", upstream_status="", limit=False, search=family)
                shown.update(found)
            ids = {task_id for task_id in ledger.tasks if family_of(task_id) in ledger.touched}
        seen = {task_id: await self._facts(task_id, task) for task_id, task in shown.items()}
        ids |= {call.effect.task_id for call in ledger.unknown if isinstance(call.effect, TaskChange)}
        for task_id in sorted(ids | set(seen)):
            self._task(task_id, ledger.tasks.get(task_id), seen.get(task_id))
        cluster = (await self._connection.get("/api/cluster")).body
        totals = {status: number for status, number in cluster["tasks"].items() if number}
        if totals != dict(ledger.counts()):
            expected, there = sum(ledger.counts().values()), sum(totals.values())
            kind = Kind.NEVER_SENT if there > expected else Kind.LOST
            ledger.violate(kind, "tasks by status", dict(ledger.counts()), totals)

    async def _facts(self, task_id: str, task: dict[str, Any]) -> TaskFacts:
        expl = None
        if task["status"] == FAILED:
            expl = (await self._ask("fetch_error", task_id=task_id))["error"]
        owners = task["workers"] if task["status"] != RUNNING else [task["worker_running"]]
        owner = owners[0] if len(owners) == 1 else str(owners)
        return TaskFacts(task["status"], owner, task["params"].get("n", ""), expl, task["status_message"])

    def _task(self, task_id: str, expected: TaskFacts | None, seen: TaskFacts | None) -> None:
        ledger = self._ledger
        if seen != expected:
            call = self._explains(task_id, expected, seen)
            if call is not None:
                call.applied = True
            else:
                ledger.violate(_judge(expected, seen), task_id, expected, seen)
            ledger.put(task_id, seen)

    def _explains(self, task_id: str, expected: TaskFacts | None, seen: TaskFacts | None) -> Call | None:
        """The one unknown call, not used up yet, that makes `seen` of `expected`."""
        for call in self._ledger.unknown:
            match call.effect:
                case TaskChange(changed, after) if changed == task_id and after == seen and not call.applied:
                    return call
                case WorkTaken(worker) if expected is not None and not call.applied:
                    taken = expected._replace(status=RUNNING)
                    if worker == expected.owner and expected.status == PENDING and seen == taken:
                        return call
        return None

    # -- resources ---------------------------------------------------------------------------------------------

    async def _resources(self) -> None:
        ledger = self._ledger
        seen = {row["name"]: row["num_total"] for row in await self._ask("resource_list")}
        for name in sorted(set(seen) | set(ledger.resources)):
            expected, there = ledger.resources.get(name), seen.get(name)
            if there == expected:
                continue
            calls = [call for call in ledger.unknown if call.effect == ResourceSet(name, there or 0)]
            if calls:
                calls[0].applied = True
            else:
                lost = there is None or (expected is not None and there < expected)
                ledger.violate(Kind.LOST if lost else Kind.NEVER_SENT, name, expected, there)
            if there is None:
                del ledger.resources[name]
            else:
                ledger.resources[name] = there

    # -- inboxes -----------------------------------------------------------------------------------------------

    async def _inboxes(self, *, full: bool) -> None:
        ledger = self._ledger
        unread = {row["name"]: row["num_unread_rpc_messages"] for row in await self._ask("worker_list")}
        for inbox in sorted({*ledger.inboxes, *unread}):
            certain = ledger.inboxes[inbox]
            sends = {
                call.effect.content: call
                for call in ledger.unknown
                if isinstance(call.effect, MessageSent) and call.effect.inbox == inbox
            }
            fetches = [call for call in ledger.unknown if call.effect == InboxFetched(inbox)]
            there = unread.get(inbox, 0)
            least, most = (0 if fetches else len(certain)), len(certain) + len(sends)
            if there > most:
                ledger.violate(Kind.TWICE, f"inbox {inbox}", f"at most {most} messages", there)
            elif there < least or (fetches and 0 < there < len(certain)):
                ledger.violate(Kind.LOST, f"inbox {inbox}", f"{len(certain)} messages", there)
            if full or sends or fetches or not least <= there <= most or self._random.random() < 0.2:
                await self._fetch(inbox, there, sends, fetches)

    async def _fetch(self, inbox: str, there: int, sends: dict[str, Call], fetches: list[Call]) -> None:
        ledger = self._ledger
        certain = list(ledger.inboxes[inbox])
        if fetches and not there:
            fetches[0].applied = True
            ledger.delivered.update(certain)  # to nobody, but delivered: they may not come again
            certain = []
        call = ledger.begin(CHECKER, "ping", InboxFetched(inbox), time.monotonic())
        reply = await self._ask("ping", worker=inbox)
        contents = [message["kwargs"]["content"] for message in reply["rpc_messages"]]
        call.outcome, call.seconds = Outcome.ACKNOWLEDGED, time.monotonic() - call.sent_at
        if len(contents) != there:
            ledger.violate(Kind.LOST, f"inbox {inbox}", f"{there} messages, as its worker's row says", len(contents))
        ledger.fetched(inbox, contents, certain, sends)
        for content in set(contents) & set(sends):
            sends[content].applied = True
            ledger.messages_applied += 1


def _judge(expected: TaskFacts | None, seen: TaskFacts | None) -> Kind:
    """Which kind of contradiction it is that a task shows `seen` where `expected` should be."""
    if expected is None:
        return Kind.NEVER_SENT
    if seen is None or _RANK.get(seen.status, 2) < _RANK.get(expected.status, 2):
        return Kind.LOST
    if _RANK.get(seen.status, 2) > _RANK.get(expected.status, 2):
        return Kind.NEVER_SENT
    return Kind.LOST
