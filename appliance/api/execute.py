"""One call on the engine: from its arguments to its reply, and what it changed.

Invariant: of calls with one Idempotency-Key, one changes something. Its answer is among its own changes, so both are
durable together; every later call with that key gets this answer, from this leader or the next one.

A call that changed nothing is not remembered: repeated, it is executed again.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from luigi_ha.appliance import log
from luigi_ha.appliance.api import wire
from luigi_ha.appliance.api.calls import Call, signature_error
from luigi_ha.appliance.api.errors import BadRequest, Conflicting, Failed, KeyReused, NotFound, Refusal, Reply
from luigi_ha.appliance.api.ports import Engine
from luigi_ha.appliance.engine import BadArgument, Conflict, NoSuch
from luigi_ha.appliance.engine.changes import Changes

NOTHING = Changes([], [], [])
# "No work" says nothing that has to be said again: asked again, there may be some.
NOT_REMEMBERED_WHEN_NULL = frozenset({"rest_take"})
_log = log.get("api")


class Prepared(dict[str, Any]):
    """The arguments that are left of a call done in portions before: it has changed something, whatever is left."""


class Outcome(NamedTuple):
    """What came of a call."""

    reply: Reply
    changes: Changes
    worker: str | None = None  # who says to have made it
    repeated: bool = False  # it is the answer that its key was given before


class EngineBroken(Exception):  # noqa: N818 - the cause is the error
    """The engine failed half-way; `cause` is why."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


def execute(
    engine: Engine, methods: Mapping[str, Callable[..., Any]], call: Call, arguments: dict[str, Any] | None
) -> Outcome:
    """Do it. `arguments`: what `call.data` says, if the caller has decoded it already. Raises EngineBroken."""
    key = call.terms.key
    try:
        if key is not None and (answer := _answered(engine, key, call)) is not None:
            return Outcome(answer, NOTHING, repeated=True)
        if arguments is None:
            arguments = wire.decode_arguments(call.data)
    except Refusal as refusal:
        return Outcome(refusal.reply(), NOTHING)
    worker = arguments.get("worker")
    if type(worker) is not str:
        worker = None
    try:
        result = _run(engine, call.method, methods[call.method], arguments)
    except Refusal as refusal:
        if call.method == "add_task" and isinstance(refusal, Conflicting):
            report_refused(arguments["task_id"], arguments["attempt"], worker, refusal.what)
        return Outcome(refusal.reply(), engine.take_changes(), worker)
    reply = Reply(200, wire.NULL_RESPONSE if result is None else wire.encode_response(result))
    changes = engine.take_changes()
    changed = changes.records or type(arguments) is Prepared
    if key is not None and changed and (result is not None or call.method not in NOT_REMEMBERED_WHEN_NULL):
        engine.remember(key, call.method, _fingerprint(call.data), reply.status, reply.body.decode("ascii"))
        changes = changes._replace(records=changes.records + engine.take_changes().records)
    return Outcome(reply, changes, worker)


def report_refused(task_id: str, attempt: int, worker: str | None, reason: str) -> None:
    """Tell that a worker's result was not taken, because its run was over."""
    who = (worker or "")[:200]
    _log.warning("report_refused", task_id=task_id[:200], attempt=attempt, worker_id=who, reason=reason)


def _run(engine: Engine, method: str, function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """Return the engine's result. Raises Refusal if it says no, or fails before it has changed anything; EngineBroken
    if it may be half-changed."""
    try:
        return function(**arguments)
    except Conflict as error:
        raise Conflicting(error.problem, where=error.argument, expected=error.expected) from error
    except NoSuch as error:
        raise NotFound(error.problem, where=error.argument, expected=error.expected) from error
    except BadArgument as error:
        raise BadRequest(error.problem, where=error.argument, expected=error.expected) from error
    except Exception as error:
        bad: Refusal | None = signature_error(method, function, arguments, error)
        if bad is None and engine.unchanged:
            bad = failed_unchanged(method, error)
        raise EngineBroken(error) if bad is None else bad from error


def failed_unchanged(method: str, error: Exception) -> Failed:
    """Log the error being handled, of a call that has changed nothing, and return its 500: no reload is needed."""
    _log.exception("call_failed", method=method, error=f"{type(error).__name__}: {error}"[:300])
    what = f"{method} failed inside the scheduler ({type(error).__name__}); nothing was changed"
    return Failed(what, where=method, expected="an answer; please report the traceback in the scheduler's log")


def _answered(engine: Engine, key: str, call: Call) -> Reply | None:
    """The first answer to the call with this key; None: there was none. KeyReused if that was another call."""
    answer = engine.answered(key)
    if answer is None:
        return None
    if answer.method != call.method or answer.fingerprint != _fingerprint(call.data):
        raise KeyReused(
            f"it was used for {'other arguments' if answer.method == call.method else answer.method}",
            where="Idempotency-Key",
            expected="a new key for each call; the same only to repeat a call as it was",
        )
    return Reply(answer.status, answer.reply.encode("ascii"))


def _fingerprint(data: str) -> str:
    return hashlib.sha256(data.encode("utf-8", "surrogatepass")).hexdigest()[:32]
