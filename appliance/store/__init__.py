"""The durable state: a log and its snapshot in one SQL database, and the journal that writes them.

    store = open_store("postgresql://luigi@db/luigi")
    store.upgrade()
    position = store.take_leadership("node 1")      # fences every earlier leader
    snapshot = store.load()                         # then feed snapshot.records to the engine
    journal = Journal(store, snapshot.position)
    journal.start()
    seq = journal.append(changes.records, at=now, method="add_task", actor=worker_id)
    await journal.wait(seq, timeout=9.0)            # now, and not before, the reply may leave

Guaranteed: a committed change survives kill -9 of either process; a leader that was fenced commits nothing more; a
batch of unknown outcome is applied exactly once. With `durability="strict"` it also survives the loss of the database's
machine: see `replication`. A standby's mirror follows the log by `store.tail_reader()`.
"""

from luigi_ha.appliance.store.errors import (
    BadUrl,
    Corrupt,
    DatabaseAway,
    FencedError,
    JournalClosed,
    NameTaken,
    NotAPrefix,
    OlderDatabase,
    Poisoned,
    SchemaMissing,
    SchemaTooNew,
    StoreError,
    Unusable,
)
from luigi_ha.appliance.store.failovers import Failover
from luigi_ha.appliance.store.history import HistoryEntry
from luigi_ha.appliance.store.journal import Journal, JournalState, JournalStats
from luigi_ha.appliance.store.loading import LogEntry, Snapshot
from luigi_ha.appliance.store.past import accept, behind
from luigi_ha.appliance.store.position import Position
from luigi_ha.appliance.store.replication import Durability, Replication, Standby
from luigi_ha.appliance.store.schema import SchemaState, SchemaStatus
from luigi_ha.appliance.store.store import Store, open_store
from luigi_ha.appliance.store.tailing import Tail, TailReader
from luigi_ha.appliance.store.tokens import TokenRecord

__all__ = [
    "BadUrl",
    "Corrupt",
    "DatabaseAway",
    "Durability",
    "Failover",
    "FencedError",
    "HistoryEntry",
    "Journal",
    "JournalClosed",
    "JournalState",
    "JournalStats",
    "LogEntry",
    "NameTaken",
    "NotAPrefix",
    "OlderDatabase",
    "Poisoned",
    "Position",
    "Replication",
    "SchemaMissing",
    "SchemaState",
    "SchemaStatus",
    "SchemaTooNew",
    "Snapshot",
    "Standby",
    "Store",
    "StoreError",
    "Tail",
    "TailReader",
    "TokenRecord",
    "Unusable",
    "accept",
    "behind",
    "open_store",
]
