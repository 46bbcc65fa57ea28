"""RFC 9457 problem details: what a REST call that was not done is told.

    {"type": "/api/docs#bad-request", "title": ..., "status": 400, "detail": ..., "where": ..., "expected": ...}

`type` leads to the documentation, which every node serves. Some kinds say more: a heartbeat's 409 has everything that
a good reply has.
"""

import json
from typing import Any, NamedTuple

from luigi_ha.appliance.api.errors import Refusal

PROBLEM = "application/problem+json"


class Kind(NamedTuple):
    """One kind of problem."""

    name: str  # the end of its type
    title: str
    text: str  # for the documentation: when it happens, and whether anything was done


KINDS = {
    400: Kind("bad-request", "Bad request", "The request is not as documented. Nothing was done."),
    401: Kind("unauthorized", "Not authenticated", "No token, or none that is valid. Nothing was done."),
    403: Kind("forbidden", "Not allowed", "The token's role may not do this. Nothing was done."),
    404: Kind("not-found", "Not found", "No such path, task, worker or resource. Nothing was done."),
    405: Kind("method-not-allowed", "Method not allowed", "The header Allow names the right ones. Nothing was done."),
    409: Kind(
        "conflict",
        "Conflict",
        "What the caller believes is not so any more: a run that it reports as finished is not its own, or not the "
        "task's current one. That report changed nothing; what else the call said was done.",
    ),
    413: Kind("too-large", "Too large", "The body is larger than the option max_body. Nothing was done."),
    422: Kind("key-reused", "Idempotency key reused", "The Idempotency-Key belongs to another call. Nothing was done."),
    500: Kind("failed", "Failed", "A defect: the scheduler reloads its state, and the call's effects are discarded."),
    503: Kind(
        "unavailable",
        "Not now",
        "Nobody leads, the database is away, or too much is waiting. `detail` says whether it was executed; to repeat "
        "it with the same Idempotency-Key is always right. Retry-After says when.",
    ),
}
_OTHER = Kind("other", "Refused", "Something else.")


def problem(status: int, *, detail: str, where: str, expected: str, **more: Any) -> dict[str, Any]:
    """The object."""
    kind = KINDS.get(status, _OTHER)
    return {
        "type": f"/api/docs#{kind.name}",
        "title": kind.title,
        "status": status,
        "detail": detail,
        "where": where,
        "expected": expected,
        **more,
    }


def of_refusal(refusal: Refusal) -> dict[str, Any]:
    """A refusal as a problem."""
    return problem(refusal.status, detail=refusal.what, where=refusal.where, expected=refusal.expected)


def of_reply(status: int, body: bytes) -> dict[str, Any]:
    """What the dispatcher (or the leader) answered to a call that was not done."""
    try:
        error = json.loads(body)["error"]
        return problem(status, detail=error["what"], where=error["where"], expected=error["expected"])
    except (ValueError, KeyError, TypeError):
        text = body[:200].decode("utf-8", "replace")
        return problem(status, detail=f"the leader answered {status}: {text}", where="leader", expected="an answer")
