"""How long, how often and how soon a call is repeated.

Waiting grows exponentially with full jitter: a fleet that lost its scheduler at one moment does not come back at one
moment. The first repetition is quick, because most failovers are. Times are seconds, counted on the monotonic clock.
"""

from dataclasses import dataclass

from tenacity import RetryCallState, wait_random_exponential

from luigi_ha.worker.client.errors import NoAnswer


@dataclass(frozen=True, slots=True)
class Patience:
    """The times of one client."""

    first: float = 0.1  # the longest wait before the second round
    most: float = 15.0  # the longest wait before any round
    connect: float = 3.0  # an address that takes no connection for so long is left for the next one
    attempt: float = 12.0  # one attempt, all in all. A node parks calls for up to 9 s: longer than that
    give_up_after: float | None = None  # None: never
    denied_for: float | None = 30.0  # how long 401 and 403 are asked again; None: for ever

    def __post_init__(self) -> None:
        if not 0 < self.first <= self.most:
            raise ValueError(f"first ({self.first} s) must be more than 0 and not exceed most ({self.most} s)")
        if not 0 < self.connect <= self.attempt:
            raise ValueError(f"connect ({self.connect} s) must be more than 0, at most attempt ({self.attempt} s)")

    def wait(self, state: RetryCallState) -> float:
        """Seconds until the next round: at least what the scheduler asked for, within reason."""
        asked = 0.0
        error = state.outcome.exception() if state.outcome is not None else None
        if isinstance(error, NoAnswer):
            asked = min(error.retry_after, self.most)
        return max(asked, wait_random_exponential(multiplier=self.first, max=self.most)(state))
