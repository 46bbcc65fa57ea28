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
from collections.abc import Iterable
from typing import Any

from luigi_ha.appliance.api.calls import Call, FutureCaller, Limits, Mirror, Relay, Waiting
from luigi_ha.appliance.api.errors import Misdirected, Refusal, Reply, Unavailable
from luigi_ha.appliance.api.executor import Executor
from luigi_ha.appliance.api.gate import Gate
from luigi_ha.appliance.api.large import LargeCalls
from luigi_ha.appliance.api.metrics import Metrics
from luigi_ha.appliance.api.ports import Caller, Engine, Journal
from luigi_ha.appliance.api.queues import ParkedCalls, WaitingCalls
from luigi_ha.appliance.clock import SchedulerClock, monotonic
from luigi_ha.appliance.engine import SLICED_VIEWS

ASKED_AGAIN = 0.02  # s until the leader is asked again for a view
SWEEP_EVERY = 0.25  # s
SLICE = 0.002  # s of parked calls executed before others get a turn
MISDIRECTED = Misdirected("not executed: this node does not lead", where="leadership", expected="the leader").reply()

_DONE = Reply(200, b"")


class Dispatcher:
    """Has calls executed on the engine it was given last (`install`), if any."""

    def __init__(self, gate: Gate, limits: Limits, metrics: Metrics, scheduler_clock: SchedulerClock) -> None:
        self.gate = gate
        self.limits = limits
        self.metrics = metrics
        self.executor = Executor(gate, metrics, scheduler_clock)
        self.relay: Relay | None = None
        self.large = LargeCalls(self.executor, limits.budget, self._resume, self._finish, self._settled)
        self._settling: list[Waiting] = []  # executed, and not everywhere yet
        self._parked = ParkedCalls(limits)
        self._waiting = WaitingCalls()
        self._unparking = False
        self._sweeper: asyncio.TimerHandle | None = None
        gate.on_open(self._unpark_soon)

    # -- for the node ------------------------------------------------------------------------------------------

    def install(self, engine: Engine, journal: Journal) -> None:
        """Execute on this engine from now on, and write to this journal. The gate decides when."""
        self.executor.install(engine, journal)
        journal.add_listener(self.committed)

    def reflect(self, engine: Engine, mirror: Mirror) -> None:
        """Show people this engine, which mirrors the leader's log. Nothing is executed on it."""
        self.executor.reflect(engine, mirror)
        self._release_turns()

    def _release_turns(self) -> None:
        """Who waits for a turn looks again: there is something to see here now, or somebody to ask."""
        for call in self._parked.take_all():
            if call.method:
                self._parked.add(call)
            else:
                call.caller.answer(_DONE)

    def pass_on(self, relay: Relay | None) -> None:
        """Hand calls to this relay whenever they cannot be executed here, those that are parked first; None: park."""
        self.relay = relay
        if relay is not None:
            self._release_turns()
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
        self.executor.forget()
        settling, self._settling = self._settling, []
        return [*self._waiting.take_all(), *settling]

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
        if self._parked or not self.executor.ready:
            self._hold(call)
        else:
            self._execute(call, arguments)

    async def turn(self, caller: Caller, arrived: float) -> None:
        """Wait like any other call until the engine here can be looked at: after those who came before, or as soon as
        it mirrors the leader's. Raises Unavailable."""
        executor = self.executor
        if executor.mirror is not None or (executor.ready and not self._parked):
            return
        await self._wait(caller, arrived)

    async def elsewhere(self, call: Call) -> Reply | None:
        """Have the leader answer a view while there is none to be had here. None: look again, it may be by now.

        Raises Unavailable when its time is up.
        """
        if self.relay is None or call.terms.left is not None:
            await self._wait(call.caller, call.arrived)
            return None
        waiting = FutureCaller(call.caller.gone)
        self.relay.carry(call._replace(caller=waiting))
        reply = await waiting.reply
        if reply is not _DONE:
            return reply
        await asyncio.sleep(ASKED_AGAIN)  # the leader could not be reached
        if monotonic() - call.arrived > self.limits.budget:
            raise self.unavailable()
        return None

    async def _wait(self, caller: Caller, arrived: float) -> None:
        waiting = FutureCaller(caller.gone)
        self.park(Call("", "", waiting, arrived))
        if await waiting.reply is not _DONE:
            raise self.unavailable()

    async def commit(self, position: int, longest: float) -> None:
        """Wait until everything up to `position` is durable; raises Unavailable after `longest` seconds."""
        journal = self.executor.journal
        if journal is None:
            raise self.unavailable(executed=True)
        if position > journal.committed:
            caller = FutureCaller(lambda: False)
            call = Call("", "", caller, monotonic() + longest - self.limits.budget)
            self._waiting.add(Waiting(position, call, _DONE))
            reply = await caller.reply
            if reply is not _DONE:
                raise self.unavailable(executed=True)

    def unavailable(self, executed: bool = False) -> Unavailable:
        """Why a call cannot be answered now."""
        if executed:
            what = "executed, but the database has not confirmed it in time; it may still take effect"
            return Unavailable(what, where="journal", expected="to be asked again: repeating is harmless")
        journal = self.executor.journal
        reason = self.gate.reason
        if reason is None:
            reason = "the database does not keep up" if journal is not None and journal.full else "busy"
        return Unavailable(f"not executed: {reason}", where="gate", expected="to be asked again")

    def committed(self) -> None:
        """The journal has committed: answer who waited for it, and let the next ones in."""
        journal = self.executor.journal
        if journal is None:
            return
        for waiting in self._waiting.take_done(journal.committed):
            self._finish(waiting.call, waiting.reply)
        if self._parked:
            self._unpark_soon()

    # -- inside ------------------------------------------------------------------------------------------------

    def _execute(self, call: Call, arguments: dict[str, Any] | None = None) -> None:
        """Execute a call, if the executor is ready; a large one by and by."""
        if self.large.may_be_large(call) and self.large.take(call, arguments):
            return
        self._do(call, arguments)

    def _resume(self, call: Call, arguments: dict[str, Any] | None) -> None:
        """From the large calls: little is left to do of this one; or (None) this node does not execute any more."""
        if call.caller.gone():
            self._drop(call)
        elif arguments is None or not self.executor.ready:
            self._hold(call)
        else:
            self._do(call, arguments)

    def _do(self, call: Call, arguments: dict[str, Any] | None) -> None:
        before = self.executor.engine
        raised_before = before is not None and before.raising
        reply, position = self.executor.execute(call, arguments)
        engine = self.executor.engine
        if engine is not None and engine.unsettled:
            self.large.settle_soon()
            if engine.raising and not raised_before:  # not done before all of it is stored
                self._settling.append(Waiting(position, call, reply))
                return
        self._reply_at(position, call, reply)

    def _settled(self) -> None:
        """From the large calls: what their changes concern has been reached, and handed to the journal."""
        settling, self._settling = self._settling, []
        journal = self.executor.journal
        for waiting in settling:
            self._reply_at(waiting.position if journal is None else journal.appended, waiting.call, waiting.reply)

    def _reply_at(self, position: int, call: Call, reply: Reply) -> None:
        """Answer once everything up to `position` is durable."""
        journal = self.executor.journal
        if journal is None:
            self._finish(call, self.unavailable(executed=True).reply())
            return
        if position <= journal.committed:
            self._finish(call, reply)
        elif len(self._waiting) >= self.limits.max_waiting:
            self._finish(call, self.unavailable(executed=True).reply())
        else:
            self._waiting.add(Waiting(position, call, reply))

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
        if call.caller.gone():
            self._drop(call)
        elif call.method in SLICED_VIEWS:  # who asked for it looks again
            call.caller.answer(_DONE)
        elif self._parked or not self.executor.ready:
            self.park(call)
        else:
            self._execute(call)

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
            if not self.executor.ready:
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
                self._execute(call)

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
