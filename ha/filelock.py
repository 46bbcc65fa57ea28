"""Leadership on one machine: a lock on a file is the lease.

Four files in one directory: `leader.lock`, locked with flock for as long as somebody leads; `leader.json`, who that is
and the epoch, a counter that only grows (replaced as a whole, flushed to disk before anybody leads under it);
`control.json`, pause and reservation; `control.lock`, held for the moment in which any of them is read or changed, so
that a probe of the lock never stands in a candidate's way. (A process frozen in that moment makes every look Unknown.)

Guaranteed: when the holder's process ends, however it ends, the kernel releases the lock at once. Two processes lead
under the lock at no time, and an epoch is given once.
Not guaranteed: anything about a *frozen* holder. It keeps the lock for as long as it is stopped, and nobody takes over:
on one machine there is no second clock to end it by. When it wakes, its deadline has passed: it has to campaign anew.
The lock belongs to the open file, and a child that inherits it keeps it: start children with closed descriptors, as
Python does unless told otherwise.

The deadline (see `ha.lease`) bounds how long others in this node act after whoever renews has died.
A network file system may refuse such locks, or grant one twice: both are tried at the start, and refused.

All work on files runs in one thread of this object's own, so that a slow disk does not stop the event loop.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import tempfile
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from ha.clock import Clock, monotonic
from ha.elector import Candidate, Epoch, Leader, Reason, View, refusal
from ha.errors import HaError, LeaseLost, Refused, Unknown, Unusable
from ha.lease import Lease, Timing
from ha.log import Events
from ha.tasks import finished

POLL = 0.02  # s between two looks at the lock, by who waits for it
Flock = Callable[[int, int], None]

_log = Events("filelock")
_Value = TypeVar("_Value")


class FileLockElector:
    """See `ha.elector.Elector`. Unusable if the directory cannot be written or its locks do not exclude."""

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
        self._files = _Files(directory, flock, clock, timing.request_timeout)
        self._held: int | None = None  # the locked descriptor; belongs to the worker thread
        self._worker = ThreadPoolExecutor(1, "filelock")
        self._closed = False

    async def campaign(self) -> Epoch:
        if self.epoch is not None and self.lease.valid(self._clock()):
            return self.epoch
        self._over()
        sent = self._clock()
        try:
            epoch = await self._run(self._take)
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

    async def resign(self, successor: str | None = None, within: float = 5.0) -> None:
        if self.epoch is None:
            return
        if successor is not None:
            await self._run(lambda: self._reserve(successor, within))
        self._over()
        await self._run(self._let_go)
        _log.info("resigned", successor=successor)

    async def observe(self) -> View:
        return await self._run(self._view)

    async def watch(self) -> AsyncGenerator[View, None]:
        """A thread of its own looks every 20 ms; closing the generator ends it within the same time."""
        loop = asyncio.get_running_loop()
        views: asyncio.Queue[View | HaError] = asyncio.Queue()
        stop = threading.Event()

        def tell(view: View | HaError) -> None:
            with suppress(RuntimeError):  # the loop has been closed meanwhile
                loop.call_soon_threadsafe(views.put_nowait, view)

        def look() -> None:
            last: View | None = None
            while not stop.is_set():
                try:
                    view = self._view()
                    if view != last:
                        last = view
                        tell(view)
                except Unknown as error:  # somebody holds the control lock for long: look again
                    _log.info("watch_waits", error=str(error))
                except HaError as error:
                    tell(error)
                    return
                stop.wait(POLL)

        threading.Thread(target=look, name="filelock-watch", daemon=True).start()
        try:
            while True:
                view = await views.get()
                if isinstance(view, HaError):
                    raise view
                yield view
        finally:
            stop.set()

    async def pause(self) -> None:
        await self._run(self._pause)

    async def resume(self) -> None:
        def work() -> None:
            with self._files.control() as control:
                control.change(keeps=None)

        await self._run(work)

    async def close(self) -> None:
        self._over()
        if self._closed:
            return
        self._closed = True
        try:
            with suppress(HaError):
                await self._run(self._let_go)
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

    def _take(self) -> Epoch:
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
            epoch = Epoch(self._files.epoch() + 1)
            about = {"name": self.candidate.name, "address": self.candidate.address, "meta": dict(self.candidate.meta)}
            self._files.write_leader({"epoch": epoch, **about})
            if control.successor is not None:
                control.change(successor=None)
            if control.keeps is not None:  # a pause keeps whom a switchover put in place
                control.change(keeps=self.candidate.name)
            return epoch

    def _still_held(self) -> bool:
        return self._held is not None and self._files.is_the_lock(self._held)

    def _reserve(self, successor: str, within: float) -> None:
        with self._files.control() as control:
            if not self._still_held():
                raise LeaseLost("the leadership was lost before it could be handed over")
            control.change(successor=successor, until=self._clock() + within)

    def _let_go(self) -> None:
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


class _Control:
    """The restrictions, while the control lock is held."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        self._found: dict[str, Any] = _read_json(path)
        if self._found.get("boot") != self._boot or self._found.get("until", 0.0) <= clock():
            self._found |= {"successor": None, "until": 0.0}  # lapsed, or of a clock that has started anew

    @property
    def keeps(self) -> str | None:
        return self._found.get("keeps")

    @property
    def successor(self) -> str | None:
        return self._found.get("successor")

    def change(self, **what: object) -> None:
        self._found |= {**what, "boot": self._boot}
        _write_json(self._path, self._found)


class _Files:
    """The four files. Every method may block."""

    def __init__(self, directory: Path, flock: Flock, clock: Clock, patience: float) -> None:
        self.lock = directory / "leader.lock"
        self._leader = directory / "leader.json"
        self._control = directory / "control.json"
        self._control_lock = directory / "control.lock"
        self._flock = flock
        self._clock = clock
        self._patience = patience
        with _usable(directory):
            directory.mkdir(parents=True, exist_ok=True)
            self._try_locks(directory)

    def _try_locks(self, directory: Path) -> None:
        """A lock that is taken once must be refused the second time."""
        descriptor, name = tempfile.mkstemp(prefix="try-", suffix=".lock", dir=directory)
        second = os.open(name, os.O_RDWR)
        try:
            if not self._lock(descriptor):
                raise Unusable(f"{directory}: a lock on a new file is refused")
            if self._lock(second):
                raise Unusable(f"{directory}: locks do not exclude each other here (a network file system?)")
        finally:
            os.close(descriptor)
            os.close(second)
            Path(name).unlink()

    def _lock(self, descriptor: int) -> bool:
        try:
            self._flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:  # ENOLCK, EOPNOTSUPP, ...: never "no lock, so go on without"
            raise Unusable(f"{self.lock.parent}: flock fails here: {error}; expected a local file system") from error
        return True

    @contextlib.contextmanager
    def control(self) -> Iterator[_Control]:
        """Nobody else reads or changes anything meanwhile. Unknown if somebody holds this lock for too long."""
        with _usable(self._control_lock):
            descriptor = os.open(self._control_lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            deadline = monotonic() + self._patience / 2
            while not self._lock(descriptor):
                if monotonic() > deadline:
                    raise Unknown(f"{self._control_lock} is held by somebody who does not go on")
                time.sleep(0.001)
            with _usable(self.lock.parent):
                yield _Control(self._control, self._clock)
        finally:
            os.close(descriptor)

    def take(self) -> int | None:
        """Lock; the descriptor that holds it, or None if another holds it."""
        descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if self._lock(descriptor) and self.is_the_lock(descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    def is_the_lock(self, descriptor: int) -> bool:
        """Whether the file that this descriptor has locked is still the one others would lock."""
        try:
            return os.path.samestat(os.fstat(descriptor), self.lock.stat())
        except FileNotFoundError:
            return False

    def view(self, control: _Control) -> View:
        descriptor = self.take()  # under the control lock: nobody campaigns meanwhile
        if descriptor is not None:
            os.close(descriptor)
        return View(self._holder() if descriptor is None else None, control.keeps, control.successor)

    def _holder(self) -> Leader:
        found = _read_json(self._leader)
        try:
            return Leader(found["name"], found["address"], Epoch(found["epoch"]), found["meta"])
        except KeyError:  # whoever holds the lock, somebody leads
            return Leader("(unreadable)", "", Epoch(0))

    def epoch(self) -> int:
        """The last epoch that was given; 0 if none was."""
        found = _read_json(self._leader)
        try:
            return int(found["epoch"]) if found else 0
        except (KeyError, TypeError, ValueError) as error:
            raise Unusable(f"{self._leader} has no epoch; expected the file as luigi-ha wrote it") from error

    def write_leader(self, about: dict[str, Any]) -> None:
        _write_json(self._leader, about)


@contextlib.contextmanager
def _usable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unusable(f"{path}: {error.strerror}; expected a directory that this user can write") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise Unusable(f"{path} cannot be read; expected the file as luigi-ha wrote it") from error
    if not isinstance(found, dict):
        raise Unusable(f"{path} cannot be read; expected the file as luigi-ha wrote it")
    return found


def _write_json(path: Path, content: dict[str, Any]) -> None:
    """Replaced as a whole, and on the disk when this returns."""
    beside = path.with_suffix(".new")
    with beside.open("w") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
