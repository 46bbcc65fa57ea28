"""One watch at one endpoint, whatever carries it. It ends with the connection; `luigi_ha.ha.etcd.watch` resumes."""

import asyncio
from typing import Protocol

from luigi_ha.ha.errors import HaError, Unknown
from luigi_ha.ha.etcd.endpoints import Endpoints
from luigi_ha.ha.etcd.failures import TokenRefused, of_text
from luigi_ha.ha.etcd.tokens import Tokens
from luigi_ha.ha.etcd.transport import Batch, Compacted, Listing


class Owner(Protocol):
    """The transport that a stream belongs to."""

    @property
    def endpoints(self) -> Endpoints: ...

    @property
    def tokens(self) -> Tokens: ...


class ReadStream:
    """See `luigi_ha.ha.etcd.transport.Stream`. A task reads the connection, because cancelling a half-read message
    would lose it; `next` takes from its queue. A subclass says how messages arrive (`messages`), and how to ask.
    """

    def __init__(self, owner: Owner, endpoint: str) -> None:
        self.endpoint = endpoint
        self._owner = owner
        self._arrived: asyncio.Queue[Batch | HaError] = asyncio.Queue()
        self._created: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reader: asyncio.Task[None] | None = None
        self._ended: HaError | None = None

    async def messages(self) -> None:
        """Create the watch, and tell what arrives. Returns or raises an HaError when the connection has ended."""
        raise NotImplementedError

    async def ask(self, budget: float) -> Listing:
        """The prefix, by a linearizable read at this endpoint."""
        raise NotImplementedError

    # ------------------------------------------------------------------------------------------------ for the subclass

    def confirmed(self) -> None:
        """The endpoint has created the watch."""
        if not self._created.done():
            self._created.set_result(None)

    def arrived(self, batch: Batch) -> None:
        if batch.events:
            self._arrived.put_nowait(batch)

    def cancelled(self, reason: str, compact_revision: int, token: str | None) -> HaError:
        """The error for a watch that etcd has cancelled."""
        if compact_revision:
            return Compacted(f"events before revision {compact_revision} are gone")
        refused = of_text(reason or "cancelled by etcd")
        if isinstance(refused, TokenRefused):
            self._owner.tokens.forget(token)
        return refused

    # ----------------------------------------------------------------------------------------------------- for the user

    async def open(self, seconds: float) -> None:
        """Return when the endpoint has confirmed the watch."""
        self._reader = asyncio.create_task(self._read(), name=f"watch {self.endpoint}")
        try:
            async with asyncio.timeout(seconds):
                await asyncio.shield(self._created)
        except TimeoutError:
            raise Unknown(f"no answer to a watch within {seconds:.3g} s") from None

    async def next(self, seconds: float) -> Batch | None:
        if self._ended is not None:
            raise self._ended
        try:
            async with asyncio.timeout(seconds):
                arrived = await self._arrived.get()
        except TimeoutError:
            return None
        if isinstance(arrived, HaError):
            self._ended = arrived
            raise arrived
        return arrived

    async def probe(self, budget: float) -> Listing:
        try:
            listing = await self.ask(budget)
            self._owner.endpoints.accept(listing.header)
        except Unknown as error:
            self._owner.endpoints.leave(self.endpoint, error)
            raise
        return listing

    async def close(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader])
        if self._created.done() and not self._created.cancelled():
            self._created.exception()  # it has been raised by `open`, or nobody waits for it any more
        self._created.cancel()

    async def _read(self) -> None:
        """Ends with the stream; its end is an error in the queue."""
        try:
            await self.messages()
            error: HaError = Unknown("the stream ended")
        except HaError as found:
            error = found
        except (KeyError, TypeError, ValueError, AttributeError) as found:
            error = Unknown(f"a message that is not etcd's: {found!r}")
        if not self._created.done():
            self._created.set_exception(error)
        self._arrived.put_nowait(error)
