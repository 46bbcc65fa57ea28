"""Refusals: why a call was not done, as types that know their HTTP status.

To a stock luigi client every status but 200 is the same failure; the body is for the person who reads it:

    {"error": {"what": ..., "where": ..., "expected": ...}}
"""

import json
from typing import NamedTuple

CHALLENGE = 'Basic realm="luigi-ha", charset="UTF-8"'  # of a 401: a browser asks its user for a password


class Reply(NamedTuple):
    """What goes back: a status, a JSON body, and for 503 the seconds after which to ask again."""

    status: int
    body: bytes
    retry_after: int | None = None


class Refusal(Exception):  # noqa: N818 - a refusal is an answer, not a fault
    """Root: the call was refused. `what` went wrong, `where`, and what was `expected` instead."""

    status = 400

    def __init__(self, what: str, *, where: str, expected: str) -> None:
        super().__init__(f"{where}: {what}; expected {expected}")
        self.what = what
        self.where = where
        self.expected = expected

    @property
    def headers(self) -> dict[str, str]:
        """What the reply's head says besides."""
        return {}

    def reply(self) -> Reply:
        body = {"error": {"what": self.what, "where": self.where, "expected": self.expected}}
        return Reply(self.status, json.dumps(body).encode(), 1 if self.status == 503 else None)


class BadRequest(Refusal):
    """The caller can correct it."""


class Unauthorized(Refusal):
    """Nobody knows who asks. The reply says how to say so."""

    status = 401

    @property
    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": CHALLENGE}


class Forbidden(Refusal):
    """It is known who asks, and that they may not."""

    status = 403


class NotFound(Refusal):
    """No such method, path or task."""

    status = 404


class MethodNotAllowed(Refusal):
    """The path exists, not for this HTTP method. `expected` names those that are right."""

    status = 405

    @property
    def headers(self) -> dict[str, str]:
        return {"Allow": self.expected}


class Conflicting(Refusal):
    """What the caller believes is not so any more: somebody else has it, or it has ended."""

    status = 409


class TooLarge(Refusal):
    """The body is larger than this server takes."""

    status = 413


class Misdirected(Refusal):
    """Another node passed a call on to us, and we do not lead. It was not executed."""

    status = 421


class KeyReused(Refusal):
    """The Idempotency-Key belongs to another call."""

    status = 422


class Failed(Refusal):
    """The engine failed in the middle of the call; it is being reloaded from the database."""

    status = 500


class Unavailable(Refusal):
    """Not now: not leading, database away, or too much is waiting. Ask again."""

    status = 503


class NotReady(Unavailable):
    """Too early to say whether this may be done. Who can wait a little asks again by itself."""
