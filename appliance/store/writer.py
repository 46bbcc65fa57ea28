"""A journal's database session: what all three databases have in common.

A session writes one batch per transaction, or nothing. It never decides what a failure means for the leader; it says
which kind it was: FenceRefused (the compare-and-set found another position), Poisoned (the data can never be written)
or another StoreError (unknown outcome).
"""

from typing import Protocol

from luigi_ha.appliance.store.batch import Batch
from luigi_ha.appliance.store.position import Position


class Writer(Protocol):
    """One open session, used by one thread."""

    def position(self) -> Position:
        """Where the database stands."""
        ...

    def write(self, batch: Batch) -> None:
        """Commit the batch, if the database stands at `batch.previous`."""
        ...

    def confirm(self, position: Position, time: float) -> None:
        """Commit a transaction that changes nothing, if the database stands at `position`.

        When it returns, everything before it is as durable as a commit makes it (replicated, where that is asked for).
        """
        ...

    def close(self) -> None:
        """Give the session up, at once, whatever state it is in."""
        ...
