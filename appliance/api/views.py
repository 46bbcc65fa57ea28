"""Large views (dependency graphs, task lists), made in slices so that nobody waits for them.

A view of 100,000 tasks is seconds of work. It is iterated item by item for at most SLICE seconds at a time; between
slices the loop serves everybody else. At most HEAVY views are made at once. Identical requests share one making
as long as nothing has changed since it began; compression runs on another thread.

Invariant: the result is handed out only after the journal has committed everything the view may have seen.
Not promised: a snapshot. Calls executed between two slices may show in the later part of a view and not in the
earlier one, as with any paged reading.
"""

import asyncio
import json
import zlib
from collections.abc import Iterator
from functools import partial
from typing import Any

from luigi_ha.appliance.api import wire
from luigi_ha.appliance.api.calls import Call, Terms, signature_error
from luigi_ha.appliance.api.dispatch import Dispatcher
from luigi_ha.appliance.api.errors import BadRequest, Refusal, Reply, Unavailable
from luigi_ha.appliance.api.execute import failed_unchanged
from luigi_ha.appliance.api.ports import Caller, Engine
from luigi_ha.appliance.clock import monotonic
from luigi_ha.appliance.engine import BadArgument

HEAVY = 2
SLICE = 0.002  # s
PIECE = 1 << 18  # bytes handed to the socket, or to the compressor, at a time
WIDE = 50  # entries; a wider object is encoded entry by entry
OWN_WRITES = 0.1  # s that a view waits until a mirror shows what was acknowledged before
COMPRESS_FROM = 1 << 14  # bytes; below, compressing costs more than it saves


class View:
    """One making of one view, and who waits for it."""

    __slots__ = ("began_at", "callers", "task")

    def __init__(self) -> None:
        self.callers: list[Caller] = []
        self.began_at: int | None = None  # journal position at the first slice; None: not begun
        self.task: asyncio.Task[list[bytes]] | None = None

    def wanted(self) -> bool:
        return any(not caller.gone() for caller in self.callers)


class Views:
    """Makes views on the executor's engine."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._executor = dispatcher.executor
        self._turn = asyncio.Semaphore(HEAVY)
        self._making: dict[tuple[str, str, bool], View] = {}

    async def fetch(
        self, method: str, data: str, caller: Caller, arrived: float, terms: Terms, *, compress: bool
    ) -> list[bytes] | Reply:
        """The body of the reply in pieces, gzipped if `compress` and it is worth it (then it begins with gzip's
        magic number); or the leader's whole reply, where there is no mirror yet. Raises Refusal."""
        arguments = wire.decode_arguments(data)
        elsewhere = await self._place(Call(method, data, caller, arrived, terms))
        if elsewhere is not None:
            return elsewhere
        key = (method, json.dumps(arguments, sort_keys=True), compress)
        view = self._making.get(key)
        if view is None or (view.began_at is not None and self._executor.stand != view.began_at):
            view = self._making[key] = View()
            view.callers.append(caller)
            making = asyncio.create_task(self._make(view, method, arguments, arrived, compress=compress))
            view.task = making
            making.add_done_callback(partial(self._forget, key, view))
        else:
            view.callers.append(caller)
            assert view.task is not None  # noqa: S101 - set where the view was made
            making = view.task
        return await asyncio.shield(making)

    async def _place(self, call: Call) -> Reply | None:
        """Wait until the view can be made here, and shows what its caller has been acknowledged; or the leader's reply.

        A mirror is some milliseconds behind. What was acknowledged before the question came has to show in the answer.
        """
        executor, dispatcher = self._executor, self._dispatcher
        while True:
            mirror = executor.mirror
            if mirror is not None and await mirror.catch_up_with(call.arrived, OWN_WRITES):
                return None
            if mirror is not None and (dispatcher.relay is None or call.terms.left is not None):
                return None  # old, and says so
            if mirror is None and (executor.journal is not None or dispatcher.relay is None):
                await dispatcher.turn(call.caller, call.arrived)
                if executor.ready:
                    return None
                continue
            reply = await dispatcher.elsewhere(call)
            if reply is not None:
                return reply
            if executor.mirror is not None and executor.mirror is mirror:
                return None  # the leader cannot be reached: what is here, with its age

    def _forget(self, key: tuple[str, str, bool], view: View, _made: asyncio.Task[list[bytes]]) -> None:
        if self._making.get(key) is view:
            del self._making[key]
        if view.task is not None and not view.task.cancelled():
            view.task.exception()  # whoever waited has seen it; nobody waiting is no accident

    async def _make(
        self, view: View, method: str, arguments: dict[str, Any], arrived: float, *, compress: bool
    ) -> list[bytes]:
        budget = self._dispatcher.limits.budget
        try:
            async with asyncio.timeout(max(0.0, arrived + budget - monotonic())):
                await self._turn.acquire()
        except TimeoutError:
            what = f"{HEAVY} large views are being made already"
            raise Unavailable(what, where=method, expected="to be asked again later") from None
        try:
            dispatcher, executor = self._dispatcher, self._executor
            engine, mirrored, began_at = executor.engine, executor.mirror is not None, executor.stand
            if engine is None or began_at is None or not (mirrored or dispatcher.gate.is_open):
                raise dispatcher.unavailable()
            view.began_at = began_at
            pieces = await self._iterate(view, engine, method, arguments)
            if not mirrored and executor.journal is not None:
                await dispatcher.commit(executor.journal.appended, budget)
            if compress and sum(map(len, pieces)) >= COMPRESS_FROM:
                return await _compress(pieces)
            return pieces
        finally:
            self._turn.release()

    async def _iterate(self, view: View, engine: Engine, method: str, arguments: dict[str, Any]) -> list[bytes]:
        """The JSON text of the reply, in pieces of about PIECE bytes."""
        executor = self._executor
        pieces: list[bytes] = []
        texts: list[str] = ['{"response": {']
        size = 0
        items: Iterator[str] | None = None
        while True:
            until = monotonic() + SLICE
            try:
                if items is None:
                    items = _texts(engine.view(method, **arguments))
                for text in items:
                    texts.append(text)
                    size += len(text)
                    if monotonic() > until:
                        break
                else:
                    break
            except BadArgument as error:
                raise BadRequest(error.problem, where=error.argument, expected=error.expected) from error
            except Exception as error:
                raise self._failed(engine, method, arguments, error) from error
            finally:
                executor.record(method)  # a view may prune before it looks
            if size >= PIECE:
                pieces.append("".join(texts).encode("ascii"))
                texts, size = [], 0
            await asyncio.sleep(0)
            if executor.engine is not engine:
                raise self._dispatcher.unavailable()
            if not view.wanted():
                raise Unavailable("the client has gone", where=method, expected="nothing")
        pieces.append("".join([*texts, "}}"]).encode("ascii"))
        return pieces


    def _failed(self, engine: Engine, method: str, arguments: dict[str, Any], error: Exception) -> Refusal:
        """Why a view could not be made. It may have pruned before it looked: only then is the engine in doubt."""
        bad = signature_error(method, getattr(engine, method), arguments, error)
        if bad is not None:
            return bad
        if not engine.unchanged:
            return self._executor.broken(method, error)
        return failed_unchanged(method, error)


def _texts(items: Iterator[tuple[str, Any] | None], separator: str = "") -> Iterator[str]:
    """The inside of a JSON object, in small texts; "" where the engine offers a pause."""
    for item in items:
        if item is None:
            yield ""
            continue
        key, value = item
        if type(value) is dict and len(value) > WIDE:
            yield f"{separator}{wire.encode_value(key)}: {{"
            yield from _texts(iter(value.items()))
            yield "}"
        else:
            yield f"{separator}{wire.encode_value(key)}: {wire.encode_value(value)}"
        separator = ", "


async def _compress(pieces: list[bytes]) -> list[bytes]:
    loop = asyncio.get_running_loop()
    gzip = zlib.compressobj(level=4, wbits=31)
    packed = [await loop.run_in_executor(None, gzip.compress, piece) for piece in pieces]
    packed.append(await loop.run_in_executor(None, gzip.flush))
    return [piece for piece in packed if piece]
