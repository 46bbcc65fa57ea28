"""The elector of one machine: a lock on a file is the lease.

Guaranteed: when the holder's process ends, however it ends, the kernel releases the lock at once. Two processes lead
under the lock at no time, and an epoch is given once.
Not guaranteed: anything about a *frozen* holder. It keeps the lock for as long as it is stopped, and nobody takes over:
on one machine there is no second clock to end it by. When it wakes, its deadline has passed: it has to campaign anew.
The lock belongs to the open file, and a child that inherits it keeps it: start children with closed descriptors, as
Python does unless told otherwise.

The deadline (see `luigi_ha.ha.lease`) bounds how long others in this node act after whoever renews has died.
A network file system may refuse such locks, or grant one twice: both are tried at the start, and refused.

All work on files runs in one thread of this object's own, so that a slow disk does not stop the event loop.
"""

import asyncio
import fcntl
import os
import secrets
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from luigi_ha.ha.clock import Clock, monotonic
from luigi_ha.ha.elector import ASKED_FOR, Asked, Candidate, Epoch, Member, Reason, View, refusal
from luigi_ha.ha.errors import HaError, LeaseLost, Refused, Unknown
from luigi_ha.ha.filelock.files import Files, Flock
from luigi_ha.ha.filelock.follow import follow
from luigi_ha.ha.filelock.presence import Presence
from luigi_ha.ha.lease import Lease, Timing
from luigi_ha.ha.log import Events
from luigi_ha.ha.tasks import finished

_log = Events("filelock")
_Value = TypeVar("_Value")


class FileLockElector:
    """See `luigi_ha.ha.elector.Elector`. Unusable if the directory cannot be written or its locks do not exclude."""

    def __init__(
        self,
        directory: Path,
        candidate: Candidate,
        timing: Timing,
        *,
        clock: Clock = monotonic,
        flock: Flock = fcntl.flock,
    ) -> None:
        self.candidate = candidate
        self.timing = timing
        self.lease = Lease(timing.margin)
        self.epoch: Epoch | None = None
        self._clock = clock
        self._files = Files(directory, flock, clock, timing.request_timeout)
        self._presence = Presence(self._files, directory / "members", candidate.name)
        self._held: int | None = None  # the locked descriptor; belongs to the worker thread
        self._worker = ThreadPoolExecutor(1, "filelock")
        self._closed = False

    async def campaign(self, above: int = 0) -> Epoch:
        if self.epoch is not None and self.epoch > above and self.lease.valid(self._clock()):
            return self.epoch
        self._over()
        sent = self._clock()
        try:
            epoch = await self._run(partial(self._take, above))
        except BaseException:
            await self._let_go_in_any_case()
            raise
        lease = Lease(self.timing.margin)
        if not lease.granted(sent, self.timing.ttl, self._clock()):
            await self._let_go_in_any_case()
            raise LeaseLost("won, but it took longer than the lease")
        self.lease, self.epoch = lease, epoch
        _log.info("won", epoch=epoch)
        return epoch

    async def renew(self) -> None:
        sent = self._clock()
        if self.epoch is None or not self.lease.valid(sent):
            self._over()
            raise LeaseLost("no valid lease to renew")
        if not await self._run(self._still_held):
            self._over()
            raise LeaseLost(f"{self._files.lock} was removed or replaced: the lock protects nothing any more")
        if not self.lease.renewed(sent, self.timing.ttl, self._clock()):
            self._over()
            raise LeaseLost("the renewal took too long")

    async def resign(
        self, successor: str | None = None, within: float = 5.0, *, reason: str = "", keep_address: bool = False
    ) -> None:
        if (epoch := self.epoch) is None:
            return
        if successor is not None or keep_address:
            await self._run(partial(self._reserve, successor, within, keep_address))
        self._over()
        await self._run(partial(self._let_go, epoch, reason))
        _log.info("resigned", successor=successor, reason=reason)

    async def release_address(self) -> None:
        def work() -> None:
            with self._files.control() as control:
                if control.address == self.candidate.name:
                    control.change(address=None)

        await self._run(work)

    async def observe(self) -> View:
        return await self._run(self._view)

    def watch(self) -> AsyncGenerator[View, None]:
        return follow(self._view)

    async def pause(self) -> None:
        await self._run(self._pause)

    async def resume(self) -> None:
        def work() -> None:
            with self._files.control() as control:
                control.change(keeps=None)

        await self._run(work)

    async def remember(self, served: int) -> None:
        def work() -> None:
            with self._files.control() as control:
                control.change(served=served or None)

        await self._run(work)

    async def ask_switchover(self, to: str) -> Asked:
        def work() -> Asked:
            with self._files.control() as control:
                view = self._files.view(control)
                if view.leader is None:
                    raise Refused(Reason.VACANT, "nobody leads, so there is nobody to hand over")
                if view.asked is not None and view.asked.refused is None:
                    raise Refused(Reason.ASKED, f"a switchover to {view.asked.to} has been asked for already")
                asked = Asked(to, secrets.token_hex(8))
                control.ask(asked, self._clock() + ASKED_FOR)
                return asked

        return await self._run(work)

    async def answer_switchover(self, asked: Asked, refused: str | None) -> None:
        def work() -> None:
            with self._files.control() as control:
                if control.asked is not None and control.asked.id == asked.id:
                    control.answer(refused)

        await self._run(work)

    async def register(self, about: Mapping[str, str]) -> None:
        await self._run(partial(self._presence.register, dict(about)))

    async def members(self) -> list[Member]:
        return await self._run(self._presence.members)

    async def spread(self, shun: Collection[str] = ()) -> str | None:  # noqa: ARG002 - the port's
        return None

    async def release(self, name: str, reason: str = "") -> bool:  # noqa: ARG002 - the kernel has done it
        return False

    async def close(self) -> None:
        self._over()
        if self._closed:
            return
        self._closed = True
        try:
            with suppress(HaError):
                await self._run(self._let_go)
            with suppress(HaError):
                await self._run(self._presence.close)
        finally:
            self._worker.shutdown(wait=False)

    def _over(self) -> None:
        self.lease.end()
        self.epoch = None

    async def _let_go_in_any_case(self) -> None:
        """After whatever is at work in the thread, which cannot be interrupted; also while being cancelled."""
        await finished(asyncio.wrap_future(self._worker.submit(self._let_go)), self.timing.request_timeout)

    async def _run(self, work: Callable[[], _Value]) -> _Value:
        """In the worker thread; Unknown if that takes longer than the budget, and then it may still happen."""
        future: Future[_Value] = self._worker.submit(work)
        try:
            async with asyncio.timeout(self.timing.request_timeout):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise Unknown(f"the disk did not answer within {self.timing.request_timeout:g} s") from None

    # --------------------------------------------------------------------------------------------- in the worker thread

    def _take(self, above: int) -> Epoch:
        with self._files.control() as control:
            if not self._still_held():
                self._let_go()  # a lock on a file that was removed or replaced
                view = self._files.view(control)
                refused = refusal(view, self.candidate.name)
                if refused is not None:
                    raise refused
                self._held = self._files.take()
                if self._held is None:
                    raise Refused(Reason.HELD, "another process holds the lock")
            epoch = Epoch(max(self._files.epoch(), above) + 1)
            about = {"name": self.candidate.name, "address": self.candidate.address, "meta": dict(self.candidate.meta)}
            self._files.write_leader({"epoch": epoch, **about})
            control.won(self.candidate.name)
            return epoch

    def _still_held(self) -> bool:
        return self._held is not None and self._files.is_the_lock(self._held)

    def _reserve(self, successor: str | None, within: float, keep_address: bool) -> None:
        with self._files.control() as control:
            if not self._still_held():
                raise LeaseLost("the leadership was lost before it could be handed over")
            address = self.candidate.name if keep_address else None
            control.reserve(successor, address, self._clock() + within)

    def _let_go(self, epoch: int = 0, reason: str = "") -> None:
        try:
            if reason and self._still_held():
                with suppress(HaError), self._files.control() as control:
                    control.change(farewell={"name": self.candidate.name, "epoch": epoch, "reason": reason})
                    self._close()  # seen together
        finally:
            self._close()

    def _close(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            os.close(held)

    def _view(self) -> View:
        with self._files.control() as control:
            return self._files.view(control)

    def _pause(self) -> None:
        with self._files.control() as control:
            if control.keeps is not None:
                return
            leader = self._files.view(control).leader
            if leader is None:
                raise Refused(Reason.VACANT, "nobody leads, so there is nobody to keep")
            control.change(keeps=leader.name)
