"""How a call ends badly. All of them are luigi's RPCError, for code that handles that.

NoAnswer  *unknown*: this attempt brought no answer; whether it was executed is not known if it was `sent`. Asked again.
Refused   *definitive*: the scheduler will not do it, now or later; nothing changed.
Stale     Refused, because the report is of an attempt that is no longer the worker's (409).
GaveUp    nobody answered for as long as the caller was willing to wait.

No message holds a password or a token.
"""

from luigi.rpc import RPCError


class CallError(RPCError):
    """Root: a call to the scheduler that did not succeed."""

    def __init__(self, message: str) -> None:
        super().__init__(message)


class NoAnswer(CallError):  # noqa: N818 - these say what happened
    """One attempt brought no answer."""

    def __init__(self, reason: str, *, sent: bool, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.sent = sent  # some of it may have reached the scheduler
        self.retry_after = retry_after  # s, as the scheduler asked; 0: it did not


class Denied(NoAnswer):
    """401 or 403. A token may be replaced while we wait, so this is asked again for a while."""


class GaveUp(CallError):  # noqa: N818
    """Nobody answered in the time the caller allows."""

    def __init__(self, message: str, *, doubtful: bool) -> None:
        super().__init__(message)
        self.doubtful = doubtful  # it may have been executed


class Refused(CallError):  # noqa: N818
    """The scheduler will not do this."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status}: {reason}")
        self.status = status
        self.reason = reason


class Stale(Refused):
    """The attempt that was reported on is no longer this worker's."""
