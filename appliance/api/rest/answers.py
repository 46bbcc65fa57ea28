"""How requests that were found to be sound are answered: most by one call of the engine, some by the node itself."""

import json
from typing import TYPE_CHECKING, Any

from luigi_ha.appliance.api import wire
from luigi_ha.appliance.api.errors import NotFound, Reply
from luigi_ha.appliance.api.execute import report_refused
from luigi_ha.appliance.api.rest import problems
from luigi_ha.appliance.api.rest.asked import Answer, Asked
from luigi_ha.appliance.clock import monotonic

if TYPE_CHECKING:
    from luigi_ha.appliance.api.rest.service import Rest

HTML = "text/html; charset=UTF-8"
_ENDED = frozenset({"DONE", "FAILED", "PENDING"})  # reported so, a run has ended
_BEFORE = len('{"response": ')


async def execute(rest: "Rest", asked: Asked) -> Answer:
    """One call of the engine, by the leader."""
    return _answer(await rest.call(asked))


async def take(rest: "Rest", asked: Asked) -> Answer:
    """Work, or the news that there is none: at once, or after as long as the client is ready to wait."""
    until = monotonic() + asked.fields.pop("wait", 0)
    while True:
        turn = rest.polls.turn()
        reply = await rest.call(asked)
        if reply.body != wire.NULL_RESPONSE:
            return _answer(reply)
        if monotonic() >= until or not await rest.polls.wait(turn, until, asked.gone):
            return Answer(204)


async def heartbeat(rest: "Rest", asked: Asked) -> Answer:
    """409 if one of the runs that were reported as ended is not the worker's any more."""
    reply = await rest.call(asked)
    answer = _answer(reply)
    ended = {report["task_id"] for report in asked.fields.get("tasks", ()) if report["status"] in _ENDED}
    if answer.status != 200 or not ended:
        return answer
    heard = json.loads(answer.body)
    late = [lost for lost in heard["lost"] if lost["task_id"] in ended]
    if not late:
        return answer
    for lost in late:
        report_refused(lost["task_id"], lost["attempt"], asked.fields["worker"], lost["reason"])
    detail = "; ".join(f"{lost['task_id']}: {lost['reason']}" for lost in late[:10])
    expected = "reports of runs that are this worker's: discard the results of those in `lost`"
    return failed(problems.problem(409, detail=detail, where="tasks", expected=expected, **heard))


async def put_task(rest: "Rest", asked: Asked) -> Answer:
    answer = _answer(await rest.call(asked))
    created = answer.status == 200 and json.loads(answer.body)["created"]
    return answer._replace(status=201) if created else answer


async def cancel(rest: "Rest", asked: Asked) -> Answer:
    asked.fields.setdefault("reason", "")
    return await execute(rest, asked)


async def resource(rest: "Rest", asked: Asked) -> Answer:
    """One of all."""
    name = asked.fields.pop("name")
    answer = _answer(await rest.call(asked))
    if answer.status != 200:
        return answer
    for one in json.loads(answer.body):
        if one["name"] == name:
            return good(one)
    raise NotFound("no such resource", where="name", expected="one of /api/resource")


async def why(rest: "Rest", asked: Asked) -> Answer:
    task_id = asked.fields["task_id"]
    try:
        return good(await rest.operations.why(task_id))
    except KeyError:
        raise _no_such_task() from None


async def history(rest: "Rest", asked: Asked) -> Answer:
    task_id = asked.fields["task_id"]
    try:
        entries = await rest.operations.history(task_id, asked.fields.get("limit", 1000))
    except KeyError:
        raise _no_such_task() from None
    return good({"task_id": task_id, "history": entries})


async def cluster(rest: "Rest", _asked: Asked) -> Answer:
    return good(await rest.operations.cluster())


async def failovers(rest: "Rest", asked: Asked) -> Answer:
    return good({"failovers": await rest.operations.failovers(asked.fields.get("limit", 20))})


async def incident(rest: "Rest", asked: Asked) -> Answer:
    try:
        return good(await rest.operations.incident(asked.fields.get("number", 1)))
    except KeyError:
        what = "no such incident is on record"
        raise NotFound(what, where="number", expected="1 for the last one, 2 for the one before, ...") from None


async def openapi(rest: "Rest", _asked: Asked) -> Answer:
    return Answer(200, rest.document)


async def docs(rest: "Rest", _asked: Asked) -> Answer:
    return Answer(200, rest.page, HTML)


def good(value: Any) -> Answer:
    """200 with this value."""
    return Answer(200, _strict(wire.encode_value(value).encode("ascii")))


def failed(problem: dict[str, Any], retry_after: int | None = None) -> Answer:
    """A problem as an answer."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return Answer(problem["status"], json.dumps(problem).encode(), problems.PROBLEM, headers)


def _answer(reply: Reply) -> Answer:
    """What the engine said, without Luigi's wrapping."""
    if reply.status == 200:
        return Answer(200, _strict(reply.body[_BEFORE:-1]))
    return failed(problems.of_reply(reply.status, reply.body), reply.retry_after)


def _strict(body: bytes) -> bytes:
    """Luigi's JSON knows Infinity and NaN, which most other languages do not: they become null."""
    if b"NaN" not in body and b"Infinity" not in body:
        return body
    value = json.loads(body, parse_constant=lambda _name: None)
    return wire.encode_value(value).encode("ascii")


def _no_such_task() -> NotFound:
    return NotFound("no such task", where="task_id", expected="the id of a task the scheduler knows")
