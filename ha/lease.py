"""The rule of time: until when a lease is ours. Pure: every moment comes in as an argument.

A lease granted for `ttl` seconds on a request *sent* at `t0` is ours until `t0 + ttl - margin`. The store started its
count when the request arrived, which is not before it was sent, so its count ends later than ours. The moment of the
reply plays no part: a late reply that counted would make two leaders.

Invariants
    * Not ours is the default: before a grant, after `end()`, and from the deadline on, `valid` is False.
    * One grant is valid for one unbroken interval. From the deadline on nothing brings it back, not even a renewal
      that the store did execute: whoever acts under the lease has already stopped.
    * Replies may arrive late, twice and in any order; the deadline never exceeds what the send time of a request that
      was answered allows, counted with the shortest ttl the store ever told for this lease.

All times are seconds of one monotonic clock. `margin` pays for what this rule cannot see: clocks that run at different
rates, and the time between asking `valid` and acting. Not promised: that an action begun under a valid lease ends under
it. Whatever must not happen twice is fenced where it happens, with the epoch.
"""

import math
from dataclasses import dataclass, fields

from luigi_ha.ha.errors import Incoherent

NEVER = -math.inf


@dataclass(frozen=True, slots=True)
class Timing:
    """The times of one lease, in seconds, refused if they contradict each other."""

    ttl: float = 3.0
    """How long the store keeps the lease without renewal. The store may grant another time: `granted` checks that."""

    renew_every: float = 0.75
    """From the start of one renewal to the start of the next. A quarter of ttl survives two that fail."""

    request_timeout: float = 1.5
    """The budget of one renewal: all its requests, to all endpoints it tries."""

    margin: float = 0.5
    """How much before the store's count ends we stop: pays for clock rates and scheduling."""

    clock_rate_error: float = 0.001
    """How much two clocks may differ per second. Quartz: 0.0001; slewed by NTP: 0.0005."""

    scheduling_delay: float = 0.2
    """The longest a process that was told to stop may take until it has noticed, on a busy machine."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value > 0):
                raise Incoherent(f"{field.name} = {value} must be more than 0 and finite")
        if not self.renew_every + self.request_timeout < self.ttl - self.margin:
            raise Incoherent(
                "renew_every + request_timeout < ttl - margin does not hold: "
                f"{self.renew_every} + {self.request_timeout} = {self.renew_every + self.request_timeout:g}, "
                f"{self.ttl} - {self.margin} = {self.ttl - self.margin:g}; one late renewal would lose the lease"
            )
        if not self.margin > self.clock_rate_error * self.ttl + self.scheduling_delay:
            raise Incoherent(
                "margin > clock_rate_error * ttl + scheduling_delay does not hold: "
                f"{self.margin}, {self.clock_rate_error} * {self.ttl} + {self.scheduling_delay} = "
                f"{self.clock_rate_error * self.ttl + self.scheduling_delay:g}; two nodes could lead at once"
            )

    def granted(self, ttl: float) -> "Timing":
        """The same times with the ttl that the store really granted; Incoherent if they do not fit it."""
        return Timing(
            ttl, self.renew_every, self.request_timeout, self.margin, self.clock_rate_error, self.scheduling_delay
        )


class Lease:
    """Until when one grant is ours. `now` must be at or after every moment given before."""

    __slots__ = ("_ended", "_margin", "_sent", "_ttl")

    def __init__(self, margin: float) -> None:
        self._margin = margin
        self._sent = NEVER
        self._ttl = math.inf
        self._ended = False

    def granted(self, sent: float, ttl: float, now: float) -> bool:
        """A grant for `ttl` that was asked for at `sent` has been answered. False: it is already over, or ended."""
        if self._sent != NEVER:
            raise ValueError("granted twice: each grant has a Lease of its own")
        if self._ended or not (math.isfinite(ttl) and ttl > 0 and sent <= now):
            return False
        self._sent, self._ttl = sent, ttl
        return self.valid(now)

    def renewed(self, sent: float, ttl: float, now: float) -> bool:
        """A renewal that was asked for at `sent` has been answered. False: too late, the lease is over here."""
        if not self.valid(now):
            self._ended = True
            return False
        if not (math.isfinite(ttl) and ttl > 0 and sent <= now):
            return False
        # Two answers with different ttls may have been executed in either order: only the shorter one is certain.
        self._ttl = min(self._ttl, ttl)
        self._sent = max(self._sent, sent)
        return self.valid(now)

    def end(self) -> None:
        """Not ours any more, from now on, whatever arrives later."""
        self._ended = True

    @property
    def deadline(self) -> float:
        """The moment from which it is not ours; minus infinity if it never was or has been ended."""
        if self._ended or self._sent == NEVER:
            return NEVER
        return self._sent + self._ttl - self._margin

    def valid(self, now: float) -> bool:
        """Whether it is ours at `now`. Ask at the point of effect, after the last await."""
        return now < self.deadline

    def remaining(self, now: float) -> float:
        """Seconds for which it is still ours; 0 if it is not."""
        return self.deadline - now if self.valid(now) else 0.0
