"""The state of a node that does not lead: an engine that follows the leader's log.

Invariants
* The engine holds exactly what the log says at `position`; the chain of hashes proves it wherever a reading reaches the
  log's end. An engine for which that is not so is thrown away, and loaded anew.
* Everything is applied on the event loop, in slices: readers of the engine never see half a record.

What a promotion has to read is what happened since the last look, LOOK_EVERY seconds ago: never the state tables.
"""

import asyncio
import contextlib
import gc
import random
from collections.abc import Callable

from luigi_ha.appliance import log
from luigi_ha.appliance.clock import SchedulerClock, monotonic
from luigi_ha.appliance.config import Options
from luigi_ha.appliance.engine import Scheduler
from luigi_ha.appliance.engine.changes import Change
from luigi_ha.appliance.node.evidence import Reaching
from luigi_ha.appliance.store import DatabaseAway, NotAPrefix, Position, SchemaMissing, Snapshot, Store, Unusable
from luigi_ha.appliance.store.tailing import Tail, TailReader

LOOK_EVERY = 0.05  # s between two looks at the log's end
AWAY_EVERY = 0.25  # s, while the database is away
SLICE = 200  # records applied before others get a turn
# Full collections of a state of millions of objects would stop everything for seconds; young ones suffice here.
GC_THRESHOLDS = (20_000, 50, 1000)
_log = log.get("mirror")


def build(snapshot: Snapshot, options: Options, clock: SchedulerClock) -> Scheduler:
    """A new engine with the state of the database. On a thread: nothing else knows this engine yet."""
    clock.not_before(snapshot.last_time)
    gc.unfreeze()
    gc.collect()  # the engine before, if there was one: a large cycle of objects
    engine = Scheduler(options.scheduler, resources=options.resources, clock=clock, random=random.SystemRandom())
    # What is loaded lives as long as the process: the garbage collector need not walk it again and again.
    gc.disable()
    try:
        engine.restore(snapshot.records)
    finally:
        gc.freeze()
        gc.enable()
    gc.set_threshold(*GC_THRESHOLDS)
    return engine


class Mirror:
    """See the module. `luigi_ha.appliance.api.calls.Mirror` for those who show it."""

    def __init__(self, engine: Scheduler, position: Position, clock: SchedulerClock) -> None:
        self.engine = engine
        self.position = position
        self.behind = 0  # events in the log that are not applied yet, as far as is known
        self.away: str | None = None  # why the database cannot be read now
        self.reaching = Reaching()
        self._clock = clock
        self._present_at = monotonic()  # when `position` was certainly the log's end
        self._reader: TailReader | None = None
        self._reading = False
        self._wanted = asyncio.Event()  # somebody waits for the present
        self._looked: asyncio.Future[None] | None = None  # done after the next look

    @property
    def seq(self) -> int:
        return self.position.seq

    @property
    def age(self) -> float:
        """Seconds since what it shows was certainly the present."""
        return monotonic() - self._present_at

    async def catch_up_with(self, moment: float, longest: float) -> bool:
        """See `luigi_ha.appliance.api.calls.Mirror`. What was acknowledged is in the database: a reading that begins
        after that moment and reaches the log's end has it."""
        until = monotonic() + longest
        while self._present_at < moment:
            self._looked = looked = self._looked or asyncio.get_running_loop().create_future()
            self._wanted.set()
            try:
                async with asyncio.timeout(max(0.0, until - monotonic())):
                    await asyncio.shield(looked)
            except TimeoutError:
                return False
        return True

    def use(self, store: Store) -> None:
        """Read through a connection of its own from now on. One that hangs is left behind with its thread."""
        self.close()
        self._reader = store.tail_reader()

    async def step(self, limit: int = 5000) -> Tail:
        """Read once and apply. Raises what `TailReader.read` raises."""
        reader, asked_at = self._reader, monotonic()
        assert reader is not None  # noqa: S101 - `use` comes first
        tail = await asyncio.to_thread(self._read, reader, limit)
        if reader is not self._reader:
            raise DatabaseAway("another connection is used by now")
        self._clock.not_before(tail.last_time)
        records = tail.records
        for start in range(0, len(records), SLICE):
            self._apply(records[start : start + SLICE])
            await asyncio.sleep(0)
            while self.engine.unsettled:  # the leader's large changes reach as many tasks here
                self.engine.settle(SLICE * 5)
                await asyncio.sleep(0)
        self.position, self.behind, self.away = tail.position, tail.behind, None
        self.reaching.read(asked_at)
        if not tail.behind:
            self._present_at = asked_at
        return tail

    def _apply(self, records: list[Change]) -> None:
        """A tail that stops short may belong to another log, and then need not make sense."""
        try:
            self.engine.follow(records)
        except Exception as error:
            raise NotAPrefix(f"a record that does not fit the mirror: {type(error).__name__}: {error}") from error

    async def follow(self, stepped: Callable[[], None]) -> None:
        """For ever: step, tell `stepped`, wait a moment. NotAPrefix and what is final come out."""
        said = 0.0
        while True:
            try:
                tail = await self.step()
            except (DatabaseAway, Unusable, SchemaMissing) as error:  # a file may be put back
                self.away = str(error)
                self.reaching.failed()
                if monotonic() - said > 30:
                    said = monotonic()
                    _log.warning("mirror_waits", error=self.away, age=self.age)
                stepped()
                await asyncio.sleep(AWAY_EVERY)
                continue
            stepped()
            looked, self._looked = self._looked, None
            if looked is not None:
                looked.set_result(None)
            if not tail.more:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_EVERY):
                        await self._wanted.wait()
            self._wanted.clear()

    async def catch_up(self, end: Position) -> int:
        """Read up to `end`, which nobody can move any more; how many events that were."""
        before = self.seq
        while self.seq < end.seq:
            await self.step()
        if (self.seq, self.position.hash) != (end.seq, end.hash):
            raise NotAPrefix(f"the mirror is at {self.seq} ({self.position.hash}), the log at {end.seq} ({end.hash})")
        return self.seq - before

    def _read(self, reader: TailReader, limit: int) -> Tail:
        """On a thread. A reader that was given up meanwhile is closed here, where nobody else uses it."""
        self._reading = True
        try:
            return reader.read(self.position, limit)
        finally:
            self._reading = False
            if reader is not self._reader:
                reader.close()

    def close(self) -> None:
        """Read no more."""
        reader, self._reader = self._reader, None
        if reader is not None and not self._reading:
            reader.close()
