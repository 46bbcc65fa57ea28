"""What the engine refuses, as types. The message says what, where, and what would be right."""


class EngineError(Exception):
    """Root of the engine's errors."""


class BadArgument(EngineError, ValueError):  # noqa: N818 - it names what is bad, at every call site
    """An argument the caller can correct. Raised before anything has changed."""

    def __init__(self, argument: str, problem: str, expected: str) -> None:
        super().__init__(f"{argument}: {problem}; expected {expected}")
        self.argument = argument
        self.problem = problem
        self.expected = expected


class Conflict(BadArgument):
    """What the caller believes is not so any more, such as whose run it is. Nothing has changed."""


class NoSuch(BadArgument):
    """A task or a worker that the scheduler does not know. Nothing has changed."""
