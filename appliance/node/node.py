"""The composition root of one node: database, engine, journal, API, upkeep, and how they start and stop.

    open database -> schema -> lead (epoch + 1) -> load -> engine -> journal -> gate opens

The sockets open first: who calls during a start waits at the gate instead of being refused.

Invariants
* The gate is open only in state LEADING with a journal that writes; all else parks.
* After the database was away, workers count as seen now before the first call is executed: nobody could reach us.
* An engine that failed, or whose journal was poisoned, is discarded whole; what follows is built from the database.
* A fenced node answers nothing more and ends with `ExitCode.FENCED`.

Not promised here: who may lead. Each start raises the epoch; the one before is fenced.
"""

import asyncio
import functools
import gc
import os
import random
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from appliance import log
from appliance.api import ApiServer, Dispatcher, Gate, Limits, Listen, Metrics
from appliance.api.errors import Unavailable
from appliance.api.routes import JsonObject, Operations
from appliance.api.server import raise_open_files_limit
from appliance.clock import SchedulerClock, monotonic
from appliance.config import Options
from appliance.engine import Scheduler
from appliance.engine.changes import Epoch, Mail
from appliance.exit_codes import ExitCode
from appliance.mail import Postman, sender
from appliance.node import metrics as node_metrics
from appliance.node.report import Reporter
from appliance.node.states import Life, State
from appliance.store import (
    DatabaseAway,
    FencedError,
    Journal,
    JournalState,
    Position,
    SchemaMissing,
    SchemaState,
    SchemaTooNew,
    Store,
    StoreError,
    open_store,
)
from appliance.store.target import Kind
from ha.supervisor import Supervisor

RETRY_EVERY = 1.0  # s between attempts to reach the database at start
# Full collections of a state of millions of objects would stop everything for seconds; young ones suffice here.
GC_THRESHOLDS = (20_000, 50, 1000)
RETENTION_EVERY = 3600.0  # s
_log = log.get("node")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """What a node needs besides the operator's options."""

    options: Options
    database_url: str  # with the password
    holder: str = field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}")


class Node:
    """One life of one node: `run` once."""

    def __init__(self, node: NodeOptions) -> None:
        self.options = node.options
        self.holder = node.holder
        serve = node.options.serve
        self.life = Life()
        self.clock = SchedulerClock()
        self.metrics = Metrics()
        self.gate = Gate("the scheduler is starting")
        limits = Limits(serve.call_budget, serve.max_waiting, serve.max_waiting_bytes, serve.max_body)
        self.dispatcher = Dispatcher(self.gate, limits, self.metrics, self.clock)
        self.postman = Postman(sender(node.options.email))
        self.dispatcher.on_mail = self._mail
        self.dispatcher.on_broken = self._broken
        listen = Listen(
            serve.host, serve.port, serve.unix_socket, serve.metrics_host, serve.metrics_port, serve.keep_alive
        )
        self.reporter = Reporter(self)
        self.api = ApiServer(listen, self.dispatcher, self._operations(), node.options.cors)
        self.supervisor = Supervisor()
        self.store: Store | None = None
        self.journal: Journal | None = None
        self.engine: Scheduler | None = None
        self.epoch = 0
        self._url = node.database_url
        self._ending: asyncio.Future[ExitCode] | None = None
        self._signalled = asyncio.Event()
        self._reload: asyncio.Task[None] | None = None
        node_metrics.register(self)

    # -- life --------------------------------------------------------------------------------------------------

    async def run(self, started: Callable[["Node"], None] | None = None) -> ExitCode:
        """Serve until a signal, a fence, or a failure. `started` is called when the gate opens the first time."""
        loop = asyncio.get_running_loop()
        self._ending = loop.create_future()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop, signal.Signals(number).name)
        _log.info("starting", open_files=raise_open_files_limit(), holder=self.holder, pid=os.getpid())
        self.postman.start()
        try:
            await self.api.start()
        except OSError as error:
            _log.error("cannot_listen", error=str(error))
            return ExitCode.CONFIG
        _log.info("listening", addresses=" ".join(self.api.addresses))
        background = [asyncio.create_task(self._lead(started), name="lead")]
        background += [
            asyncio.create_task(task(), name=task.__name__)
            for task in (self._prune, self._watch, self._retain, self._keep_alive)
        ]
        for task in background:
            task.add_done_callback(self._background_ended)
        code = await self._ending
        for task in background:
            task.cancel()
        if self._reload is not None:
            self._reload.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        return await self._end(code)

    def stop(self, name: str) -> None:
        """Begin to drain, because of this signal; a second one does not wait for calls in flight."""
        if self.life.may("drain"):
            self.life.fire("drain", signal=name)
            if self._ending is not None and not self._ending.done():
                self._ending.set_result(ExitCode.OK)
        else:  # a second signal does not wait
            _log.warning("second_signal", signal=name)
            self._signalled.set()

    async def _lead(self, started: Callable[["Node"], None] | None) -> None:
        """From nothing to leading. Waits for a database that is away; anything else that fails ends the node."""
        try:
            self.store = await self._reach(
                lambda: open_store(self._url, call_timeout=self.options.serve.database_timeout)
            )
            await self._reach(self._schema)
            await self._assume()
            self.life.fire("lead", epoch=self.epoch)
            self._open()
        except SchemaMissing as error:
            self._finish(ExitCode.SCHEMA, "schema", error=str(error), help="luigi-ha db upgrade, or serve --upgrade")
        except FencedError as error:
            self._fence(str(error))
        except StoreError as error:
            code = ExitCode.SCHEMA if isinstance(error, SchemaTooNew) else ExitCode.FAILED
            self._finish(code, "database_unusable", error=str(error))
        else:
            if started is not None:
                started(self)
            self.supervisor.ready(f"leading, epoch {self.epoch}")

    def _schema(self) -> None:
        """An empty database gets its tables; an old schema is upgraded on SQLite, elsewhere if the operator says so."""
        assert self.store is not None  # noqa: S101
        status = self.store.check()
        wanted = self.options.serve.upgrade or self.store.target.kind is Kind.SQLITE
        if status.state is SchemaState.MISSING or (wanted and status.state is SchemaState.OLD):
            _log.info("schema_upgrade", found=status.found, wanted=status.wanted)
            status = self.store.upgrade()
        status.require()

    async def _assume(self, epoch: Epoch | None = None) -> None:
        """Take the lead in the database, load, and build engine and journal. The gate stays closed.

        `epoch`: take exactly this one, or be fenced; None: the next one, whoever leads.
        """
        store = self.store
        assert store is not None  # noqa: S101
        began = monotonic()
        taken = await self._reach(lambda: store.take_leadership(self.holder, epoch))
        engine, position = await self._reach(lambda: self._load(store))
        if position.epoch != taken.epoch:
            raise FencedError(f"epoch {position.epoch} leads; ours was {taken.epoch}")
        journal = Journal(
            store,
            position,
            on_state=lambda state: self._journal_state(journal, state),
            on_commit=self.metrics.commit,
        )
        self.epoch = int(position.epoch)
        self.engine, self.journal = engine, journal
        journal.start()
        self.dispatcher.install(engine, journal)
        journal.add_listener(self._committed)
        _log.info(
            "loaded", epoch=self.epoch, seq=position.seq, tasks=len(engine.tasks), workers=len(engine.workers),
            seconds=monotonic() - began,
        )  # fmt: skip

    def _load(self, store: Store) -> tuple[Scheduler, Position]:
        """A new engine with the state of the database. On a thread: nothing else knows this engine yet."""
        snapshot = store.load()
        self.clock.not_before(snapshot.last_time)
        engine = Scheduler(
            self.options.scheduler,
            resources=self.options.resources,
            clock=self.clock,
            random=random.SystemRandom(),
        )
        # What is loaded lives as long as the process: the garbage collector need not walk it again and again.
        gc.disable()
        try:
            engine.restore(snapshot.records)
        finally:
            gc.freeze()
            gc.enable()
        gc.set_threshold(*GC_THRESHOLDS)
        return engine, snapshot.position

    def _open(self) -> None:
        """Open the gate: from here on calls are executed."""
        assert self.engine is not None  # noqa: S101
        assert self.journal is not None  # noqa: S101
        if self.journal.state is JournalState.WAITING:
            self.gate.close(f"the database is away: {self.journal.reason}")
            return  # it opens when the journal writes
        self.engine.started()
        self.gate.open()
        self.supervisor.status(f"leading, epoch {self.epoch}")
        _log.info("gate_open", epoch=self.epoch)

    async def _reach(self, call: Callable[[], T]) -> T:
        """A database call on a thread, repeated for as long as the database is away."""
        said = 0.0
        while True:
            try:
                return await asyncio.to_thread(call)
            except DatabaseAway as error:
                self.gate.close(f"the database is away: {error}")
                if monotonic() - said > 30:
                    said = monotonic()
                    _log.warning("database_away", error=str(error))
                await asyncio.sleep(RETRY_EVERY)

    # -- what happens to a node --------------------------------------------------------------------------------

    def _mail(self, position: int, mails: list[Mail]) -> None:
        self.postman.hold(position, mails)
        self._committed()

    def _committed(self) -> None:
        if self.journal is not None:
            self.postman.release(self.journal.committed)

    def _journal_state(self, journal: Journal, state: JournalState) -> None:
        if journal is not self.journal:
            return
        reason = journal.reason
        if state is JournalState.WRITING and self.life.state is State.LEADING:
            if not self.gate.is_open:
                self._open()
        elif state is JournalState.WAITING:
            self.gate.close(f"the database is away: {reason}")
            self.supervisor.status(f"waiting for the database: {reason}")
        elif state is JournalState.FENCED:
            self._fence(reason)
        elif state is JournalState.POISONED:
            self._broken(f"the database refuses a change: {reason}")

    def _broken(self, reason: str) -> None:
        """Discard the engine; build it anew from the database."""
        if self.life.state is not State.LEADING or self._reload is not None:
            return
        self.life.fire("reload", reason=reason)
        self.gate.close("the scheduler is reloading its state from the database")
        self._reload = asyncio.create_task(self._rebuild(reason), name="reload")
        self._reload.add_done_callback(self._background_ended)

    async def _rebuild(self, reason: str) -> None:
        journal, self.journal = self.journal, None
        if journal is not None:
            await asyncio.to_thread(journal.close, self.options.serve.database_timeout)
            self.postman.release(journal.committed)
        self.dispatcher.committed()  # what was written before the failure is acknowledged
        what = f"executed, but not stored: {reason}"
        self.dispatcher.abandon(Unavailable(what, where="journal", expected="to be asked again"), parked=False)
        self.postman.forget()
        self.engine = None
        gc.unfreeze()
        gc.collect()  # the old state is one large cycle
        try:
            await self._assume(Epoch(self.epoch + 1))  # not over the head of a newer leader
        except FencedError as error:
            self._fence(str(error))
            return
        self.life.fire("resume", epoch=self.epoch)
        self._reload = None
        self._open()

    def _fence(self, reason: str) -> None:
        """Another node leads. Say nothing more to anybody, and end."""
        if not self.life.may("fence"):
            return
        self.life.fire("fence", reason=reason, epoch=self.epoch)
        self.gate.close("another node leads now")
        refusal = Unavailable(
            "another node leads now; this one is stopping", where="leadership", expected="the new leader"
        )
        self.dispatcher.abandon(refusal, parked=True)
        self.metrics.fenced = 1
        self._finish(ExitCode.FENCED, "fenced", epoch=self.epoch, reason=reason)

    def _finish(self, code: ExitCode, event: str, **fields: Any) -> None:
        _log.error(event, exit_code=int(code), **fields)
        if code is not ExitCode.FENCED and self.life.may("fail"):
            self.life.fire("fail")
        if self._ending is not None and not self._ending.done():
            self._ending.set_result(code)

    def _background_ended(self, task: asyncio.Task[None]) -> None:
        """A background task that dies is noticed: the node ends rather than limps."""
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("background_task_failed", task=task.get_name(), error=f"{type(error).__name__}: {error}")
            sys.excepthook(type(error), error, error.__traceback__)
            self._finish(ExitCode.FAILED, "failed", reason=f"background task {task.get_name()} failed")

    async def _end(self, code: ExitCode) -> ExitCode:
        """Bounded: finish what is in flight, flush, close. A fenced node only closes."""
        self.supervisor.stopping("draining" if code is ExitCode.OK else code.name.lower())
        self.api.stop_listening()
        until = monotonic() + self.options.serve.drain_timeout
        if code is ExitCode.OK:
            if not self.gate.is_open:
                self.dispatcher.refuse_parked(self.dispatcher.unavailable().reply())
            while self.api.busy and monotonic() < until and not self._signalled.is_set():  # noqa: ASYNC110
                await asyncio.sleep(0.01)  # the calls are not ours to signal; ten looks a second cost nothing
            self.gate.close("the scheduler is stopping")
        if self.journal is not None:
            left = max(0.1, until - monotonic()) if code is ExitCode.OK else 0.1
            await asyncio.to_thread(self.journal.close, left)
            self.dispatcher.committed()
            if code is ExitCode.OK:
                self.postman.release(self.journal.committed)
        await self.api.stop(min(1.0, max(0.05, until - monotonic())))
        if self.store is not None:
            await asyncio.to_thread(self.store.close)
        await asyncio.to_thread(self.postman.close, 2.0)
        if code is ExitCode.OK:
            self.life.fire("stop")
        _log.info("stopped", exit_code=int(code))
        return code

    # -- upkeep ------------------------------------------------------------------------------------------------

    async def _prune(self) -> None:
        """Every prune_every seconds, in pieces, each journaled like a call."""
        while True:
            await asyncio.sleep(self.options.serve.prune_every)
            more = True
            while more and self.gate.is_open and self.journal is not None and not self.journal.full:
                done = self.dispatcher.execute_now("prune")
                more = done and self.engine is not None and self.engine.prune_pending
                await asyncio.sleep(0)

    async def _watch(self) -> None:
        """An idle node asks now and then whether it still leads; a busy one learns it from its own writes."""
        seen = -1
        while True:
            await asyncio.sleep(self.options.serve.position_check_every)
            journal, store = self.journal, self.store
            if journal is None or store is None or self.life.state is not State.LEADING:
                continue
            if journal.committed != seen:
                seen = journal.committed
                continue
            try:
                position = await asyncio.to_thread(store.position)
            except StoreError as error:
                _log.debug("position_unknown", error=str(error))
                continue
            if int(position.epoch) != self.epoch and journal is self.journal:
                self._fence(f"epoch {position.epoch} leads; ours was {self.epoch}")

    async def _retain(self) -> None:
        """Drop what the log no longer has to keep, once an hour."""
        days = self.options.serve.history_days
        while days > 0:
            await asyncio.sleep(RETENTION_EVERY)
            store = self.store
            if store is not None and self.life.state is State.LEADING:
                drop = functools.partial(store.prune_events, older_than=self.clock.last - days * 86400)
                try:
                    first = await asyncio.to_thread(drop)
                except StoreError as error:
                    _log.warning("retention_postponed", error=str(error))
                else:
                    _log.info("retention", first_kept=first)

    async def _keep_alive(self) -> None:
        """Tell a watching supervisor that the event loop turns."""
        every = self.supervisor.watchdog_every
        while every is not None:
            self.supervisor.alive()
            await asyncio.sleep(every)

    # -- what people ask ---------------------------------------------------------------------------------------

    def _operations(self) -> Operations:
        async def settled(call: Callable[[], T]) -> T:
            engine, journal = self.engine, self.journal
            if engine is None or journal is None or self.life.state is not State.LEADING:
                raise self.dispatcher.unavailable()
            result = call()
            await self.dispatcher.commit(journal.appended, self.options.serve.call_budget)
            return result

        async def why(task_id: str) -> JsonObject:
            return await settled(lambda: self.engine.why(task_id) if self.engine is not None else {})

        async def history(task_id: str, limit: int) -> list[JsonObject]:
            if self.store is None:
                raise self.dispatcher.unavailable()
            try:
                entries = await asyncio.to_thread(functools.partial(self.store.history, task_id, limit))
            except DatabaseAway as error:
                raise Unavailable(str(error), where="database", expected="to be asked again") from error
            if not entries:
                raise KeyError(task_id)
            return [entry._asdict() for entry in entries]

        async def cluster() -> JsonObject:
            return self.reporter.cluster()

        return Operations(self.reporter.health, cluster, history, why)
