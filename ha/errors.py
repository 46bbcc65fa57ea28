"""What leadership refuses or cannot know, as types. Each is one of three kinds, and the kind says what to do.

*Definitive*: the answer is no; stop acting now. *Unknown*: it may or may not have happened; ask again, and lead on
until the deadline, never longer. *Fatal*: a person has to change something; waiting does not help.
No kind ever means "go on without the lease".
"""
# ruff: noqa: N818 - each name says what happened, at every call site


class HaError(Exception):
    """Root of this package's errors. Messages never contain a password or a token."""


class Definitive(HaError):
    """The store has answered no: who led must stop acting at once; who campaigns waits for a change."""


class Unknown(HaError):
    """No answer, or none that counts: it may have happened. Ask again; a leader leads on until its deadline."""


class Fatal(HaError):
    """Wrong configuration, missing permission, failed TLS: tell a person. A leader still stops at its deadline."""


class LeaseLost(Definitive):
    """The lease or its key is gone, or its time has passed here: this leadership is over and does not come back."""


class Refused(Definitive):
    """The campaign cannot win now. `reason` says why; the message says who stands in the way."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Incoherent(Fatal):
    """Timeouts that contradict each other. The message has the relation that fails, and its numbers."""


class Unusable(Fatal):
    """The place where leadership is kept cannot do what it must: unwritable directory, locks that do not work."""
