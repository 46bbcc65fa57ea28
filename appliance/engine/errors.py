"""What the engine refuses, as types. The message says what, where, and what would be right."""


class EngineError(Exception):
    """Root of the engine's errors."""


class Refused(EngineError):  # noqa: N818 - as those below
    """A call that cannot be done as it was asked. Raised before anything has changed."""

    def __init__(self, argument: str, problem: str, expected: str) -> None:
        super().__init__(f"{argument}: {problem}; expected {expected}")
        self.argument = argument
        self.problem = problem
        self.expected = expected


class BadArgument(Refused, ValueError):  # noqa: N818 - it names what is bad, at every call site
    """An argument the caller can correct."""


class Conflict(Refused):
    """The call is well formed, but the state is another one than the caller thinks."""


class NoSuch(Refused, LookupError):  # noqa: N818 - as BadArgument
    """The scheduler does not know the task or worker that the call names."""
