"""Whether commits are on a second machine, and what `durability` makes of it. PostgreSQL only.

*available*: a commit is acknowledged when the server says so. Where it waits for a synchronous standby, it has been
flushed there; where an operator (or Patroni, degrading) has emptied `synchronous_standby_names`, it has not.

*strict*: nothing is acknowledged unless a synchronous standby has flushed it. The server's word is not enough: when
`synchronous_standby_names` is emptied, commits that wait are released as if they had been replicated, without a
warning, and our session learns of the new setting only with its next message. So each transaction is framed, in one
message:

    BEGIN; luigi_require_standby(); fence; rows; COMMIT; EVIDENCE

`luigi_require_standby` raises before anything is written if no synchronous standby is attached: an error at once, with
its reason, instead of a commit that hangs. EVIDENCE, after the commit, asks the walsenders' shared memory whether a
standby that counts as synchronous has flushed our log as far as it goes now, which is past our commit. It does not
depend on what any setting says by now, so there is no window in which an unreplicated commit is acknowledged. Without
evidence the outcome is unknown: the journal waits and asks again, and what it wrote is not acknowledged before a later
commit has evidence of its own.

Not promised: that the standby which has it is the one that is promoted. That is for who promotes (Patroni: the `sync`
key; a standby that is named there or was asked for is the only candidate).
"""

import enum
import time
from dataclasses import dataclass
from typing import Any

from luigi_ha.appliance import clock
from luigi_ha.appliance.store.errors import DatabaseAway
from luigi_ha.appliance.store.postgres_connection import Connection, shown

REQUIRE = "SELECT luigi_require_standby()"
EVIDENCE = """
SELECT now.lsn::text, count(w.pid), coalesce(bool_or(w.flush_lsn >= now.lsn), false)
FROM (SELECT pg_current_wal_flush_lsn() AS lsn OFFSET 0) AS now
LEFT JOIN pg_stat_get_wal_senders() AS w ON w.sync_state IN ('sync', 'quorum')
GROUP BY now.lsn"""
_AGAIN = """
SELECT count(*), coalesce(bool_or(flush_lsn >= %s::pg_lsn), false)
FROM pg_stat_get_wal_senders() WHERE sync_state IN ('sync', 'quorum')"""
_PAUSE, _LONGEST_PAUSE = 0.001, 0.02  # s between two questions; doubles
_SETTINGS = """
SELECT current_setting('synchronous_standby_names'), current_setting('synchronous_commit'),
       pg_has_role('pg_read_all_stats', 'USAGE')"""
_STANDBYS = """
SELECT coalesce(application_name, ''), coalesce(client_addr::text, ''), coalesce(state, ''), coalesce(sync_state, ''),
       pg_wal_lsn_diff(pg_current_wal_flush_lsn(), flush_lsn)::bigint, extract(epoch FROM flush_lag)::float8
FROM pg_stat_replication ORDER BY application_name, client_addr"""


class Durability(enum.Enum):
    """What an acknowledged change has survived."""

    STRICT = (
        "strict"  # the loss of the primary: it is flushed on a synchronous standby; without one nothing is accepted
    )
    AVAILABLE = "available"  # what the database asks of its commits; goes on without a standby


@dataclass(frozen=True, slots=True)
class Standby:
    """One standby, as the primary sees it."""

    name: str
    address: str  # "" for a socket of the same machine
    state: str  # "streaming", "catchup", "startup", "backup"
    sync_state: str  # "sync", "quorum", "potential", "async"
    lag_bytes: int | None  # what it has not flushed
    lag_seconds: float | None  # how long a flush takes to be confirmed; None: nothing recent to measure

    @property
    def synchronous(self) -> bool:
        """Whether commits wait for it."""
        return self.sync_state in ("sync", "quorum")


@dataclass(frozen=True, slots=True)
class Replication:
    """Where the data is."""

    durability: Durability
    synchronous: bool  # a commit now would be flushed on a second machine before it is acknowledged
    standbys: tuple[Standby, ...]
    primary: str | None  # "host:port"; None: not PostgreSQL
    timeline: int | None
    degraded: str | None  # why that is less than it should be, for people


def read(cursor: Any, durability: Durability, session: Connection) -> Replication:
    """Ask the primary. Raises the driver's errors."""
    cursor.execute(_SETTINGS)
    names, commit, permitted = cursor.fetchone()
    cursor.execute(_STANDBYS)
    standbys = tuple(Standby(*row) for row in cursor.fetchall())
    attached = any(standby.synchronous for standby in standbys)
    degraded = None
    if not permitted:
        degraded = "our role may not see the standbys: GRANT pg_read_all_stats to it"
    elif not names:
        degraded = "no commit waits for a standby: synchronous_standby_names is empty"
    elif not attached:
        degraded = f"no synchronous standby is attached (synchronous_standby_names = {names})"
    elif commit not in ("on", "remote_apply"):
        degraded = f"commits do not wait for the standby's disk: synchronous_commit = {commit}"
    synchronous = degraded is None
    if durability is Durability.STRICT and degraded is not None:
        degraded = f"durability = strict, but {degraded}; nothing is acknowledged"
    timeline = session.lineage.timeline if session.lineage is not None else None
    return Replication(durability, synchronous, standbys, shown(session.place), timeline, degraded)


def judge(cursor: Any, budget: float) -> None:
    """Read the rows of EVIDENCE; return when a synchronous standby has flushed what it asked for.

    Raises DatabaseAway (outcome unknown) after `budget` seconds or without a standby, or the driver's errors.
    """
    lsn, standbys, flushed = cursor.fetchone()
    deadline = clock.monotonic() + budget
    pause = _PAUSE
    while not flushed:
        if not standbys:
            raise DatabaseAway("durability = strict, but no synchronous standby confirmed the commit: none is attached")
        if clock.monotonic() > deadline:
            raise DatabaseAway(f"durability = strict, but no synchronous standby confirmed {lsn} within {budget:g} s")
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)
        cursor.execute(_AGAIN, (lsn,))
        standbys, flushed = cursor.fetchone()


def confirm(cursor: Any, budget: float) -> None:
    """Return when everything committed so far is on a synchronous standby; raises as `judge` does."""
    cursor.execute(EVIDENCE)
    judge(cursor, budget)
