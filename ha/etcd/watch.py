"""Following a prefix: what is there now, then every change, through the loss of any endpoint.

No event is lost and none is delivered twice: each stream begins at the revision after the last one delivered. If etcd
has compacted that away, the prefix is listed anew (the states in between are then skipped, not the state itself).
A stream that says nothing is not trusted: after `probe_every` seconds its own endpoint is asked with a linearizable
read. If that does not answer, or knows what the stream has not told, the watch goes on elsewhere. (Watches that were
re-synced once and never again left an address on two nodes for a week: vip-manager#394, vip-manager#431.)
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass

from luigi_ha.ha.errors import Unknown
from luigi_ha.ha.etcd.transport import Compacted, Item, Stream, Transport
from luigi_ha.ha.log import Events

FIRST_PAUSE = 0.02  # s, after a failure; doubles with each one that follows, up to
LONGEST_PAUSE = 0.5
GRACE = 0.25  # s that events already seen by a read may still take to arrive on the stream

_log = Events("watch")


@dataclass(frozen=True, slots=True)
class Step:
    """The state of the prefix after some events; `events` is empty after a listing."""

    revision: int
    items: Mapping[str, Item]
    events: tuple[Item | str, ...]


async def follow(transport: Transport, prefix: str, budget: float, probe_every: float) -> AsyncGenerator[Step, None]:
    """The listing, then a step for each batch of events. `budget`: seconds for each call. Raises Fatal only."""
    step: Step | None = None
    pause = FIRST_PAUSE
    while True:
        try:
            if step is None:
                listing = await transport.read(prefix, budget)
                step = Step(listing.header.revision, listing.items, ())
                yield step
            stream = await transport.stream(prefix, step.revision + 1, budget)
            try:
                async with aclosing(_steps(stream, step, budget, probe_every)) as steps:
                    async for step in steps:  # the last one is where to resume
                        pause = FIRST_PAUSE
                        yield step
            finally:
                await stream.close()
        except Compacted as error:
            _log.warning("watch_compacted", prefix=prefix, error=str(error))
            step = None
            await asyncio.sleep(pause)
        except Unknown as error:
            if pause == FIRST_PAUSE:  # once for each time of trouble
                _log.info("watch_resumes", prefix=prefix, revision=step.revision if step else 0, error=str(error))
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)


async def _steps(stream: Stream, step: Step, budget: float, probe_every: float) -> AsyncGenerator[Step, None]:
    """Ends by an error of the stream, or Unknown if it is found silent."""
    while True:
        batch = await stream.next(probe_every)
        if batch is None:
            known = (await stream.probe(min(budget, probe_every))).items
            if known == step.items:
                continue
            batch = await stream.next(GRACE)
            if batch is None:
                raise Unknown("a silent stream: its endpoint knows what it has not told")
        if batch.revision <= step.revision:
            continue
        items = dict(step.items)
        for event in batch.events:
            if isinstance(event, Item):
                items[event.key] = event
            else:
                items.pop(event, None)
        step = Step(batch.revision, items, tuple(batch.events))
        yield step
