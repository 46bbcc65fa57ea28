"""From a decoded request to its reply: gate, engine, journal, answer.

Invariants
* A call is executed only while the gate is open, the journal has room, and its client is still there.
* A reply leaves only after the journal has committed everything the engine knew when the reply was made: reads do
  not reveal what a crash could take back. (A ping that changed nothing reveals nothing, and does not wait.)
* Calls are executed in the order of their arrival, parked ones first.
* Nobody waits longer than `budget` seconds counted from arrival; what waits is bounded in number and in bytes.

Everything runs on the event loop's thread and nothing here awaits: a call costs no task and no timer. One sweep, a
few times a second, looks after deadlines.

Not promised: that a call answered 503 was not executed. If it was executed and the commit is still unknown, it may
yet take effect; the body says which of the two it was. Repeating is harmless.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from appliance import log
from appliance.api.calls import Call, FutureCaller, Limits, Mirror, Relay, Waiting
from appliance.api.errors import Failed, Misdirected, Refusal, Reply, Unavailable
from appliance.api.execute import EngineBroken, execute
from appliance.api.gate import Gate
from appliance.api.metrics import Metrics
from appliance.api.ports import Caller, Engine, Journal
from appliance.api.queues import ParkedCalls, WaitingCalls
from appliance.clock import SchedulerClock, monotonic
from appliance.engine import REST_METHODS, RPC_METHODS
from appliance.engine.changes import Changes, Mail

SWEEP_EVERY = 0.25  # s
SLICE = 0.002  # s of parked calls executed before others get a turn
OWN_METHODS = frozenset({"rest_log", "rest_put_log"})  # called like the engine's, and not the engine's
METHODS = RPC_METHODS | REST_METHODS | OWN_METHODS
MISDIRECTED = Misdirected("not executed: this node does not lead", where="leadership", expected="the leader").reply()
_log = log.get("api")


_DONE = Reply(200, b"")


class Dispatcher:
    """Executes calls on the engine it was given last (`install`), if any."""

    def __init__(self, gate: Gate, limits: Limits, metrics: Metrics, scheduler_clock: SchedulerClock) -> None:
        self.gate = gate
        self.limits = limits
        self.metrics = metrics
        self.engine: Engine | None = None
        self.journal: Journal | None = None
        self.mirror: Mirror | None = None  # the engine mirrors the leader's log: nothing is executed on it
        self.relay: Relay | None = None
        self.on_mail: Callable[[int, list[Mail]], None] = lambda _position, _mails: None
        self.on_broken: Callable[[str], None] = lambda _reason: None  # the engine can no longer be trusted
        self.own: Mapping[str, Callable[..., Any]] = {}  # OWN_METHODS
        self._clock = scheduler_clock
        self._methods: Mapping[str, Callable[..., Any]] = {}
        self._parked = ParkedCalls(limits)
        self._waiting = WaitingCalls()
        self._unparking = False
        self._sweeper: asyncio.TimerHandle | None = None
        gate.on_open(self._unpark_soon)

    # -- for the node ------------------------------------------------------------------------------------------

    def install(self, engine: Engine, journal: Journal) -> None:
        """Execute on this engine from now on, and write to this journal. The gate decides when."""
        self.engine, self.journal, self.mirror = engine, journal, None
        self._methods = {name: getattr(engine, name) for name in RPC_METHODS | REST_METHODS} | {**self.own}
        journal.add_listener(self.committed)

    def reflect(self, engine: Engine, mirror: Mirror) -> None:
        """Show people this engine, which mirrors the leader's log. Nothing is executed on it."""
        self.engine, self.journal, self.mirror = engine, None, mirror
        self._methods = {}

    def pass_on(self, relay: Relay | None) -> None:
        """Hand calls to this relay whenever they cannot be executed here, those that are parked first; None: park."""
        self.relay = relay
        if relay is not None:
            for call in self._parked.take_all():
                self._hold(call)

    def abandon(self, refusal: Refusal, *, parked: bool) -> None:
        """Answer what waits for a commit that will not come; also what is parked, if so asked."""
        reply = refusal.reply()
        for waiting in self._forget():
            self._finish(waiting.call, reply)
        if parked:
            self.refuse_parked(reply)

    def repeat(self, refusal: Refusal) -> None:
        """What waits for a commit that will not come is asked again, of whoever leads next: as its client would do,
        who need not know. Who waits for something of this node alone is refused."""
        for waiting in self._forget():
            call = waiting.call
            if call.method:
                self._hold(call._replace(terms=call.terms._replace(left=None)))
            else:
                self._finish(call, refusal.reply())

    def _forget(self) -> Iterable[Waiting]:
        """Execute on nothing any more; who waits for a commit."""
        self.engine = self.journal = self.mirror = None
        self._methods = {}
        return self._waiting.take_all()

    def refuse_parked(self, reply: Reply) -> None:
        """Answer everything that is parked."""
        for call in self._parked.take_all():
            self._finish(call, reply)

    def start(self) -> None:
        """Begin to look after deadlines. Needs a running event loop."""
        self._sweeper = asyncio.get_running_loop().call_later(SWEEP_EVERY, self._sweep)

    def stop(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()

    @property
    def parked(self) -> int:
        """Calls waiting at the gate."""
        return len(self._parked)

    @property
    def waiting(self) -> int:
        """Calls executed, waiting for their commit."""
        return len(self._waiting)

    # -- for the lanes -----------------------------------------------------------------------------------------

    def submit(self, call: Call, arguments: dict[str, Any] | None = None) -> None:
        """Take one call of a known method; `caller.answer` is called once, now or later. `arguments`: what `data`
        says, of who has decoded it already."""
        left = call.terms.left
        if left is not None:
            call = call._replace(arrived=call.arrived - max(0.0, self.limits.budget - left))
        journal = self.journal
        if self._parked or journal is None or self.gate.reason is not None or journal.full:
            self._hold(call)
        else:
            self._execute(journal, call, arguments)

    def execute_now(self, method: str, **arguments: Any) -> bool:
        """Run a call of the node itself (prune) if the gate is open; whether it was done."""
        if self.journal is None or not self._methods or not self.gate.is_open:
            return False
        try:
            self._methods[method](**arguments)
        except Exception as error:  # noqa: BLE001 - whatever it is, the engine's state is in doubt
            self.broken(method, error)
            return False
        self.record(method)
        return True

    def record(self, method: str) -> int:
        """Hand over what the engine changed; the position after which its present state may be revealed."""
        engine, journal = self.engine, self.journal
        if engine is None or journal is None or not self._methods:
            return 0
        changes = engine.take_changes()
        if changes.records or changes.transitions or changes.mails:
            return self._append(journal, changes, method, None)
        return journal.appended

    async def turn(self, caller: Caller, arrived: float) -> None:
        """Wait like any other call for the gate and for those who came before; raises Unavailable. A mirror can be
        looked at any time."""
        journal = self.journal
        if self.mirror is not None:
            return
        if self._parked or journal is None or self.gate.reason is not None or journal.full:
            waiting = FutureCaller(caller.gone)
            self.park(Call("", "", waiting, arrived))
            if await waiting.reply is not _DONE:
                raise self.unavailable()

    async def commit(self, position: int, longest: float) -> None:
        """Wait until everything up to `position` is durable; raises Unavailable after `longest` seconds."""
        journal = self.journal
        if journal is None:
            raise self.unavailable(executed=True)
        if position > journal.committed:
            caller = FutureCaller(lambda: False)
            call = Call("", "", caller, monotonic() + longest - self.limits.budget)
            self._waiting.add(Waiting(position, call, _DONE))
            reply = await caller.reply
            if reply is not _DONE:
                raise self.unavailable(executed=True)

    @property
    def stand(self) -> int | None:
        """The number of the last change that shows here; None: there is nothing to show."""
        if self.mirror is not None:
            return self.mirror.seq
        return None if self.journal is None else self.journal.appended

    def unavailable(self, executed: bool = False) -> Unavailable:
        """Why a call cannot be answered now."""
        if executed:
            what = "executed, but the database has not confirmed it in time; it may still take effect"
            return Unavailable(what, where="journal", expected="to be asked again: repeating is harmless")
        journal = self.journal
        reason = self.gate.reason
        if reason is None:
            reason = "the database does not keep up" if journal is not None and journal.full else "busy"
        return Unavailable(f"not executed: {reason}", where="gate", expected="to be asked again")

    def committed(self) -> None:
        """The journal has committed: answer who waited for it, and let the next ones in."""
        journal = self.journal
        if journal is None:
            return
        for waiting in self._waiting.take_done(journal.committed):
            self._finish(waiting.call, waiting.reply)
        if self._parked:
            self._unpark_soon()

    # -- inside ------------------------------------------------------------------------------------------------

    def _execute(self, journal: Journal, call: Call, arguments: dict[str, Any] | None = None) -> None:
        engine = self.engine
        assert engine is not None  # noqa: S101 - a journal comes with an engine
        try:
            reply, changes, worker, repeated = execute(engine, self._methods, call, arguments)
        except EngineBroken as error:
            self._finish(call, self.broken(call.method, error.cause).reply())
            return
        if repeated:
            self.metrics.repeated += 1
        if changes.records or changes.transitions or changes.mails:
            position = self._append(journal, changes, call.method, call.terms.actor or worker)
        else:
            position = 0 if call.method == "ping" else journal.appended
        if position <= journal.committed:
            self._finish(call, reply)
        elif len(self._waiting) >= self.limits.max_waiting:
            self._finish(call, self.unavailable(executed=True).reply())
        else:
            self._waiting.add(Waiting(position, call, reply))

    def _append(self, journal: Journal, changes: Changes, method: str, actor: str | None) -> int:
        if changes.transitions:
            self.metrics.transitions(changes.transitions)
        if not changes.records:
            position = journal.appended
        else:
            position = journal.append(changes.records, at=self._clock.last, method=method, actor=actor)
        if changes.mails:
            self.on_mail(position, changes.mails)
        return position

    def broken(self, method: str, error: BaseException) -> Failed:
        """The engine failed half-way: nothing it holds may be written any more."""
        _log.exception("engine_failed", method=method, error=type(error).__name__)
        self.gate.close("the scheduler is reloading its state from the database")
        self._methods = {}
        refusal = Failed(
            f"{method} failed inside the scheduler ({type(error).__name__}); its state is being reloaded",
            where=method,
            expected="to be asked again; please report the traceback in the scheduler's log",
        )
        self.on_broken(f"{method}: {type(error).__name__}: {error}")
        return refusal

    def _finish(self, call: Call, reply: Reply) -> None:
        if call.method:
            self.metrics.call(call.method, reply.status, monotonic() - call.arrived)
        call.caller.answer(reply)

    def _hold(self, call: Call) -> None:
        """It cannot be executed here and now: to the leader, if that is another node, or to the gate."""
        relay = self.relay
        if relay is None or not call.method:
            self.park(call)
        elif call.terms.left is not None:  # it was passed on to us: not twice
            self._finish(call, MISDIRECTED)
        else:
            relay.carry(call)

    def take_back(self, call: Call) -> None:
        """From the relay: nobody executed it. Execute it here if we lead now; otherwise park it."""
        journal = self.journal
        if call.caller.gone():
            self._drop(call)
        elif self._parked or journal is None or self.gate.reason is not None or journal.full:
            self.park(call)
        else:
            self._execute(journal, call)

    def park(self, call: Call) -> None:
        """Keep a call that was not executed until the gate opens, or another node leads, or its time is up."""
        if not self._parked.add(call):
            what = f"{len(self._parked)} calls ({self._parked.megabytes} MB) are waiting already"
            self._finish(call, Unavailable(what, where="gate", expected="to be asked again later").reply())

    def _drop(self, call: Call) -> None:
        """Its client has gone: not executed. The answer only ends whoever waits for it in this process."""
        self.metrics.dropped += 1
        call.caller.answer(self.unavailable().reply())

    def _unpark_soon(self) -> None:
        if self._parked and not self._unparking:
            self._unparking = True
            asyncio.get_running_loop().call_soon(self._unpark)

    def _unpark(self) -> None:
        """Execute parked calls for one slice; those whose client has gone are dropped unexecuted."""
        self._unparking = False
        until = monotonic() + SLICE
        parked = self._parked
        while parked:
            journal = self.journal
            if journal is None or self.gate.reason is not None or journal.full:
                return
            if monotonic() > until:
                self._unpark_soon()
                return
            call = parked.pop()
            if call.caller.gone():
                self._drop(call)
            elif monotonic() - call.arrived > self.limits.budget:
                self._finish(call, self.unavailable().reply())
            elif not call.method:
                call.caller.answer(_DONE)
            else:
                self._execute(journal, call)

    def _sweep(self) -> None:
        """Refuse what waited too long; forget whose client has gone."""
        expired = monotonic() - self.limits.budget
        oldest = self._parked.oldest
        if oldest is not None and oldest < expired + self.limits.budget / 2:
            reply = self.unavailable().reply()
            for call in self._parked.take_late(expired):
                if call.caller.gone():
                    self._drop(call)
                else:
                    self._finish(call, reply)
        for waiting in self._waiting.take_late(expired):
            self._finish(waiting.call, self.unavailable(executed=True).reply())
        if self._parked:
            self._unpark_soon()
        self._sweeper = asyncio.get_running_loop().call_later(SWEEP_EVERY, self._sweep)
