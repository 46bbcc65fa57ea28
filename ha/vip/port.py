"""What the keeper asks of the address by which clients find the leader, and the one that has none.

The address lives as long as the lease, decided by the same deadline: `hold` names it, and from then on it ends by
itself, whatever happens to the process. All times are moments of `luigi_ha.ha.clock.monotonic`, in seconds.
"""

from typing import Protocol


class Address(Protocol):
    """The addresses that move with the leadership.

    No call blocks the event loop, and each returns within about a second, also if the network does not do what it was
    asked: that is reported as an event and tried again for as long as the address is to be held.
    """

    async def start(self) -> None:
        """Remove what an earlier life of this node left behind; begin to watch.

        Unusable if this host can never hold the address: no such interface, no permission, an address that belongs to
        the host itself.
        """

    async def hold(self, until: float) -> None:
        """Hold all addresses until this moment, and not longer, whatever happens to this process.

        To be called again with each renewal of the lease. What was not there is added and announced. A moment that has
        passed, at the start of the call or at its end, removes them.
        """

    async def leaving(self) -> None:
        """They will be dropped soon, because another host takes them: who calls meanwhile, and is not answered here,
        should not have to call again."""

    async def drop(self) -> None:
        """Remove them now. Harmless if there is nothing to remove."""

    async def close(self) -> None:
        """Drop, and stop watching."""

    @property
    def held(self) -> tuple[str, ...]:
        """The addresses that the kernel shows on this host now, without prefix length, in the order given."""

    async def answering(self) -> str | None:
        """The MAC of another host that answers for one of the addresses now; None if nobody does (about 0.1 s)."""


class NoAddress:
    """Nothing moves: clients use a port that all nodes share, or a load balancer that asks `/leader`."""

    async def start(self) -> None:
        pass

    async def hold(self, until: float) -> None:
        pass

    async def leaving(self) -> None:
        pass

    async def drop(self) -> None:
        pass

    async def close(self) -> None:
        pass

    @property
    def held(self) -> tuple[str, ...]:
        return ()

    async def answering(self) -> str | None:
        return None
