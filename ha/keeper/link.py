"""The scheduler's side: may I act, what am I told, and how am I.

Under a keeper, `LUIGI_HA_KEEPER="<socket>,<memory>"` names two inherited descriptors. `valid(epoch)` is the check at
the point of effect: it reads shared memory and the clock, nothing else, and is false by itself once the keeper stops
renewing, whatever happened to it.

Not promised: that nothing pauses this process between the check and the effect. The fence in the database is for that.
"""

import asyncio
import os
import socket
from collections.abc import Mapping, MutableMapping
from typing import Protocol

from luigi_ha.ha.clock import Clock, monotonic
from luigi_ha.ha.errors import Unusable
from luigi_ha.ha.keeper.cells import Cells
from luigi_ha.ha.keeper.channel import Channel
from luigi_ha.ha.keeper.messages import (
    Able,
    Follow,
    GiveUp,
    Handed,
    HandOver,
    Kept,
    Lead,
    Leading,
    Members,
    Message,
    Over,
    Quiet,
    Stop,
    Unable,
)

VARIABLE = "LUIGI_HA_KEEPER"
BEAT = 0.1  # s between two signs of life of the event loop
ABLE_EVERY = 0.5  # s between two Able messages


class Orders(Protocol):
    """What the keeper tells. Called on the loop; must not block, and must not raise."""

    def lead(self, order: Lead) -> None: ...
    def follow(self, order: Follow) -> None: ...
    def hand_over(self, successor: str) -> None: ...
    def kept(self, reason: str) -> None: ...
    def over(self, reason: str) -> None: ...
    def members(self, members: Mapping[str, Mapping[str, str]]) -> None: ...
    def stop(self) -> None: ...

    def lost(self) -> None:
        """The keeper has died: nobody renews the lease, and nobody watches this process."""


class Link:
    """The connection to the keeper. All methods belong to the event loop, except `valid`, `remaining`, `leads` and
    `journal_beat`, which any thread may call."""

    def __init__(self, channel: Channel, cells: Cells, clock: Clock = monotonic) -> None:
        self._channel = channel
        self._cells = cells
        self._clock = clock
        self._orders: Orders | None = None
        self._beating: asyncio.TimerHandle | None = None
        self._fit: Able | Unable | None = None  # what the keeper was told last, or will be when `_telling` fires
        self._told_at = float("-inf")
        self._telling: asyncio.TimerHandle | None = None
        self.keeps: str | None = None
        """Whom a pause keeps; None: there is no pause."""

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str]) -> "Link | None":
        """None without a keeper. Removes the variable, so that no child of ours takes it for its own; Unusable if the
        descriptors are not what they should be."""
        value = environ.pop(VARIABLE, "")
        if not value:
            return None
        try:
            sock, memory = (int(part) for part in value.split(","))
            for fd in (sock, memory):
                os.set_inheritable(fd, False)
            cells = Cells(memory)
            return cls(Channel(socket.socket(fileno=sock)), cells)
        except (ValueError, OSError) as error:
            raise Unusable(
                f"{VARIABLE}={value!r}: {error}; expected two descriptors that a keeper passed on"
            ) from error

    # ------------------------------------------------------------------------------------------------- may I act?

    def valid(self, epoch: int) -> bool:
        """Whether we lead under `epoch` at this moment. Ask at the point of effect, after the last await."""
        deadline, ours = self._cells.read()
        return ours == epoch and self._clock() < deadline

    def remaining(self) -> float:
        """Seconds for which the lease is still ours; 0 if it is not."""
        return max(0.0, self._cells.read()[0] - self._clock())

    @property
    def leads(self) -> int | None:
        """The epoch under which we lead at this moment."""
        deadline, epoch = self._cells.read()
        return epoch if self._clock() < deadline else None

    # ------------------------------------------------------------------------------------------------- how am I?

    def start(self, orders: Orders) -> None:
        """Take orders, on the running loop, and give signs of life from now on."""
        self._orders = orders
        self._channel.start(self._take, orders.lost)
        self.journal_beat()
        self._keep_beating()

    def close(self) -> None:
        """Say nothing more. The keeper takes the end of this process for its death all the same."""
        for timer in (self._beating, self._telling):
            if timer is not None:
                timer.cancel()
        self._channel.close()

    def beat(self) -> None:
        """The event loop turns. `start` calls this ten times a second."""
        self._cells.beat(self._clock())

    def journal_beat(self, when: float | None = None) -> None:
        """The journal makes progress, has nothing to do, or waits for its database: now, or at `when`, by our clock."""
        self._cells.journal_beats(self._clock() if when is None else when)

    def able(self, above: int, preferred: bool = False, well: bool = True) -> None:
        """May be promoted. Call it whenever; the keeper is told of changes, at most twice a second. When a leadership
        has ended (Over, handed, give_up) it has forgotten, and has to be told again."""
        self._tell(Able(above, preferred, well))

    def unable(self, reason: str) -> None:
        """May not be promoted. Told at once."""
        self._tell(Unable(reason))

    def leading(self, epoch: int) -> None:
        self._channel.send(Leading(epoch))

    def handed(self) -> None:
        self._forget_fitness()
        self._channel.send(Handed())

    def quiet(self) -> None:
        self._channel.send(Quiet())

    def give_up(self, reason: str) -> None:
        self._forget_fitness()
        self._channel.send(GiveUp(reason))

    def _keep_beating(self) -> None:
        self.beat()
        self._beating = asyncio.get_running_loop().call_later(BEAT, self._keep_beating)

    def _tell(self, fit: Able | Unable) -> None:
        if fit == self._fit:
            return
        soon = isinstance(fit, Unable) or not isinstance(self._fit, Able)  # a change of kind is never late
        self._fit = fit
        wait = 0.0 if soon else self._told_at + ABLE_EVERY - self._clock()
        if wait <= 0:
            self._tell_now()
        elif self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(wait, self._tell_now)

    def _tell_now(self) -> None:
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        self._told_at = self._clock()
        if self._fit is not None:
            self._channel.send(self._fit)

    def _forget_fitness(self) -> None:
        self._fit = None
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None

    def _take(self, message: Message) -> None:
        if self._orders is None:
            return
        match message:
            case Lead():
                self._orders.lead(message)
            case Follow():
                self._orders.follow(message)
            case HandOver(successor):
                self._orders.hand_over(successor)
            case Kept(reason):
                self._orders.kept(reason)
            case Over(reason):
                self._forget_fitness()
                self._orders.over(reason)
            case Members(members, keeps):
                self.keeps = keeps
                self._orders.members(members)
            case Stop():
                self._orders.stop()
            case _:
                pass  # what schedulers say to keepers
