"""Large calls: decoded by and by, and done in portions, with a turn for others between two of them.

    dispatcher -> take(call) -> decode -> engine.portions -> ... -> dispatcher.resume(call, arguments)

A call about 300,000 tasks takes many seconds, and holds up nobody else for longer than one about a few hundred. One
at a time is done; the others wait for it. Its client may give up meanwhile, as luigi's does after 10 s: what has begun
goes on, so that the same call, when it comes again, finds most of it done.

Invariant: what a portion changed is handed to the journal before anything else happens to the engine.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from luigi_ha.appliance import log
from luigi_ha.appliance.api import large_text, wire
from luigi_ha.appliance.api.calls import Call
from luigi_ha.appliance.api.errors import BadRequest, Reply, Unavailable
from luigi_ha.appliance.api.execute import Prepared
from luigi_ha.appliance.api.executor import Executor
from luigi_ha.appliance.clock import monotonic
from luigi_ha.appliance.engine import BadArgument

MANY = frozenset({"add_task", "rest_put_task", "rest_put_tasks"})  # that may be about thousands of tasks
FEW = 4_000  # characters in which no thousand tasks can be named
BACKLOG = 1_000  # records that may wait for the database before the next portion
SETTLED_AT_ONCE = 500  # tasks that one slice of a large change reaches
LOOK_EVERY = 0.005  # s between two looks at the journal
_log = log.get("api")
IN_PORTIONS = Unavailable(
    "a large call, which is being done in portions; it goes on",
    where="scheduler",
    expected="the same call again: it finds what has been done so far",
).reply()


class Told:
    """Whether a call's client was told, before it was done, to ask again."""

    __slots__ = ("told",)

    def __init__(self) -> None:
        self.told = False


class LargeCalls:
    """Takes large calls out of the way of others, and gives them back when little is left to do."""

    def __init__(self, executor: Executor, budget: float, give_back: Callable[[Call, dict[str, Any] | None], None],
                 finish: Callable[[Call, Reply], None], settled: Callable[[], None]) -> None:  # fmt: skip
        """`give_back(call, arguments)`: it can be executed now, or (None) it has to be asked elsewhere."""
        self._executor = executor
        self._budget = budget
        self._give_back = give_back
        self._finish = finish
        self._settled = settled
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._settling = False

    def __len__(self) -> int:
        """How many are being done, or wait for their turn."""
        return len(self._tasks)

    @staticmethod
    def may_be_large(call: Call) -> bool:
        """Whether this call needs a look, by its size: cheap, for it is asked of every call."""
        size = len(call.data)
        return size > FEW and (size > large_text.LARGE or call.method in MANY)

    def take(self, call: Call, arguments: dict[str, Any] | None) -> bool:
        """Take over a call that `may_be_large`; False: it is not, do it as ever."""
        if len(call.data) <= large_text.LARGE:
            try:
                arguments = wire.decode_arguments(call.data) if arguments is None else arguments
            except BadRequest:
                return False  # that is found out again, and told
            if _portions_of(self._executor, call, arguments) is None:
                return False
        elif arguments is not None and call.method not in MANY:
            return False
        task = asyncio.get_running_loop().create_task(self._run(call, arguments))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _run(self, call: Call, arguments: dict[str, Any] | None) -> None:
        try:
            if arguments is None:
                arguments = await large_text.arguments(call.data)
            async with asyncio.timeout(max(0.0, call.arrived + self._budget - monotonic())):
                await self._turn.acquire()
        except BadRequest as refusal:
            self._finish(call, refusal.reply())
            return
        except TimeoutError:
            what = "not executed: another large call is being done"
            self._finish(call, Unavailable(what, where=call.method, expected="to be asked again").reply())
            return
        told = Told()
        try:
            prepared = await self._prepare(call, arguments, told)
        except (BadRequest, Unavailable) as refusal:
            if not told.told:
                self._finish(call, refusal.reply())
        else:
            if not told.told:
                self._give_back(call, prepared)
        finally:
            self._turn.release()

    async def _prepare(self, call: Call, arguments: dict[str, Any], told: "Told") -> dict[str, Any] | None:
        """Do the call's portions; the arguments that are left. None: this node does not execute any more."""
        executor, engine = self._executor, self._executor.engine
        if not executor.ready:
            return None
        key = call.terms.key
        repeated = key is not None and engine is not None and engine.answered(key) is not None
        portions = None if repeated else _portions_of(executor, call, arguments)
        if portions is None:
            return arguments
        began, result = monotonic(), None

        def tell() -> None:
            told.told = True
            self._finish(call, IN_PORTIONS)

        early = asyncio.get_running_loop().call_later(call.arrived + self._budget - began, tell)
        try:
            while result is None and executor.engine is engine and executor.ready:
                result = self._advance(call, arguments, portions)
                await self._breathe()
        finally:
            early.cancel()
        seconds = monotonic() - began
        if seconds > 1.0:
            _log.info("large_call", method=call.method, seconds=seconds, answered_early=told.told)
        return None if result is None else Prepared(result)

    def _advance(
        self, call: Call, arguments: dict[str, Any], portions: large_text.Pieces[dict[str, Any]]
    ) -> dict[str, Any] | None:
        """Do portions for one slice of time; what is left of the arguments, once all are done."""
        executor, method = self._executor, call.method
        worker = arguments.get("worker")
        actor = call.terms.actor or (worker if type(worker) is str else None)
        try:
            until = monotonic() + large_text.SLICE
            while monotonic() < until:
                next(portions)
        except StopIteration as ended:
            result: dict[str, Any] = ended.value
            return result
        except BadArgument as error:
            raise BadRequest(error.problem, where=error.argument, expected=error.expected) from error
        except Exception as error:
            refusal = executor.broken(method, error)
            raise Unavailable(refusal.what, where=refusal.where, expected=refusal.expected) from error
        finally:
            executor.record(method, actor)
        return None

    async def _breathe(self) -> None:
        """Let others have their turn, and the database catch up."""
        await asyncio.sleep(0)
        journal = self._executor.journal
        while journal is not None and journal.appended - journal.committed > BACKLOG:
            await asyncio.sleep(LOOK_EVERY)
            if journal is not self._executor.journal or not self._executor.ready:
                return

    # -- what large changes leave to do ----------------------------------------------------------------------------

    def settle_soon(self) -> None:
        """See to it that a change which concerns many tasks reaches them all, between other calls."""
        if not self._settling:
            self._settling = True
            asyncio.get_running_loop().call_soon(self._settle)

    def _settle(self) -> None:
        self._settling = False
        executor, engine = self._executor, self._executor.engine
        if engine is not None and executor.journal is not None:
            engine.settle(SETTLED_AT_ONCE)
            executor.record("settle")
            if engine.unsettled:
                self.settle_soon()
                return
        self._settled()


def _portions_of(
    executor: Executor, call: Call, arguments: dict[str, Any]
) -> large_text.Pieces[dict[str, Any]] | None:
    engine = executor.engine
    if engine is None or call.method not in MANY:
        return None
    return engine.portions(call.method, arguments)
