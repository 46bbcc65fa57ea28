"""The scheduler's options: Luigi's `[scheduler]` names and defaults, and the few that are ours.

Every relation between them is checked when the object is made, so an engine never runs on an
incoherent set. Durations are seconds; those that luigi takes may be infinite, or negative: over at once.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from luigi_ha.appliance.engine.errors import BadArgument

DEFAULT_RETRY_DELAY = 60.0
DEFAULT_RETRY_BACKOFF = 2.0
DEFAULT_RETRY_DELAY_MAX = 900.0
LATEST = 253_402_300_799.0  # s: the end of the year 9999, the last that dates and databases know


def after(now: float, delay: float) -> float:
    """Return the time so much later that can be kept: an infinite delay ends with LATEST, which never comes."""
    return max(0.0, min(now + delay, LATEST))


@dataclass(frozen=True, slots=True)
class Settings:
    """Options of one scheduler. Unset (None) values are resolved as their comment says."""

    # How long a FAILED task waits. Set: fixed, as in Luigi. None: 60 s, doubling, at most 900 s.
    # Negative: never retried.
    retry_delay: float | None = None
    # Factor between two waits. None: 2 when retry_delay is unset, 1 when it is set.
    retry_backoff: float | None = None
    # No wait is longer. None: 900 s when retry_delay is unset, no bound when it is set without retry_backoff.
    retry_delay_max: float | None = None
    # Part of each backed-off wait that is random, so that tasks that failed together do not return together.
    retry_jitter: float = 0.1
    remove_delay: float = 600.0  # a task nobody wants any more stays this long
    worker_disconnect_delay: float = 60.0  # a worker silent for longer is forgotten
    worker_grace: float = 90.0  # a worker known from the database is not forgotten sooner after a start
    batch_emails: bool = False
    disable_window: int = 3600
    retry_count: int = 999999999
    disable_hard_timeout: int = 999999999
    disable_persist: int = 86400
    max_shown_tasks: int = 100000
    max_graph_nodes: int = 100000
    record_task_history: bool = False
    prune_on_get_work: bool = False
    pause_enabled: bool = True
    send_messages: bool = True
    stable_done_cooldown_secs: int = 10
    # At most so many tasks run at once in a namespace; a namespace not named is not limited.
    namespace_limits: Mapping[str, int] = field(default_factory=dict)
    # A prune handles at most so many tasks and leaves the rest to the next one. None: all, as Luigi.
    prune_limit: int | None = None
    # First answers to calls with a key of their own are kept for so long (s), at most so many, and so many bytes.
    answers_kept: float = 3600.0
    answers_most: int = 100_000
    answers_bytes: int = 64 << 20
    # Luigi's section batch-notifier:
    email_interval_minutes: float = 60.0
    email_batch_mode: str = "unbatched_params"  # or "family", "all"
    email_error_lines: int = 20
    email_error_messages: int = 1
    email_group_by_error_messages: bool = True
    email_format: str = "plain"  # or "html", or "none": no e-mail is sent
    email_receivers: tuple[str, ...] = ()  # who gets every batch e-mail

    def __post_init__(self) -> None:
        _require("worker_grace", self.worker_grace, 0)
        _require("answers_kept", self.answers_kept, 0)
        _require("answers_most", self.answers_most, 0)
        _require("answers_bytes", self.answers_bytes, 0)
        _require("retry_jitter", self.retry_jitter, 0, 1)
        if self.retry_backoff is not None:
            _require("retry_backoff", self.retry_backoff, 1)
        if self.retry_delay_max is not None:
            _require("retry_delay_max", self.retry_delay_max, 0)
        if self.email_batch_mode not in ("unbatched_params", "family", "all"):
            raise BadArgument("email_batch_mode", repr(self.email_batch_mode), "unbatched_params, family or all")
        if self.email_format not in ("plain", "html", "none"):
            raise BadArgument("email_format", repr(self.email_format), "plain, html or none")
        limits: Mapping[str, Any] = self.namespace_limits
        for namespace, limit in limits.items():
            if isinstance(limit, bool) or not isinstance(limit, int) or limit < 0:
                raise BadArgument(f"namespace_limits.{namespace}", repr(limit), "a whole number, 0 or more")

    @property
    def retries(self) -> bool:
        """Whether failed tasks are retried at all."""
        return self.retry_delay is None or self.retry_delay >= 0

    def retry_wait(self, failures_in_row: int, chance: float) -> float:
        """Seconds to wait after the nth failure in a row (n from 1); `chance` in [0, 1) is the jitter's source."""
        if self.retry_delay is None:
            first, factor, longest = DEFAULT_RETRY_DELAY, DEFAULT_RETRY_BACKOFF, DEFAULT_RETRY_DELAY_MAX
        else:
            first, factor, longest = self.retry_delay, 1.0, math.inf
        if self.retry_backoff is not None:
            factor = self.retry_backoff
            longest = max(DEFAULT_RETRY_DELAY_MAX, first)
        if self.retry_delay_max is not None:
            longest = self.retry_delay_max
        if factor == 1.0:
            return min(first, longest)
        exponent = min(max(failures_in_row - 1, 0), 64)
        wait: float = min(first * factor**exponent, longest)
        # Jitter only shortens: the bound stays a bound, and never later than Luigi's fixed wait.
        return wait * (1.0 - self.retry_jitter * chance)

    @classmethod
    def names(cls) -> frozenset[str]:
        """The options' names."""
        return frozenset(f.name for f in fields(cls))

    @classmethod
    def of(cls, **options: Any) -> Self:
        """Build from loosely sourced options; an unknown name is an error that says which names there are."""
        unknown = sorted(set(options) - cls.names())
        if unknown:
            raise BadArgument(", ".join(unknown), "no such option", "one of " + ", ".join(sorted(cls.names())))
        return cls(**options)


def _require(name: str, value: Any, least: float, most: float = math.inf) -> None:
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or math.isnan(value)
        or not least <= value <= most
    ):
        bound = f"a number from {least} to {most}" if most < math.inf else f"a number, {least} or more"
        raise BadArgument(name, repr(value), bound)
