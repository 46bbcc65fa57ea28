"""The address by netlink: see `luigi_ha.ha.vip.port` for what it promises and `luigi_ha.ha.vip.holder` for how.

A thread of its own does all of it: netlink can stand still for as long as anybody in the kernel holds its lock, and a
renewal must not wait for that. The event loop only leaves the deadline and a request to look at it; if the thread has
not done so within PATIENCE, the call returns, and the thread goes on with the deadline that is then valid.
"""

import asyncio
import contextlib
import math
import select
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future

from luigi_ha.ha.clock import Clock, monotonic
from luigi_ha.ha.errors import Unusable
from luigi_ha.ha.log import Events
from luigi_ha.ha.vip.callers import Callers
from luigi_ha.ha.vip.configured import configured
from luigi_ha.ha.vip.holder import Holder
from luigi_ha.ha.vip.kernel import Kernel, watching
from luigi_ha.ha.vip.refusals import Refusals, RefusalsError
from luigi_ha.ha.vip.sweep import must_be_able, remove

PATIENCE = 1.0  # s that a call waits for the thread
PROBE = 0.1  # s to wait for somebody's answer; hosts on one segment answer within some milliseconds
_LONGEST_WAIT = 1.0

_log = Events("vip")


class NetlinkAddress:
    """See `Address`. `addresses`: like 10.9.0.100/24, fd00::100/64. Unusable if one is not an address for a host.

    Needs CAP_NET_ADMIN and CAP_NET_RAW, nothing else of root's. `refusals`, if given, are suppressed from before the
    first addition until the addresses are gone in order. Callers of `port` who come while the addresses move are passed
    on to the next holder.
    """

    def __init__(
        self,
        addresses: Iterable[str],
        interface: str,
        *,
        refusals: Refusals | None = None,
        port: int | None = None,
        clock: Clock = monotonic,
    ) -> None:
        self._vips = configured(addresses)
        if not self._vips:
            raise Unusable("no virtual address is given; expected at least one, like 10.9.0.100/24")
        self._interface = interface
        self._refusals = refusals
        self._port = port
        self._clock = clock
        self._thread: _Thread | None = None

    async def start(self) -> None:
        if self._thread is not None:
            return
        try:
            kernel = Kernel()
        except OSError as error:
            raise Unusable(f"netlink: {error.strerror}; expected a socket for questions about addresses") from error
        ips = [vip.ip for vip in self._vips]
        callers = None if self._port is None else Callers(ips, self._port, self._clock)
        thread = _Thread(Holder(kernel, self._vips, self._interface, self._clock, callers), self._clock)

        def first() -> None:
            must_be_able(kernel, self._vips, self._interface)
            removed = remove(kernel, self._vips, self._interface)
            if removed:
                _log.warning("address_left_behind", addresses=" ".join(removed), interface=self._interface)
            thread.holder.look()

        asked = thread.ask(first)  # before anything else that it does
        thread.start()
        try:
            answered = await thread.answered(asked, 3 * PATIENCE)
        except BaseException:
            thread.stop()
            raise
        if not answered:
            thread.stop()
            raise Unusable(f"{self._interface}: no answer from netlink; expected one within {3 * PATIENCE:g} s")
        self._thread = thread
        if self._refusals is not None:
            await thread.do(self._refusals.suppress, 2 * PATIENCE)

    async def hold(self, until: float) -> None:
        thread = self._running()
        thread.holder.until = until
        await thread.do(lambda: thread.holder.look(extend=True))

    async def leaving(self) -> None:
        thread = self._running()
        await thread.do(thread.holder.keep_callers)

    async def drop(self) -> None:
        thread = self._thread
        if thread is not None and thread.is_alive():
            thread.holder.until = 0.0
            with contextlib.suppress(_EndedError):  # then it has given the address up itself
                await thread.do(thread.holder.look)

    async def close(self) -> None:
        try:
            await self.drop()
        finally:
            thread, self._thread = self._thread, None
            if thread is not None:
                await self._end(thread)

    async def _end(self, thread: "_Thread") -> None:
        try:
            if self._refusals is not None and thread.is_alive() and not thread.holder.shown:
                await thread.do(self._refusals.allow)
        except RefusalsError as error:
            _log.warning("refusals_still_suppressed", error=str(error))
        finally:
            thread.stop()

    @property
    def held(self) -> tuple[str, ...]:
        """As of the last change the kernel told of."""
        return () if self._thread is None else self._thread.holder.shown

    async def answering(self) -> str | None:
        thread = self._running()
        answer = thread.await_claim()
        for _ in range(2):  # one packet may be lost
            await thread.do(thread.holder.ask)
            await asyncio.wait([answer], timeout=PROBE / 2)
            if answer.done():
                return answer.result()
        answer.cancel()
        return None

    def _running(self) -> "_Thread":
        if self._thread is None or not self._thread.is_alive():
            raise Unusable(f"{self._interface}: the address is not watched (not started, or its thread has failed)")
        return self._thread


class _EndedError(Unusable):
    """The thread has ended before it did what was asked."""


class _Thread(threading.Thread):
    """Does what was asked, what is due, and looks when the kernel or the segment says something."""

    def __init__(self, holder: Holder, clock: Clock) -> None:
        super().__init__(name="vip", daemon=True)
        self.holder = holder
        self._clock = clock
        self._asked: deque[tuple[Callable[[], object], Future[None]]] = deque()
        self._waiting: deque[tuple[asyncio.AbstractEventLoop, asyncio.Future[str]]] = deque()
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._woken.setblocking(False)
        self._stopping = False

    async def do(self, work: Callable[[], object], patience: float = PATIENCE) -> bool:
        """In this thread. Its errors are raised; False if it has not come to an end within `patience` seconds."""
        return await self.answered(self.ask(work), patience)

    def ask(self, work: Callable[[], object]) -> "Future[None]":
        """Let it be done in this thread; soon, if the thread runs."""
        done: Future[None] = Future()
        self._asked.append((work, done))
        self._nudge()
        return done

    async def answered(self, done: "Future[None]", patience: float) -> bool:
        """See `do`."""
        waiting = asyncio.wrap_future(done)
        await asyncio.wait([waiting], timeout=patience)
        if waiting.done():
            waiting.result()
            return True
        waiting.cancel()
        _log.warning("address_slow", seconds=patience)
        return False

    def await_claim(self) -> "asyncio.Future[str]":
        """The MAC of the next host that says to have one of the addresses."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[str] = loop.create_future()
        self._waiting.append((loop, answer))
        return answer

    def stop(self) -> None:
        """Soon; nothing waits for it. What has been asked for before is done."""
        self._stopping = True
        self._nudge()

    def _nudge(self) -> None:
        with contextlib.suppress(OSError):  # full: it will wake anyhow. Closed: it has ended
            self._wake.send(b"!")

    def run(self) -> None:
        over = _EndedError("the address is not watched any more: it was closed")
        kernel_events = watching()
        try:
            while self._asked or not self._stopping:
                self._turn(kernel_events)
        except Exception as error:
            over = _EndedError(f"the address is not watched any more: {error!r}")
            _log.warning("address_thread_failed", error=repr(error))
            self.holder.until = 0.0
            self.holder.look()
            raise
        finally:
            kernel_events.close()
            self.holder.close()
            self._wake.close()
            self._woken.close()
            while self._asked:
                _, done = self._asked.popleft()
                if done.set_running_or_notify_cancel():
                    done.set_exception(over)

    def _turn(self, kernel_events: socket.socket) -> None:
        poll = select.poll()
        for readable in (self._woken, kernel_events, *self.holder.readable()):
            poll.register(readable, select.POLLIN)
        pause = min(max(0.0, self.holder.next() - self._clock()), _LONGEST_WAIT)
        ready = {descriptor for descriptor, _ in poll.poll(0 if self._asked else math.ceil(1000 * pause))}
        if self._woken.fileno() in ready:
            _drain(self._woken)
        changed = kernel_events.fileno() in ready
        if changed:
            _drain(kernel_events)
        while self._asked:
            work, done = self._asked.popleft()
            if done.set_running_or_notify_cancel():
                try:
                    work()
                except Exception as error:  # noqa: BLE001 - it belongs to who asked
                    done.set_exception(error)
                else:
                    done.set_result(None)
        if changed:
            self.holder.look()
        for _, mac in self.holder.heard():
            self._tell(mac.hex(":"))
        self.holder.turn()

    def _tell(self, mac: str) -> None:
        while self._waiting:
            loop, answer = self._waiting.popleft()
            with contextlib.suppress(RuntimeError):  # that loop has ended
                loop.call_soon_threadsafe(_settle, answer, mac)


def _settle(answer: "asyncio.Future[str]", mac: str) -> None:
    if not answer.done():
        answer.set_result(mac)


def _drain(readable: socket.socket) -> None:
    """Read all there is. ENOBUFS means that something was lost, which does not matter to who looks anew."""
    try:
        while readable.recv(1 << 16):
            pass
    except OSError:
        return
