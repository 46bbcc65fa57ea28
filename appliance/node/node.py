"""The composition root of one node: what it is made of, and how it starts and stops.

The sockets open first: who calls during a start waits at the gate instead of being refused. What the node is to others,
and how that changes, is in `roles`.

Invariants
* Changes of role happen one after the other, in one task.
* A background task that dies ends the node: it does not limp.
* Alone (no keeper), a fenced node answers nothing more and ends with `ExitCode.FENCED`.
"""

import asyncio
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from luigi_ha.appliance import log
from luigi_ha.appliance.api import ApiServer, Dispatcher, Gate, Limits, Listen, Metrics
from luigi_ha.appliance.api.errors import Unavailable
from luigi_ha.appliance.api.relay import HttpRelay
from luigi_ha.appliance.api.server import raise_open_files_limit
from luigi_ha.appliance.clock import SchedulerClock, monotonic
from luigi_ha.appliance.config import Options
from luigi_ha.appliance.engine import Scheduler
from luigi_ha.appliance.engine.changes import Mail
from luigi_ha.appliance.exit_codes import ExitCode
from luigi_ha.appliance.mail import Postman, sender
from luigi_ha.appliance.memory import give_back_freed
from luigi_ha.appliance.node import metrics as node_metrics
from luigi_ha.appliance.node import sharing, upkeep
from luigi_ha.appliance.node.access import Access
from luigi_ha.appliance.node.database import reach, remember, require_present, require_schema
from luigi_ha.appliance.node.drilled import Drilled
from luigi_ha.appliance.node.leading import Leading
from luigi_ha.appliance.node.operations import operations
from luigi_ha.appliance.node.peers import Peers
from luigi_ha.appliance.node.primary_watch import PrimaryAccess, PrimaryWatch
from luigi_ha.appliance.node.recent import Recent
from luigi_ha.appliance.node.report import Reporter
from luigi_ha.appliance.node.roles import Roles
from luigi_ha.appliance.node.sameness import Sameness
from luigi_ha.appliance.node.states import Life
from luigi_ha.appliance.node.timekeeping import Timekeeping
from luigi_ha.appliance.store import (
    FencedError,
    Journal,
    OlderDatabase,
    Replication,
    SchemaMissing,
    SchemaTooNew,
    Store,
    StoreError,
    open_store,
)
from luigi_ha.ha.keeper.link import Link
from luigi_ha.ha.keeper.messages import Follow, Lead
from luigi_ha.ha.supervisor import Supervisor

_log = log.get("node")


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """What a node needs besides the operator's options."""

    options: Options
    database_url: str  # with the password
    holder: str = field(default_factory=socket.gethostname)  # the node's name
    link: Link | None = None  # to the keeper; None: this process leads by itself
    pair: str = ""  # the directory of the pair on this machine that listens on one port; "": alone on its port
    for_peers: str = ""  # Unix socket on which those reach this one
    outlives_keeper: bool = False  # whether it goes on until the lease ends when its keeper has died
    primary: PrimaryAccess | None = None  # to the database's primary; None: that is nothing of ours


class Node:
    """One life of one node: `run` once. It takes the keeper's orders (`luigi_ha.ha.keeper.link.Orders`)."""

    def __init__(self, node: NodeOptions) -> None:
        self.options = node.options
        self.holder = node.holder
        self.link = node.link
        serve = node.options.serve
        self.life = Life()
        self.clock = SchedulerClock()
        if self.link is not None:
            self.clock.follow()
        self.metrics = Metrics()
        self.gate = Gate("the scheduler is starting")
        limits = Limits(
            serve.call_budget, serve.max_waiting, serve.max_waiting_bytes, serve.max_body, serve.max_task_body
        )  # fmt: skip
        self.dispatcher = Dispatcher(self.gate, limits, self.metrics, self.clock)
        self.access = Access(serve)
        self.relay = HttpRelay(serve.call_budget, self.dispatcher.take_back, self.access.tls)
        self.postman = Postman(sender(node.options.email), off=node.options.email.off)
        self.roles = Roles(self)
        self.timekeeping = Timekeeping(self)
        self.leading = Leading(self)
        self.sameness = Sameness(self)
        self.dispatcher.executor.on_mail = self._mail
        self.dispatcher.executor.on_broken = self.leading.broken
        listen = Listen(
            serve.host, serve.port, serve.unix_socket, serve.metrics_host, serve.metrics_port, serve.keep_alive,
            shared=bool(node.pair), for_peers=node.for_peers, tls=self.access.tls,
            tokens=self.access.tokens is not None,
            names=(*serve.allowed_hosts, urlsplit(serve.advertise).hostname or "", serve.host),
            max_connections=serve.max_connections, max_in_flight=serve.max_in_flight,
        )  # fmt: skip
        self.peers = Peers(self.holder, self.access.tls)
        self.recent = Recent()
        self.primary_access = node.primary
        self.primary_watch: PrimaryWatch | None = None
        self.reporter = Reporter(self)
        self.api = ApiServer(listen, self.dispatcher, operations(self), node.options.cors, self.access.admit)
        self.supervisor = Supervisor() if self.link is None else Supervisor({})
        self.store: Store | None = None
        self.journal: Journal | None = None
        self.engine: Scheduler | None = None
        self.drilled: Drilled | None = None  # the last drill whose report is on this host
        self.replication: Replication | None = None  # of a leader: as the primary said some seconds ago
        self.epoch = 0  # under which this node leads; of a standby: the last one seen
        self.pair = node.pair
        self._url = node.database_url
        self._outlives_keeper = node.outlives_keeper
        self._ending: asyncio.Future[ExitCode] | None = None
        self._signalled = asyncio.Event()
        self._orders: asyncio.Queue[Callable[[], Awaitable[None]]] = asyncio.Queue()
        node_metrics.register(self)

    async def run(self, started: Callable[["Node"], None] | None = None) -> ExitCode:
        """Serve until a signal, a fence, or a failure. `started` is called once this node leads or follows."""
        loop = asyncio.get_running_loop()
        self._ending = loop.create_future()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signal, signal.Signals(number).name)
        give_back_freed()
        self.recent.start()
        _log.info("starting", open_files=raise_open_files_limit(), node=self.holder)
        self.postman.start()
        try:
            if self.pair:
                await asyncio.to_thread(sharing.check_port, self.options.serve, self.pair)
            await self.api.start()
        except OSError as error:
            _log.error("cannot_listen", error=str(error))
            return ExitCode.CONFIG
        _log.info("listening", addresses=" ".join(self.api.addresses))
        if self.link is not None:
            self.link.start(self)
            self.link.unable("starting")
        background = [asyncio.create_task(self._play(started), name="roles")]
        background += [asyncio.create_task(work(self), name=work.__name__) for work in upkeep.ALL]
        for task in background:
            task.add_done_callback(self.background_ended)
        code = await self._ending
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        return await self._end(code)

    async def _play(self, started: Callable[["Node"], None] | None) -> None:
        """Begin, then carry out one order after the other. What is wrong with the database for good ends the node."""
        try:
            await self._begin()
            if started is not None:
                started(self)
            while True:
                order = await self._orders.get()
                await order()
        except SchemaMissing as error:
            self.finish(ExitCode.SCHEMA, "schema", error=str(error), help="luigi-ha db upgrade, or serve --upgrade")
        except FencedError as error:
            self.leading.fenced(str(error))
        except OlderDatabase as error:
            self.finish(ExitCode.CONFIG, "database_is_older", error=str(error))
        except SchemaTooNew as error:
            self.finish(ExitCode.SCHEMA, "database_unusable", error=str(error))
        except StoreError as error:
            self.finish(ExitCode.FAILED, "database_unusable", error=str(error))

    async def _begin(self) -> None:
        serve = self.options.serve
        open_it = partial(open_store, self._url, call_timeout=serve.database_timeout, durability=serve.durability)
        self.store = await reach(self, open_it)
        await reach(self, lambda: require_present(self))
        await reach(self, lambda: require_schema(self))
        if self.link is None:
            await self.leading.alone()
            self.supervisor.ready(f"leading, epoch {self.epoch}")
        else:
            await self.roles.stand_by()

    def order(self, what: Callable[[], Awaitable[None]]) -> None:
        """Carry this out after the orders before it."""
        self._orders.put_nowait(what)

    def _signal(self, name: str) -> None:
        """A signal to this process. Under a keeper that is the keeper's to decide: a supervisor may tell both."""
        if self.link is None:
            self.stop(name)
        else:
            _log.info("signal_left_to_keeper", signal=name)

    # -- the keeper's orders -------------------------------------------------------------------------------------

    def lead(self, order: Lead) -> None:
        self.order(partial(self.roles.promote, order))

    def follow(self, order: Follow) -> None:
        self.roles.follow(order)

    def hand_over(self, successor: str) -> None:
        self.order(partial(self.roles.hand_over, successor))

    def kept(self, reason: str) -> None:
        self.roles.kept(reason)

    def over(self, reason: str) -> None:
        if self.life.acting:
            self.gate.close(reason)
            self.order(partial(self.roles.step_down, reason))

    def members(self, members: Mapping[str, Mapping[str, str]]) -> None:
        self.peers.update(members)

    def stop(self, by: str = "keeper") -> None:
        """Begin to drain; a second time: do not wait for calls in flight."""
        if self.life.may("drain"):
            self.life.fire("drain", by=by)
            if self._ending is not None and not self._ending.done():
                self._ending.set_result(ExitCode.OK)
        else:
            _log.warning("stop_at_once", by=by)
            self._signalled.set()

    def lost(self) -> None:
        assert self.link is not None  # noqa: S101
        left = self.link.remaining() if self._outlives_keeper else 0.0
        _log.error("keeper_lost", leads_for=left)
        asyncio.get_running_loop().call_later(left, self.finish, ExitCode.FAILED, "stopped_without_keeper")

    # -- what happens to a node --------------------------------------------------------------------------------

    def _mail(self, position: int, mails: list[Mail]) -> None:
        self.postman.hold(position, mails)
        self.committed()

    def committed(self) -> None:
        """The journal has committed something."""
        if self.journal is not None:
            self.postman.release(self.journal.committed)

    def fence(self, reason: str) -> None:
        """Another node leads, and nobody will call us to lead again. Say nothing more to anybody, and end."""
        if not self.life.may("fence"):
            return
        self.life.fire("fence", reason=reason, epoch=self.epoch)
        self.gate.close("another node leads now")
        refusal = Unavailable(
            "another node leads now; this one is stopping", where="leadership", expected="the new leader"
        )
        self.dispatcher.abandon(refusal, parked=True)
        self.finish(ExitCode.FENCED, "fenced", epoch=self.epoch, reason=reason)

    def finish(self, code: ExitCode, event: str, **fields: Any) -> None:
        """End the node because of `event`."""
        _log.error(event, exit_code=int(code), **fields)
        if code is not ExitCode.FENCED and self.life.may("fail"):
            self.life.fire("fail")
        if self._ending is not None and not self._ending.done():
            self._ending.set_result(code)

    def background_ended(self, task: asyncio.Task[None]) -> None:
        """A background task that dies is noticed."""
        if not task.cancelled() and (error := task.exception()) is not None:
            name = task.get_name()
            _log.error("background_task_failed", background_task=name, error=f"{type(error).__name__}: {error}")
            sys.excepthook(type(error), error, error.__traceback__)
            self.finish(ExitCode.FAILED, "failed", reason=f"background task {name} failed")

    async def _end(self, code: ExitCode) -> ExitCode:
        """Bounded: finish what is in flight, flush, close. A fenced node only closes."""
        self.supervisor.stopping("draining" if code is ExitCode.OK else code.name.lower())
        until = monotonic() + self.options.serve.drain_timeout
        if code is ExitCode.OK:
            await self._finish_calls(until)
        self.api.stop_listening()
        await self.relay.close()
        if self.journal is not None:
            left = max(0.1, until - monotonic()) if code is ExitCode.OK else 0.1
            await asyncio.to_thread(self.journal.close, left)
            await remember(self, self.journal.position)
            self.dispatcher.committed()
            if code is ExitCode.OK:
                self.postman.release(self.journal.committed)
        await self.roles.end()
        await self.api.stop(min(1.0, max(0.05, until - monotonic())))
        if self.store is not None:
            await asyncio.to_thread(self.store.close)
        await asyncio.to_thread(self.postman.close, 2.0)
        if code is ExitCode.OK:
            self.life.fire("stop")
        if self.link is not None:
            self.link.close()
        _log.info("stopped", exit_code=int(code))
        self.recent.stop()
        return code

    async def _finish_calls(self, until: float) -> None:
        """Let what is being served end, until then at the latest, or until somebody is impatient."""
        if self.pair:  # who asks to connect now is to reach the other process
            await self.api.become_quiet(1.0)
        self.api.stop_listening()
        if not self.gate.is_open:
            self.dispatcher.refuse_parked(self.dispatcher.unavailable().reply())
        while (self.api.busy or self.relay.in_flight) and monotonic() < until and not self._signalled.is_set():  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # the calls are not ours to signal; ten looks a second cost nothing
        self.gate.close("the scheduler is stopping")
