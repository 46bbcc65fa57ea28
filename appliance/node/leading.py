"""Leading: the engine that executes, the journal it is written to, and what goes wrong with either.

Invariants
* The gate is open only in state LEADING, with a journal that writes, under a lease that is valid.
* After the database was away, workers count as seen now before the first call is executed: nobody could reach us.
* An engine that failed, or whose journal did, is discarded whole; what follows is built from the database.
"""

import asyncio
from typing import TYPE_CHECKING

from luigi_ha.appliance import log
from luigi_ha.appliance.api.errors import Unavailable
from luigi_ha.appliance.engine import Scheduler
from luigi_ha.appliance.engine.changes import Epoch
from luigi_ha.appliance.node.database import load, opened, reach, remember
from luigi_ha.appliance.node.mirror import Mirror
from luigi_ha.appliance.node.states import State
from luigi_ha.appliance.store import FencedError, Journal, JournalState, Position

if TYPE_CHECKING:
    from luigi_ha.appliance.node.node import Node

_log = log.get("node")


class Leading:
    """What one node does as the leader."""

    def __init__(self, node: "Node") -> None:
        self._node = node
        self._remembering: asyncio.Task[None] | None = None

    async def alone(self) -> None:
        """Without a keeper: take the next epoch, whoever led before."""
        node = self._node
        mirror = await self._take(None)
        self.install(mirror.engine, mirror.position)
        node.life.fire("lead", epoch=node.epoch)
        self.open()

    async def _take(self, epoch: Epoch | None) -> Mirror:
        """Write our epoch, and load what is there under it. FencedError if another was faster."""
        node = self._node
        store = opened(node)
        taken = await reach(node, lambda: store.take_leadership(node.holder, epoch))
        mirror = await load(node)
        if mirror.position.epoch != taken.epoch:
            raise FencedError(f"epoch {mirror.position.epoch} leads; ours was {taken.epoch}")
        return mirror

    def install(self, engine: Scheduler, position: Position) -> None:
        """Execute on this engine from now on, and write from this position. The gate stays closed."""
        node = self._node
        journal = Journal(
            opened(node),
            position,
            on_state=lambda state: self._journal_state(journal, state),
            on_commit=node.metrics.commit,
        )
        node.epoch, node.engine, node.journal = int(position.epoch), engine, journal
        journal.start()
        self._remembering = asyncio.create_task(remember(node, position), name="remember")
        node.dispatcher.install(engine, journal)
        journal.add_listener(node.committed)

    def open(self) -> None:
        """Open the gate: from here on calls are executed, for as long as the lease holds."""
        node, link, epoch = self._node, self._node.link, self._node.epoch
        assert node.engine is not None  # noqa: S101
        assert node.journal is not None  # noqa: S101
        node.timekeeping.lead()
        if node.journal.state is JournalState.WAITING:
            node.gate.close(f"the database is away: {node.journal.reason}")  # it opens when the journal writes
        else:
            node.engine.started()
            if link is None:
                node.gate.open()
            else:
                node.gate.open(lambda: link.valid(epoch))
            node.supervisor.status(f"leading, epoch {epoch}")
            _log.info("gate_open", epoch=epoch)
        if link is not None:
            link.leading(epoch)

    async def end_journal(self, seconds: float) -> Journal | None:
        """Close it, within so many seconds: what it has written is acknowledged, and its mail sent; not the rest."""
        node = self._node
        journal, node.journal = node.journal, None
        if journal is not None:
            await asyncio.to_thread(journal.close, seconds)
            await remember(node, journal.position)
            node.postman.release(journal.committed)
        node.dispatcher.committed()
        node.postman.forget()
        return journal

    # -- what goes wrong ------------------------------------------------------------------------------------------

    def fenced(self, reason: str) -> None:
        """Another node has written its epoch. Alone, that is the end; with a keeper, become its standby."""
        node = self._node
        node.metrics.fenced = 1
        if node.link is None:
            node.fence(reason)
        elif node.life.may("step_down"):
            _log.warning("fenced", reason=reason, epoch=node.epoch)
            node.gate.close("another node leads now")
            node.roles.give_up(reason)
            node.order(lambda: node.roles.step_down(reason))

    def _journal_state(self, journal: Journal, state: JournalState) -> None:
        node = self._node
        if journal is not node.journal:
            return
        reason = journal.reason
        if state is JournalState.WRITING and node.life.state is State.LEADING:
            if not node.gate.is_open:
                self.open()
        elif state is JournalState.WAITING and node.life.state is State.LEADING:
            node.gate.close(f"the database is away: {reason}")
            node.supervisor.status(f"waiting for the database: {reason}")
        elif state is JournalState.FENCED:
            self.fenced(reason)
        elif state is JournalState.POISONED:
            self.broken(f"the database refuses a change: {reason}")

    def broken(self, reason: str) -> None:
        """Discard the engine; build it anew from the database."""
        node = self._node
        if node.life.state is State.LEADING:
            node.life.fire("reload", reason=reason)
            node.gate.close("the scheduler is reloading its state from the database")
            node.order(lambda: self._rebuild(reason))

    async def _rebuild(self, reason: str) -> None:
        """With a keeper the epoch stays its own; alone, exactly the next one: not over the head of a newer leader."""
        node = self._node
        if not node.life.may("resume"):
            return
        await self.end_journal(node.options.serve.database_timeout)
        what = f"executed, but not stored: {reason}"
        node.dispatcher.abandon(Unavailable(what, where="journal", expected="to be asked again"), parked=False)
        throw_away(node)
        try:
            mirror = await self._take(Epoch(node.epoch + (1 if node.link is None else 0)))
        except FencedError as error:
            self.fenced(str(error))
            return
        self.install(mirror.engine, mirror.position)
        node.life.fire("resume", epoch=node.epoch)
        self.open()


def throw_away(node: "Node") -> None:
    """The engine, and all that was to be answered from it. Its memory is freed by whoever builds the next one: that
    stops everything for a moment, and there are callers to be passed on now."""
    node.dispatcher.abandon(node.dispatcher.unavailable(), parked=False)
    node.engine = None
