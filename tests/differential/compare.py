"""Runs both schedulers through the same calls and compares every reply; makes a mismatch small.

Equal means equal as JSON, times to a hundredth of a millisecond. Only what has no order is put into one
before: the tasks a worker is told are running, a task's dependencies, the resources, the mails of one call.
Message ids are each scheduler's own and are compared by when they were given.
"""

import collections
import json
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from luigi_ha.appliance.engine import Scheduler, Settings
from luigi_ha.appliance.engine.failure import NOT_SAID, SILENT
from luigi_ha.appliance.engine.last_line import last_line
from tests.differential.calls import Call, Generator, World, make_world
from tests.differential.differences import DIFFERENCES, Difference
from tests.differential.reference import Clock, MailLog, luigi_under, make_reference

TOLERANCE = 1e-5  # s; far above the reference's ticks, far below the steps of the clock
SHRINK_SECONDS = 20.0
SHOWN_CALLS = 60

MakeOurs = Callable[..., Any]


@dataclass(frozen=True)
class Mismatch:
    """The first call at which the two differed."""

    seed: int
    world: World
    step: int
    calls: list[Call]  # up to and including the one that differed
    expected: Any
    found: Any

    def __str__(self) -> str:
        lines = [f"seed {self.seed}, step {self.step}: the replies differ", f"world: {self.world}"]
        if len(self.calls) > SHOWN_CALLS:
            lines.append(f"  ... {len(self.calls) - SHOWN_CALLS} calls before (run the seed again to have them)")
        lines += [f"  +{call.wait:.6f} s {call.method}({call.kwargs})" for call in self.calls[-SHOWN_CALLS:]]
        lines += [f"luigi: {self.expected!r}", f"ours:  {self.found!r}"]
        lines += [f"at:    {place}" for place in difference(self.expected, self.found)]
        return "\n".join(lines)


@dataclass
class Outcome:
    """What one run did."""

    seed: int
    calls: int
    mismatch: Mismatch | None
    methods: collections.Counter[str] = field(default_factory=collections.Counter)
    seen: collections.Counter[str] = field(default_factory=collections.Counter)


class _Pair:
    """Both schedulers under one clock."""

    def __init__(self, world: World, make_ours: MakeOurs, differences: Iterable[Difference]) -> None:
        self.clock = Clock()
        self.reference_mails: list[tuple[str, str]] = []
        self.reference_log, self.our_log = MailLog(), MailLog()
        with luigi_under(self.clock, self.reference_mails, self.reference_log):
            self.reference = make_reference(world.options, world.resources, differences)
        self.ours = make_ours(
            Settings(**world.options),
            resources=dict(world.resources),
            clock=self.clock.read,
            random=random.Random(1),
            mailbox=self.our_log,
        )
        self._messages: tuple[list[str], list[str]] = ([], [])

    def call(self, call: Call) -> tuple[Any, Any]:
        """Both replies, comparable; a refusal is ["refused", ...]."""
        self.clock.advance(call.wait)
        with luigi_under(self.clock, self.reference_mails, self.reference_log):
            expected = self._ask(self.reference, call, self._messages[0])
        found = self._ask(self.ours, call, self._messages[1])
        mails = [(mail.subject, mail.body) for mail in self.ours.take_changes().mails]
        expected = {"reply": expected, "mails": sorted(self.reference_mails), "batched": self.reference_log.entries[:]}
        found = {"reply": found, "mails": sorted(mails), "batched": self.our_log.entries[:]}
        for kept in (self.reference_mails, self.reference_log.entries, self.our_log.entries):
            kept.clear()
        return expected, found

    def _ask(self, scheduler: Any, call: Call, messages: list[str]) -> Any:
        kwargs = json.loads(call.kwargs)
        symbol = str(kwargs.get("message_id", ""))
        if symbol.startswith("message:"):
            index = int(symbol.removeprefix("message:"))
            kwargs["message_id"] = messages[index] if index < len(messages) else symbol
        try:
            reply = getattr(scheduler, call.method)(**kwargs)
        except Exception as error:  # noqa: BLE001 - whatever luigi raises is an answer to compare
            return ["refused", type(error).__name__ if scheduler is self.reference else "", str(error)]
        return _comparable(call.method, reply, messages)


def run(
    seed: int, calls: int, make_ours: MakeOurs = Scheduler, differences: Iterable[Difference] = DIFFERENCES
) -> Outcome:
    """`calls` random calls from `seed`, up to the first mismatch."""
    rng = random.Random(seed)
    world = make_world(rng)
    differences = tuple(differences)
    pair = _Pair(world, make_ours, differences)
    generator = Generator(rng, world, pair.reference)
    outcome = Outcome(seed, 0, None)
    made: list[Call] = []
    for step in range(calls):
        call = generator.next()
        made.append(call)
        running = set(pair.reference._state._status_tasks["RUNNING"])
        expected, found = pair.call(call)
        outcome.calls += 1
        outcome.methods[call.method] += 1
        _note(outcome.seen, call, expected["reply"], running)
        if not same(expected, found):
            calls_made = shrink(world, made, make_ours, differences)
            expected, found = _replay(world, calls_made, make_ours, differences) or (expected, found)
            outcome.mismatch = Mismatch(seed, world, step, calls_made, expected, found)
            break
        generator.learn(call, expected["reply"])
    outcome.seen.update(pair.reference.seen)
    return outcome


def first_mismatch(
    world: World, calls: list[Call], make_ours: MakeOurs = Scheduler, differences: Iterable[Difference] = DIFFERENCES
) -> int | None:
    """Replay recorded calls: the number of the first one that is answered differently, None if there is none."""
    pair = _Pair(world, make_ours, differences)
    for step, call in enumerate(calls):
        if not same(*pair.call(call)):
            return step
    return None


def same(expected: Any, found: Any) -> bool:
    """Equal as JSON, numbers to the tolerance."""
    if isinstance(expected, dict):
        return (
            isinstance(found, dict)
            and expected.keys() == found.keys()
            and all(same(value, found[name]) for name, value in expected.items())
        )
    if isinstance(expected, (list, tuple)):
        if not isinstance(found, (list, tuple)) or len(expected) != len(found):
            return False
        if expected and expected[0] == "refused" and found[0] == "refused":
            return True
        return all(same(*pair) for pair in zip(expected, found, strict=True))
    if isinstance(expected, float) or isinstance(found, float):
        numbers = isinstance(expected, (int, float)) and isinstance(found, (int, float))
        return numbers and (expected == found or abs(expected - found) < TOLERANCE)
    return bool(expected == found) and isinstance(expected, bool) == isinstance(found, bool)


def difference(expected: Any, found: Any, place: str = "") -> list[str]:
    """Where two replies differ."""
    if same(expected, found):
        return []
    if isinstance(expected, dict) and isinstance(found, dict) and expected.keys() == found.keys():
        return [line for name in expected for line in difference(expected[name], found[name], f"{place}.{name}")]
    if isinstance(expected, (list, tuple)) and isinstance(found, (list, tuple)) and len(expected) == len(found):
        pairs = enumerate(zip(expected, found, strict=True))
        return [line for i, pair in pairs for line in difference(*pair, f"{place}[{i}]")]
    return [f"{place}: luigi {expected!r}, ours {found!r}"[:1500]]


def shrink(world: World, calls: list[Call], make_ours: MakeOurs, differences: Iterable[Difference]) -> list[Call]:
    """Leave out calls, in ever smaller pieces, as long as some mismatch remains and there is time."""
    deadline = time.monotonic() + SHRINK_SECONDS
    differences = tuple(differences)
    piece = len(calls) // 2
    while piece >= 1:
        start = 0
        while start < len(calls) - 1:
            if time.monotonic() > deadline:
                return calls
            fewer = _without(calls, start, min(start + piece, len(calls) - 1))
            failing = first_mismatch(world, fewer, make_ours, differences)
            if failing is None:
                start += piece
            else:
                calls = fewer[: failing + 1]
        piece //= 2
    return calls


def _without(calls: list[Call], start: int, end: int) -> list[Call]:
    left_out = sum(call.wait for call in calls[start:end])
    return [*calls[:start], calls[end]._replace(wait=calls[end].wait + left_out), *calls[end + 1 :]]


def _replay(
    world: World, calls: list[Call], make_ours: MakeOurs, differences: Iterable[Difference]
) -> tuple[Any, Any] | None:
    pair = _Pair(world, make_ours, differences)
    replies = None
    for call in calls:
        replies = pair.call(call)
    return replies


def _comparable(method: str, reply: Any, messages: list[str]) -> Any:
    if method == "send_scheduler_message" and reply["message_id"] is not None:
        messages.append(reply["message_id"])
        return {"message_id": len(messages)}
    if method in ("get_work", "count_pending"):
        return {**reply, "running_tasks": sorted(reply["running_tasks"], key=lambda task: task["task_id"])}
    if method == "ping":
        return [_with_number(message, messages) for message in reply["rpc_messages"]]
    if method == "resource_list":
        return sorted(reply, key=lambda resource: resource["name"])
    if method in ("dep_graph", "inverse_dep_graph", "graph"):
        return {task_id: {**node, "deps": sorted(node["deps"])} for task_id, node in reply.items()}
    if method == "re_enable_task" and reply:
        return {**reply, "deps": sorted(reply["deps"])}
    if method == "fetch_error" and (reply["error"] in (NOT_SAID, SILENT) or not last_line(json.dumps(reply["error"]))):
        return {**reply, "error": "none was given"}  # luigi shows nothing, we say so
    return reply


def _with_number(message: Any, messages: list[str]) -> Any:
    kwargs = dict(message["kwargs"])
    if kwargs.get("message_id") in messages:
        kwargs["message_id"] = messages.index(kwargs["message_id"])
    return {**message, "kwargs": kwargs}


def _note(seen: collections.Counter[str], call: Call, reply: Any, running: set[str]) -> None:
    """Count the replies that show something."""
    if isinstance(reply, list) and reply and reply[0] == "refused":
        seen[f"refused: {call.method} {reply[1]}"] += 1
        return
    if call.method == "get_work":
        if reply.get("batch_id"):
            seen["batches handed out"] += 1
        elif reply["task_id"]:
            seen["tasks offered again" if reply["task_id"] in running else "tasks handed out"] += 1
        elif reply["n_pending_tasks"]:
            seen["nothing to hand out though something is pending"] += 1
        if reply["worker_state"] == "disabled":
            seen["disabled workers asking"] += 1
    elif call.method == "ping" and reply:
        seen["messages delivered"] += len(reply)
    elif call.method == "get_scheduler_message_response" and reply["response"] is not None:
        seen["message responses fetched"] += 1
    elif call.method == "re_enable_task" and reply:
        seen["tasks re-enabled"] += 1
    elif call.method == "task_list" and reply:
        seen["counts instead of lists" if "num_tasks" in reply else "lists of tasks"] += 1
