"""What is on the disk, in one directory.

`leader.lock`, locked with flock for as long as somebody leads; `leader.json`, who that is and the epoch, a counter that
only grows (replaced as a whole, flushed to disk before anybody leads under it); `control.json`, pause, reservations,
requests and farewell; `control.lock`, held for the moment in which any of them is read or changed, so that a probe of
the lock never stands in a candidate's way. (A process frozen in that moment makes every look Unknown.)
"""

import contextlib
import fcntl
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from luigi_ha.ha.clock import Clock, monotonic
from luigi_ha.ha.elector import Asked, Epoch, Farewell, Leader, View
from luigi_ha.ha.errors import Unknown, Unusable

Flock = Callable[[int, int], None]

_Value = TypeVar("_Value")


class Control:
    """The restrictions, while the control lock is held. What is for a time is kept with its end and the boot that the
    end is counted in: the clock of another boot has started anew, and everything for a time has lapsed."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._now = clock()
        self._boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        self._found: dict[str, Any] = read_json(path)

    @property
    def keeps(self) -> str | None:
        return self._found.get("keeps")

    @property
    def successor(self) -> str | None:
        return self._for_a_time("successor", str)

    @property
    def address(self) -> str | None:
        return self._for_a_time("address", str)

    @property
    def asked(self) -> Asked | None:
        return self._for_a_time("asked", lambda found: Asked(found["to"], found["id"], found["refused"]))

    @property
    def served(self) -> int:
        found = self._found.get("served")
        return found if isinstance(found, int) else 0

    @property
    def farewell(self) -> Farewell | None:
        found = self._found.get("farewell")
        try:
            return Farewell(found["name"], Epoch(found["epoch"]), found["reason"]) if found else None
        except (KeyError, TypeError):
            return None

    def reserve(self, successor: str | None, address: str | None, until: float) -> None:
        ends = {"until": until, "boot": self._boot}
        self.change(
            successor={"value": successor, **ends} if successor is not None else None,
            address={"value": address, **ends} if address is not None else None,
        )

    def ask(self, asked: Asked, until: float) -> None:
        self.change(asked={"value": asdict(asked), "until": until, "boot": self._boot})

    def answer(self, refused: str | None) -> None:
        """To what is asked now; None: done."""
        found = self._found["asked"]
        self.change(asked=None if refused is None else found | {"value": found["value"] | {"refused": refused}})

    def won(self, name: str) -> None:
        """What ends when `name` has won; and a pause keeps whom a switchover put in place."""
        ended: dict[str, object] = {key: None for key in ("successor", "farewell") if self._found.get(key) is not None}
        if self.asked is not None and self.asked.to == name:
            ended["asked"] = None
        if self.keeps is not None:
            ended["keeps"] = name
        if ended:
            self.change(**ended)

    def change(self, **what: object) -> None:
        self._found |= what
        write_json(self._path, self._found)

    def _for_a_time(self, name: str, read: Callable[[Any], _Value]) -> _Value | None:
        found = self._found.get(name)
        try:
            if found is None or found["boot"] != self._boot or found["until"] <= self._now:
                return None
            return read(found["value"])
        except (KeyError, TypeError):  # not as we wrote it: as if it had lapsed
            return None


class Files:
    """The four files. Every method may block."""

    def __init__(self, directory: Path, flock: Flock, clock: Clock, patience: float) -> None:
        self.lock = directory / "leader.lock"
        self._leader = directory / "leader.json"
        self._control = directory / "control.json"
        self._control_lock = directory / "control.lock"
        self._flock = flock
        self._clock = clock
        self._patience = patience
        with usable(directory):
            directory.mkdir(mode=0o700, exist_ok=True)  # not what it is in: that would be a mistake in a path
            self._try_locks(directory)

    def _try_locks(self, directory: Path) -> None:
        """A lock that is taken once must be refused the second time."""
        descriptor, name = tempfile.mkstemp(prefix="try-", suffix=".lock", dir=directory)
        second = os.open(name, os.O_RDWR)
        try:
            if not self.try_lock(descriptor):
                raise Unusable(f"{directory}: a lock on a new file is refused")
            if self.try_lock(second):
                raise Unusable(f"{directory}: locks do not exclude each other here (a network file system?)")
        finally:
            os.close(descriptor)
            os.close(second)
            Path(name).unlink()

    def try_lock(self, descriptor: int) -> bool:
        try:
            self._flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:  # ENOLCK, EOPNOTSUPP, ...: never "no lock, so go on without"
            raise Unusable(f"{self.lock.parent}: flock fails here: {error}; expected a local file system") from error
        return True

    @contextlib.contextmanager
    def control(self) -> Iterator[Control]:
        """Nobody else reads or changes anything meanwhile. Unknown if somebody holds this lock for too long."""
        with usable(self._control_lock):
            descriptor = os.open(self._control_lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            deadline = monotonic() + self._patience / 2
            while not self.try_lock(descriptor):
                if monotonic() > deadline:
                    raise Unknown(f"{self._control_lock} is held by somebody who does not go on")
                time.sleep(0.001)
            with usable(self.lock.parent):
                yield Control(self._control, self._clock)
        finally:
            os.close(descriptor)

    def take(self) -> int | None:
        """Lock; the descriptor that holds it, or None if another holds it."""
        descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if self.try_lock(descriptor) and self.is_the_lock(descriptor):
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

    def view(self, control: Control) -> View:
        descriptor = self.take()  # under the control lock: nobody campaigns meanwhile
        if descriptor is not None:
            os.close(descriptor)
        leader = self._holder() if descriptor is None else None
        return View(
            leader, control.keeps, control.successor, control.farewell, control.address, control.asked, control.served
        )

    def _holder(self) -> Leader:
        found = read_json(self._leader)
        try:
            return Leader(found["name"], found["address"], Epoch(found["epoch"]), found["meta"])
        except KeyError:  # whoever holds the lock, somebody leads
            return Leader("(unreadable)", "", Epoch(0))

    def epoch(self) -> int:
        """The last epoch that was given; 0 if none was."""
        found = read_json(self._leader)
        try:
            return int(found["epoch"]) if found else 0
        except (KeyError, TypeError, ValueError) as error:
            raise Unusable(f"{self._leader} has no epoch; expected the file as luigi-ha wrote it") from error

    def write_leader(self, about: dict[str, Any]) -> None:
        write_json(self._leader, about)


@contextlib.contextmanager
def usable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unusable(f"{path}: {error.strerror}; expected a directory that this user can write") from error


def read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise Unusable(f"{path} cannot be read; expected the file as luigi-ha wrote it") from error
    if not isinstance(found, dict):
        raise Unusable(f"{path} cannot be read; expected the file as luigi-ha wrote it")
    return found


def _private(path: str, flags: int) -> int:
    """Open a file that nobody but our user may read."""
    return os.open(path, flags, 0o600)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Replaced as a whole, and on the disk when this returns."""
    beside = path.with_suffix(".new")
    with open(beside, "w", opener=_private) as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
