"""What a journal is doing, and its totals."""

import enum
from dataclasses import dataclass


class JournalState(enum.Enum):
    """What the journal is doing."""

    WRITING = "writing"
    WAITING = "waiting for the database"
    FENCED = "fenced: another leader wrote, or the log is not ours"
    POISONED = "poisoned: a record the database will never take"
    CLOSED = "closed"


ENDED = (JournalState.FENCED, JournalState.POISONED, JournalState.CLOSED)


@dataclass(slots=True)
class JournalStats:
    """Running totals since the start."""

    batches: int = 0
    records: int = 0
    commit_seconds: float = 0.0  # time spent in transactions that committed
    last_batch_records: int = 0
    last_commit_seconds: float = 0.0
    retries: int = 0  # times the database was found away
    rewritten: int = 0  # batches written again because the database had lost them
