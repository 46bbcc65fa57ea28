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
