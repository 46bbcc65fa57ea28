"""The fast lane: a plain `POST /api/<method>` form, answered without a framework, a task or a timer.

An add_task through a full HTTP framework costs about 140 us of processor time, of which the scheduler needs 30. What
luigi's clients send is always the same shape, so a connection starts here; its first request that is anything else
(another method or path, chunked, HTTP/1.0, malformed, a large body) moves the whole connection over to aiohttp, with
every byte it has sent. That is for good: a connection never comes back.

Invariants
* Whatever is answered here would have been understood in the same way by aiohttp. In doubt, move over.
* The work for a connection grows with the bytes it sends, not with how they are cut; one request is done in one turn of
  the loop, then others have theirs.
* A connection holds one request and AHEAD bytes, and one reply that its client has not read. Beyond that nothing is
  read from it.
* A body is kept only of callers who may call. Of others it is counted off and forgotten.
"""

import asyncio
from typing import NamedTuple, cast

from luigi_ha.appliance.api import wire
from luigi_ha.appliance.api.calls import Call
from luigi_ha.appliance.api.errors import NotReady, Refusal, Reply
from luigi_ha.appliance.api.heads import MAX_HEAD, Head, head_of
from luigi_ha.appliance.api.lanes import Lanes
from luigi_ha.appliance.api.traffic import FREE, FULL
from luigi_ha.appliance.clock import monotonic

AHEAD = 1 << 16  # bytes that may lie ahead of the request that is being done
READ_WITHIN = 30.0  # s in which a client reads something of what waits for it
REPLY_TIMEOUT = 300.0  # s for a client to take a whole reply


class Unread(NamedTuple):
    """Of replies to a client that does not read as fast as they come."""

    size: int  # bytes
    since: float  # monotonic


class FastLane(asyncio.Protocol):
    """One connection, until it moves over. It is its own `Caller`: one call at a time."""

    __slots__ = (
        "_buffer",
        "_busy",
        "_close",
        "_head",
        "_known",
        "_lanes",
        "_local",
        "_paused",
        "_resuming",
        "_seen",
        "_share",
        "_skip",
        "_start",
        "_transport",
        "_unread",
        "_unread_since",
        "served",
        "used",
    )

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._transport: asyncio.Transport | None = None
        self._share = lanes.traffic.share()
        self._buffer = bytearray()
        self._seen = 0  # bytes of the buffer in which no head ends
        self._head: Head | None = None  # of the request whose body is awaited
        self._start = 0  # where that body begins
        self._skip = 0  # bytes of a refused request's body that are still to come
        self._busy = False
        self._close = False
        self._resuming = False  # the next request has its turn soon
        self._paused = False  # nothing is read from the socket
        self._unread_since = 0.0  # monotonic: since when the client has not read its replies; 0: it has
        self._unread = Unread(0, 0.0)  # how much of them it had left when it was last seen to read
        self._known = False  # whether the caller of the request at hand showed who they are
        self._local = False  # a Unix socket: no browser gets there
        self.used = 0.0  # monotonic time of the last sign of life
        self.served = False  # whether a request has been answered: if not, one may be on its way

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._local = not isinstance(transport.get_extra_info("sockname"), tuple)
        self.used = monotonic()
        if not self._lanes.has_room():
            self._transport.abort()
            return
        self._lanes.connections[self] = None

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._transport = None
        self._buffer = bytearray()
        self._share.close()
        self._lanes.connections.pop(self, None)

    # -- reading -----------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
            if not self._skip and self._close:
                self._end()
                return
        if self._busy or self._resuming or self._unread_since:
            self._buffer += data
            self._hold_back()
        elif self._buffer or not self._take_whole(data):
            self._buffer += data
            self._next()

    def _take_whole(self, data: bytes) -> bool:
        """Do a request that comes in one piece, as nearly all do; False: it does not, or is not for this lane."""
        end = data.find(b"\r\n\r\n")
        head = None if end < 0 else head_of(data[:end])
        if head is None or len(data) != end + 4 + head.length or head.length > FREE:
            return False
        verdict = self._verdict(head)
        if type(verdict) is Head:
            self._busy = True
            self._do(verdict, data[end + 4 :])
        elif type(verdict) is Reply:
            self._busy = True
            self._reject(verdict, head)
        return verdict is not None

    def _hold_back(self) -> None:
        """Read nothing more while enough lies ahead."""
        if len(self._buffer) > AHEAD and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def _read_on(self) -> None:
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def _next(self) -> None:
        """Take the next request out of the buffer, if it is complete."""
        if self._head is None and not self._take_head():
            return
        head = self._head
        assert head is not None  # noqa: S101 - just taken
        buffer, stop = self._buffer, self._start + head.length
        if stop > FREE and not self._share.hold(min(len(buffer), stop), self._known):
            self._skip_to(stop)
            self._busy = True
            self._reject(FULL, head)
            return
        if len(buffer) < stop:
            self._read_on()
            return
        body = bytes(memoryview(buffer)[self._start : stop])
        del buffer[:stop]
        self._head, self._seen = None, 0
        self._busy = True
        self._do(head, body)

    def _take_head(self) -> bool:
        """Read the head of the next request, and ask whether its caller may call: before its body is kept."""
        buffer = self._buffer
        end = buffer.find(b"\r\n\r\n", self._seen)
        if end < 0:
            # Even what is not ours stays here until its head is whole: idle connections are closed here.
            self._seen = max(0, len(buffer) - 3)
            if len(buffer) > MAX_HEAD:
                self._move_over()
            else:
                self._read_on()
            return False
        head = head_of(bytes(memoryview(buffer)[:end]))
        verdict = None if head is None else self._verdict(head)
        if head is None or verdict is None:
            self._move_over()
            return False
        if type(verdict) is Reply:
            self._skip_to(end + 4 + head.length)
            self._busy = True
            self._reject(verdict, head)
            return False
        assert type(verdict) is Head  # noqa: S101 - what is left
        self._head, self._start = verdict, end + 4
        return True

    def _verdict(self, head: Head) -> Head | Reply | None:
        """Ask whether the caller may call. The head, with who it is; a refusal; or None: the other lane is to say."""
        lanes = self._lanes
        if not (self._local or lanes.browsers.is_own_host(head.host)):
            return None
        if head.length > lanes.dispatcher.limits.body_of(head.method):
            return None
        try:
            actor = lanes.admit("POST", f"/api/{head.method}", head.terms.authorization)
        except NotReady:  # the other lane can wait
            return None
        except Refusal as refusal:
            return refusal.reply()
        self.used = monotonic()
        self._close = self._close or head.close
        self._known = actor is not None
        return head if actor is None else head._replace(terms=head.terms._replace(actor=actor))

    def _do(self, head: Head, body: bytes) -> None:
        turns = self._lanes.turns
        if turns.over and turns.is_heavy(head.method):
            asyncio.get_running_loop().call_soon(self._do, head, body)
            return
        if self._transport is None:
            return
        arrived = self.used = monotonic()
        dispatcher = self._lanes.dispatcher
        try:
            text = wire.form_data(body)
        except Refusal as refusal:
            dispatcher.metrics.call(head.method, refusal.status, 0.0)
            self.answer(refusal.reply())
            return
        dispatcher.submit(Call(head.method, "{}" if text is None else text, self, arrived, head.terms))
        turns.took(head.method, monotonic() - arrived)

    def _reject(self, reply: Reply, head: Head) -> None:
        """Answer a request that was not done."""
        self.used = monotonic()
        self._close = self._close or head.close
        self._lanes.dispatcher.metrics.call(head.method, reply.status, 0.0)
        self.answer(reply)
        if self._skip:
            self._read_on()

    def _skip_to(self, stop: int) -> None:
        """Forget the request that ends at `stop`; what of it is still to come is not kept."""
        self._skip = max(0, stop - len(self._buffer))
        del self._buffer[:stop]
        self._head, self._seen = None, 0

    def _move_over(self) -> None:
        self._read_on()
        transport, data = self._transport, bytes(self._buffer)
        self._lanes.connections.pop(self, None)
        self._share.close()
        self._transport = None
        self._buffer = bytearray()
        if transport is None or transport.is_closing():
            return
        lane = self._lanes.other()
        transport.set_protocol(lane)
        lane.connection_made(transport)
        if data:
            lane.data_received(data)

    # -- Caller ------------------------------------------------------------------------------------------------

    def gone(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def answer(self, reply: Reply) -> None:
        transport = self._transport
        self._busy = False
        self.served = True
        if transport is None or transport.is_closing():
            self._share.close()
            return
        if len(reply.body) > FREE and not self._share.hold(len(reply.body), self._known):
            reply = FULL
        head = self._lanes.heads(reply.status, self._close)
        if reply.retry_after is None:
            transport.write(b"%b%d\r\n\r\n%b" % (head, len(reply.body), reply.body))
        else:
            after = b"%d\r\nRetry-After: %d" % (len(reply.body), reply.retry_after)
            transport.write(b"%b%b\r\n\r\n%b" % (head, after, reply.body))
        if not self._unread_since:
            self._share.close()
        if self._close:
            self._end()
        elif self._buffer:
            self._resume_soon()
        elif not self._unread_since:
            self._read_on()

    def _end(self) -> None:
        """Close. What is left of a refused request is read first: unread, it would reset the connection under the
        reply."""
        if self._transport is not None and not self._skip:
            self._transport.close()

    def _resume_soon(self) -> None:
        """Not at once: a client that sends many requests ahead must not hold the loop, nor deepen the stack."""
        if not self._resuming and not self._unread_since:
            self._resuming = True
            asyncio.get_running_loop().call_soon(self._resume)

    def _resume(self) -> None:
        self._resuming = False
        if self._transport is not None and not self._busy and not self._unread_since and self._buffer:
            if len(self._buffer) <= AHEAD:
                self._read_on()
            self._next()

    def pause_writing(self) -> None:
        """The client does not read: nothing more is done for it until it does."""
        self._unread_since = monotonic()
        self._hold_back()

    def resume_writing(self) -> None:
        self._unread_since = 0.0
        self._unread = Unread(0, 0.0)
        if not self._busy:
            self._share.close()
        self.used = monotonic()
        if self._buffer:
            self._resume_soon()
        else:
            self._read_on()

    # -- for the server ----------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a call of this connection is being done or waits."""
        return self._busy

    def close_if_unread(self, now: float) -> None:
        """Close at once if its client has read nothing for READ_WITHIN seconds, or takes too long over it."""
        transport = self._transport
        size = 0 if transport is None else transport.get_write_buffer_size()
        if transport is None or not (self._unread_since or (size and transport.is_closing())):
            return
        if not self._unread.since or size < self._unread.size:
            self._unread = Unread(size, now)
        seconds = now - (self._unread_since or self._unread.since)
        if now - self._unread.since > READ_WITHIN or seconds > REPLY_TIMEOUT:
            self._lanes.traffic.slow_reader(size, seconds)
            transport.abort()

    def abort(self) -> None:
        """Close at once, whatever is unread."""
        if self._transport is not None:
            self._transport.abort()

    def shut(self, reply: Reply | None = None) -> None:
        """Close when idle (or at once with this reply, if a call waits); otherwise after the reply."""
        if self._transport is None:
            return
        self._close = True
        if not self._busy:
            self._skip = 0
            self._transport.close()
        elif reply is not None:
            self.answer(reply)
