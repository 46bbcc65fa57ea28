"""What a node does every now and then, for as long as it runs."""

import asyncio
import functools
from typing import TYPE_CHECKING

from luigi_ha.appliance import log
from luigi_ha.appliance.clock import monotonic
from luigi_ha.appliance.node.access import read_tokens, renew_certificates
from luigi_ha.appliance.node.database import remember
from luigi_ha.appliance.node.drilled import look_for_drills
from luigi_ha.appliance.node.primary_watch import PrimaryWatch
from luigi_ha.appliance.node.promotion import TROUBLE_AFTER, better_placed
from luigi_ha.appliance.node.sameness import compare_options
from luigi_ha.appliance.node.states import State
from luigi_ha.appliance.store import Journal, JournalState, StoreError

if TYPE_CHECKING:
    from luigi_ha.appliance.node.node import Node

RETENTION_EVERY = 3600.0  # s
RETRY_EVERY = 0.1  # s
REMEMBER_EVERY = 0.5  # s
REPLICATION_EVERY = 5.0  # s
JOURNAL_EVERY = 0.1  # s
TROUBLE_EVERY = 0.25  # s between two looks at a journal that waits
MADE_WAY = 2.0  # s for the keeper to act on what it was told
LEASE_EVERY = 0.05  # s between two looks at how long the lease lasts
LAST_MOMENTS = 0.35  # s in which a call can end, its commit too; a renewal within 1.4 s never leaves so little
STUCK = 1.0  # s without progress that are nothing unusual: the journal sleeps between two attempts
_log = log.get("node")


async def prune(node: "Node") -> None:
    """Every prune_every seconds, in pieces, each journaled like a call."""
    while True:
        await asyncio.sleep(node.options.serve.prune_every)
        more = True
        while more and node.gate.is_open and node.journal is not None and not node.journal.full:
            done = node.dispatcher.executor.execute_now("prune")
            more = done and node.engine is not None and node.engine.prune_pending
            await asyncio.sleep(0)


async def retry(node: "Node") -> None:
    """When a failed task's time has come, not with the next prune; in pieces, as a prune."""
    while True:
        await asyncio.sleep(RETRY_EVERY)
        engine, journal = node.engine, node.journal
        while engine is node.engine and engine is not None and engine.retry_due:
            if journal is None or journal.full or not node.dispatcher.executor.execute_now("retry_failed"):
                break
            await asyncio.sleep(0)


async def watch(node: "Node") -> None:
    """An idle leader asks now and then whether it still leads; a busy one learns it from its own writes."""
    seen = -1
    while True:
        await asyncio.sleep(node.options.serve.position_check_every)
        journal, store = node.journal, node.store
        if journal is None or store is None or node.life.state is not State.LEADING:
            continue
        if journal.committed != seen:
            seen = journal.committed
            continue
        try:
            position = await asyncio.to_thread(store.position)
        except StoreError as error:
            _log.debug("position_unknown", error=str(error))
            journal.doubt()  # it looks itself, and waits if that is so
            continue
        if int(position.epoch) != node.epoch and journal is node.journal:
            node.leading.fenced(f"epoch {position.epoch} leads; ours was {node.epoch}")


async def remember_position(node: "Node") -> None:
    """The leader leaves a note of what it has committed, for whoever starts on this database next."""
    while True:
        await asyncio.sleep(REMEMBER_EVERY)
        if node.journal is not None and node.store is not None:
            await remember(node, node.journal.position)


async def retain(node: "Node") -> None:
    """The leader drops what the log no longer has to keep, once an hour."""
    days = node.options.serve.history_days
    while days > 0:
        await asyncio.sleep(RETENTION_EVERY)
        store = node.store
        if store is not None and node.life.state is State.LEADING:
            drop = functools.partial(store.prune_events, older_than=node.clock.last - days * 86400)
            try:
                first = await asyncio.to_thread(drop)
            except StoreError as error:
                _log.warning("retention_postponed", error=str(error))
            else:
                _log.info("retention", first_kept=first)


async def keep_alive(node: "Node") -> None:
    """Tell a watching supervisor that the event loop turns; with a keeper, that is the keeper's to tell."""
    every = node.supervisor.watchdog_every
    while every is not None and node.link is None:
        node.supervisor.alive()
        await asyncio.sleep(every)


async def beat(node: "Node") -> None:
    """Tell the keeper that the journal gets on, or has nothing to do, or waits for the database."""
    link = node.link
    while link is not None:
        if node.journal is None or node.journal.stuck_for() < STUCK:
            link.journal_beat()
        await asyncio.sleep(JOURNAL_EVERY)


async def take_leave(node: "Node") -> None:
    """A lease that no renewal prolongs ends, and the address with it: a caller whose reply is due then hangs. So in its
    last moments nobody new is let in, and the calls there are can end."""
    link, held_back = node.link, False
    while link is not None and node.options.serve.vip:
        left = link.remaining()
        ending = node.life.state is State.LEADING and left < LAST_MOMENTS
        if ending and not held_back:
            _log.warning("lease_ending", left=left)
            node.api.hold_back()
            node.dispatcher.refuse_parked(node.dispatcher.unavailable().reply())  # while they still hear it
        elif held_back and not ending:
            node.api.resume()
        held_back = ending
        await asyncio.sleep(LEASE_EVERY)


async def notice_trouble(node: "Node") -> None:
    """A leader that cannot reach the database makes way for a node that can, and has been able to for a while."""

    def waits(journal: Journal) -> bool:
        leads = journal is node.journal and node.life.state is State.LEADING
        return leads and journal.state is JournalState.WAITING and monotonic() - journal.since >= TROUBLE_AFTER

    while node.link is not None:
        await asyncio.sleep(TROUBLE_EVERY)
        journal = node.journal
        if journal is None or not waits(journal):
            continue
        better = await better_placed(node)
        if better is not None and waits(journal):  # it may have come back meanwhile
            node.roles.give_up(f"its database is away, and {better} reaches it")
            await asyncio.sleep(MADE_WAY)


async def watch_primary(node: "Node") -> None:
    """Whether the database's primary lives; and make another the primary if its host is dead and we lead."""
    if node.primary_access is not None:
        node.primary_watch = PrimaryWatch(node, node.primary_access)
        await node.primary_watch.run()


async def look_at_replication(node: "Node") -> None:
    """Where the data is, asked of the primary now and then; a change is told loudly."""
    said: str | None = None
    while True:
        if node.store is not None and node.journal is not None:
            try:
                node.replication = await asyncio.to_thread(node.store.replication)
            except StoreError as error:
                _log.debug("replication_unknown", error=str(error))
            else:
                degraded = node.replication.degraded
                if degraded != said:
                    said = degraded
                    if degraded is None:
                        _log.info("replication_restored")
                    else:
                        _log.warning("replication_degraded", reason=degraded)
        else:
            node.replication = None  # that is the leader's to know
        await asyncio.sleep(REPLICATION_EVERY)


ALL = (
    compare_options,
    look_at_replication,
    watch_primary,
    notice_trouble,
    take_leave,
    prune,
    retry,
    watch,
    remember_position,
    retain,
    keep_alive,
    beat,
    read_tokens,
    renew_certificates,
    look_for_drills,
)
