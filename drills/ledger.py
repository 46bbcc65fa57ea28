"""The client's own record: every call, what became of it, and what must therefore be true of the scheduler.

A call is *acknowledged* (its effect must be there, once), *refused* (the scheduler said that it was not executed: its
effect must not be there), *unknown* (sent, and no answer: its effect may be there, at most once) or *unsent*.

Invariant: every object (a task, an inbox of its own, a resource) is changed by one client only, which makes one call at
a time and stops after an unknown one. So what may be seen of an object is either what the last acknowledged call left,
or that with the one unknown call applied; shared inboxes hold the acknowledged messages once each, and perhaps unknown
ones. `resolve` replaces the doubt by what was seen.

Not covered: the order in which different clients' calls took effect.
"""

import enum
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

PENDING, RUNNING, DONE, FAILED = "PENDING", "RUNNING", "DONE", "FAILED"


class Outcome(enum.Enum):
    """What became of a call."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"  # answered: not executed
    UNKNOWN = "unknown"
    UNSENT = "unsent"


class Kind(enum.Enum):
    """What is wrong, if something is."""

    LOST = "lost"  # acknowledged, and not there
    TWICE = "applied twice"
    NEVER_SENT = "never sent"  # there, and nobody asked for it, or it was refused
    WRONG = "wrong answer"  # an error where there is no reason for one
    LOG = "log"  # the database contradicts itself


class Violation(NamedTuple):
    """One contradiction between the ledger and the scheduler."""

    kind: Kind
    what: str
    expected: str
    seen: str


class TaskFacts(NamedTuple):
    """What is said about a task, as far as the drill's clients can change it."""

    status: str
    owner: str  # the one worker that wants it, and runs it while it is RUNNING
    param: str
    expl: str | None = None  # of a FAILED one
    message: str | None = None


class TaskChange(NamedTuple):
    """The call leaves the task like this."""

    task_id: str
    after: TaskFacts


class WorkTaken(NamedTuple):
    """The call hands out one of the worker's pending tasks, if there is one."""

    worker: str


class MessageSent(NamedTuple):
    """The call appends to an inbox. Not idempotent: applied twice, it shows twice."""

    inbox: str
    content: str


class InboxFetched(NamedTuple):
    """The call delivers and empties an inbox."""

    inbox: str


class ResourceSet(NamedTuple):
    """The call sets a total."""

    name: str
    amount: int


Effect = TaskChange | WorkTaken | MessageSent | InboxFetched | ResourceSet


@dataclass(slots=True)
class Call:
    """One call as the client saw it."""

    number: int
    client: str
    method: str
    effect: Effect
    sent_at: float  # monotonic, s
    outcome: Outcome = Outcome.UNKNOWN
    seconds: float = 0.0
    note: str = ""
    applied: bool | None = None  # of an unknown one: whether it turned out to be there


@dataclass
class Ledger:
    """All calls, and the state that must be there."""

    calls: list[Call] = field(default_factory=list)
    tasks: dict[str, TaskFacts] = field(default_factory=dict)
    waiting: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # PENDING, by owner
    running: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # RUNNING, by owner
    inboxes: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # undelivered, in order
    delivered: set[str] = field(default_factory=set)
    resources: dict[str, int] = field(default_factory=dict)
    unknown: list[Call] = field(default_factory=list)  # not resolved yet
    touched: set[str] = field(default_factory=set)  # families with tasks changed since the last comparison
    sent_messages: set[str] = field(default_factory=set)
    messages_applied: int = 0
    violations: list[Violation] = field(default_factory=list)

    def begin(self, client: str, method: str, effect: Effect, now: float) -> Call:
        """Note a call before it is sent."""
        call = Call(len(self.calls), client, method, effect, now)
        self.calls.append(call)
        match effect:
            case TaskChange(task_id):
                self.touched.add(family_of(task_id))
            case WorkTaken(worker):
                self.touched |= {family_of(task_id) for task_id in self.waiting[worker]}
            case MessageSent(_, content):
                self.sent_messages.add(content)
        return call

    def end(self, call: Call, outcome: Outcome, now: float, reply: Any = None, note: str = "") -> None:
        """Note what became of it."""
        call.outcome, call.seconds, call.note = outcome, now - call.sent_at, note
        if outcome is Outcome.UNKNOWN:
            self.unknown.append(call)
        elif outcome is Outcome.ACKNOWLEDGED:
            self._acknowledged(call.effect, reply)

    def put(self, task_id: str, facts: TaskFacts | None) -> None:
        """This is what is true of the task now; None: it does not exist."""
        before = self.tasks.pop(task_id, None)
        if before is not None:
            self.waiting[before.owner].discard(task_id)
            self.running[before.owner].discard(task_id)
        if facts is None:
            return
        self.tasks[task_id] = facts
        if facts.status == PENDING:
            self.waiting[facts.owner].add(task_id)
        elif facts.status == RUNNING:
            self.running[facts.owner].add(task_id)

    def violate(self, kind: Kind, what: str, expected: object, seen: object) -> None:
        """Note a contradiction."""
        self.violations.append(Violation(kind, what, str(expected), str(seen)))

    def counts(self) -> Counter[str]:
        """Tasks by status."""
        return Counter(facts.status for facts in self.tasks.values())

    def _acknowledged(self, effect: Effect, reply: Any) -> None:
        match effect:
            case TaskChange(task_id, after):
                self.put(task_id, after)
            case WorkTaken(worker):
                self._taken(worker, reply)
            case MessageSent(inbox, content):
                self.inboxes[inbox].append(content)
                self.messages_applied += 1
                if not (isinstance(reply, dict) and reply.get("message_id")):
                    self.violate(Kind.WRONG, f"send_scheduler_message {content}", "a message id", reply)
            case InboxFetched(inbox):
                contents = [message["kwargs"]["content"] for message in reply["rpc_messages"]]
                self.fetched(inbox, contents, certain=self.inboxes[inbox], possible=())
            case ResourceSet(name, amount):
                self.resources[name] = amount
                if reply is not True:
                    self.violate(Kind.WRONG, f"update_resource {name}", True, reply)

    def _taken(self, worker: str, reply: Any) -> None:
        task_id = reply["task_id"]
        waiting = self.waiting[worker]
        if task_id is None:
            if waiting:
                self.violate(Kind.LOST, f"get_work {worker}", f"one of {len(waiting)} pending tasks", "no work")
            return
        facts = self.tasks.get(task_id)
        if facts is None:
            self.violate(Kind.NEVER_SENT, f"get_work {worker}", "a task of this ledger", task_id)
        elif task_id not in waiting:
            self.violate(Kind.TWICE, f"get_work {worker}", f"a pending task; {task_id} is {facts}", "handed out")
        else:
            self.put(task_id, facts._replace(status=RUNNING))

    def fetched(self, inbox: str, contents: list[str], certain: list[str], possible: Iterable[str]) -> None:
        """Compare what an inbox delivered with what must (`certain`) and may (`possible`) be in it; it is empty now."""
        seen = Counter(contents)
        allowed = set(possible)
        for content, times in seen.items():
            what = f"message {content} to {inbox}"
            if times > 1:
                self.violate(Kind.TWICE, what, "once", f"{times} times in one delivery")
            if content in self.delivered:
                self.violate(Kind.TWICE, what, "once", "delivered again")
            elif content not in self.sent_messages:
                self.violate(Kind.NEVER_SENT, what, "nothing", "delivered")
            elif content not in certain and content not in allowed:
                self.violate(Kind.NEVER_SENT, what, "not in this inbox, or refused", "delivered")
        for content in certain:
            if content not in seen:
                self.violate(Kind.LOST, f"message {content} to {inbox}", "delivered", "not there")
        self.delivered.update(contents)
        self.inboxes[inbox] = []

    def about(self, what: str, most: int = 6) -> list[str]:
        """The last calls that concern an object, for people."""
        words = set(what.replace("'", " ").split())
        found = [c for c in self.calls if words & {str(part) for part in c.effect}]
        return [
            f"call {c.number} {c.client} {c.method} {c.outcome.value} {c.note} applied={c.applied} {c.effect}"
            for c in found[-most:]
        ]


def family_of(task_id: str) -> str:
    """The family: the round in which the task was made."""
    return task_id.partition("_")[0]
