"""The port: what would become of the database if its primary's host were lost now, and the way to bring that about.

Guaranteed by every implementation
    * Nobody is made the primary who lacks anything that was acknowledged: only a synchronous standby is.
    * `move` changes nothing unless all is still as the outlook says, at the moment of the change.
    * A move that is tried twice, or by two nodes at once, has the effect of one.

Not guaranteed: that a move is right. A primary that was alive loses a moment of service by it, and no data; whoever
calls `move` knows why (`luigi_ha.appliance.node.primary_watch`: its host is dead, by all the evidence there is).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from luigi_ha.ha.errors import Definitive


class NotMoved(Definitive):
    """The primary was not moved, and nothing was changed; the message says why not."""


@dataclass(frozen=True, slots=True)
class Server:
    """One PostgreSQL server, in the words of what manages it."""

    name: str
    host: str
    port: int
    api: str = ""
    """The URL of its manager; empty: it has none."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """Who is the primary, and who would be promoted in its place."""

    primary: Server | None = None
    standbys: tuple[Server, ...] = ()
    """The synchronous standbys, each of which has everything; `move` promotes the first that is ready."""
    why_not: str | None = None
    """Why `move` would not; None: it would."""
    managed: bool = True
    """Whether this database has a manager that this implementation knows."""

    @property
    def standby(self) -> Server | None:
        """Who would be promoted first."""
        return self.standbys[0] if self.standbys else None


class PrimaryMover(Protocol):
    """Access to a database's manager. All methods belong to one event loop and may be cancelled."""

    async def look(self) -> Outlook:
        """How it is now. Unknown if the manager's store does not answer; Fatal if it never will."""

    async def move(self, outlook: Outlook, still: Callable[[], bool], to: Server | None = None) -> Server:
        """Make a standby of `outlook` the primary (`to`: that one), and return which. `still` is asked immediately
        before. NotMoved if it says no, if something has changed since, or speaks against it. Unknown: it may have been
        moved; look again."""

    async def promoted(self, server: Server, seconds: float) -> bool:
        """Wait until this server is the primary, for so many seconds at most. Whether it is."""

    async def close(self) -> None:
        """Let go of what this holds."""


class LeftAlone:
    """The mover of a database that is not ours to move. `reason`: why."""

    def __init__(self, reason: str) -> None:
        self._outlook = Outlook(why_not=reason, managed=False)

    async def look(self) -> Outlook:
        return self._outlook

    async def move(self, outlook: Outlook, still: Callable[[], bool], to: Server | None = None) -> Server:  # noqa: ARG002
        raise NotMoved(self._outlook.why_not or "")

    async def promoted(self, server: Server, seconds: float) -> bool:  # noqa: ARG002 - the port's
        return False

    async def close(self) -> None:
        pass
