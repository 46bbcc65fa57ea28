"""What the keeper knows now, in one place. Whoever learns something writes it here and tells; whoever waits looks
again. Everything is decided from what is true, not from which event came last, so a missed event costs nothing."""

import asyncio
import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from luigi_ha.ha.clock import Clock
from luigi_ha.ha.elector import Leader, View
from luigi_ha.ha.keeper.messages import Able, ToScheduler, Unable
from luigi_ha.ha.keeper.options import KeeperOptions


class State(enum.StrEnum):
    """What this node is to the others."""

    FOLLOWING = "following"
    CAMPAIGNING = "campaigning"
    LEADING = "leading"
    HANDING_OVER = "handing_over"
    STOPPED = "stopped"


@dataclass(slots=True)
class Said:
    """What the scheduler has said and what still counts of it."""

    fit: Able | Unable | None = None
    """Whether it may be promoted. Forgotten when a leadership ends: it has to say so again."""
    open_epoch: int | None = None
    """The epoch under which its gate is open."""
    opened_at: float = 0.0
    handed: bool = False
    quiet: bool = False
    gave_up: str | None = None


class Scheduler(Protocol):
    """The scheduler process, as far as leadership needs it."""

    @property
    def said(self) -> Said: ...

    @property
    def alive(self) -> bool: ...

    @property
    def stalled(self) -> bool:
        """It makes no progress."""

    @property
    def end(self) -> str:
        """How it ended, for people: "signal 9", "code 1"."""

    def send(self, message: ToScheduler) -> None: ...

    def lead(self, epoch: int, deadline: float) -> None:
        """Publish: the lease is ours under `epoch` until `deadline`."""

    def not_ours(self) -> None:
        """Publish: it is not. Takes effect before this returns."""


class Process(Scheduler, Protocol):
    """The same, as far as starting and ending it is concerned."""

    @property
    def pid(self) -> int: ...

    @property
    def code(self) -> int | None:
        """The exit code; -n: killed by signal n. None while it lives."""

    @property
    def started(self) -> float: ...

    @property
    def was_able(self) -> bool:
        """It has said Able at least once."""

    def kill(self) -> None:
        """SIGKILL. Harmless if it has ended."""


Start = Callable[[KeeperOptions, Callable[[], None], Clock], Process]
"""Starts a process; the second argument is to be called after each change of it. OSError if it cannot be started."""


class Board:
    """What is known. Belongs to one event loop."""

    def __init__(self) -> None:
        self.state = State.FOLLOWING
        self.view: View | None = None
        self.last: Leader | None = None
        """Who was last seen to lead."""
        self.served: Leader | None = None
        """Who was last known to serve."""
        self._seated = False
        self.scheduler: Scheduler | None = None
        self.stops = 0
        """How many signals have asked to stop."""
        self.exit_code: int | None = None
        """With which code to exit; None: go on."""
        self._news = asyncio.Event()

    @property
    def seated(self) -> bool:
        """We lead, or the scheduler may still believe so: it is not told whom to follow."""
        return self._seated

    @seated.setter
    def seated(self, seated: bool) -> None:
        self._seated = seated
        self.tell()

    def enter(self, state: State) -> None:
        self.state = state
        self.tell()

    def tell(self) -> None:
        """Something has changed: everybody who waits looks again."""
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def until(self, true: Callable[[], object], seconds: float | None = None) -> bool:
        """Wait until `true()` is, or for `seconds`. Whether it is."""
        try:
            async with asyncio.timeout(seconds):
                while not true():
                    await self._news.wait()
        except TimeoutError:
            return bool(true())
        return True
