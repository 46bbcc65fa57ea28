"""The lab's processes, as the kernel shows them: found by command line and pid namespace, never by remembered numbers.

A host is a pid namespace; its process 1 is `python -m luigi_ha.appliance.lab.host --lab DIRECTORY --host NAME`. The
program `unshare` that made the namespaces waits for it outside and carries the same words. Which service a process
belongs to is said by a variable in its environment, inherited by whatever it starts, also in sessions of their own.

Signals go through pidfds, so that a number used anew is never hit.
"""

import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

HOST_MODULE = "luigi_ha.appliance.lab.host"
SERVICE_VARIABLE = "LAB_SERVICE"
KEEPER_VARIABLE = "LUIGI_HA_KEEPER"  # the keeper gives it to its child, the scheduler


@dataclass(frozen=True)
class Process:
    """A process at the moment of reading. `inner`: its number in its own pid namespace, which `space` identifies."""

    pid: int
    inner: int
    parent: int
    state: str  # as in /proc/PID/stat: R, S, T (stopped), Z (dead, not yet reaped), ...
    space: int
    argv: tuple[str, ...]
    program: str  # the file it runs; empty if it is gone
    service: str | None
    scheduler: bool  # was started by a keeper

    @property
    def alive(self) -> bool:
        return self.state not in "ZX"


def read(pid: int | str) -> Process | None:
    """The process, or None if it does not exist (any more)."""
    place = Path(f"/proc/{pid}")
    try:
        status = (place / "status").read_text()
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        state, parent = fields["State"][0], int(fields["PPid"])
        if state in "ZX":
            return Process(int(fields["Pid"]), int(fields["NSpid"].split()[-1]), parent, state, 0, (), "", None, False)
        environ = (place / "environ").read_bytes().split(b"\0")
        marks = [
            item.partition(b"=")[2].decode() for item in environ if item.startswith(SERVICE_VARIABLE.encode() + b"=")
        ]
        return Process(
            pid=int(fields["Pid"]),
            inner=int(fields["NSpid"].split()[-1]),
            parent=parent,
            state=state,
            space=(place / "ns/pid").stat().st_ino,
            argv=tuple((place / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]),
            program=_program(place),
            service=marks[0] if marks else None,
            scheduler=any(item.startswith(KEEPER_VARIABLE.encode() + b"=") for item in environ),
        )
    except (OSError, KeyError):
        return None


def every() -> list[Process]:
    """All processes that /proc shows."""
    return [found for number in _numbers() if (found := read(number)) is not None]


def living(pids: Iterable[int]) -> list[Process]:
    """Those of these that are alive."""
    return [found for pid in pids if (found := read(pid)) is not None and found.alive]


def carriers(directory: Path) -> list[tuple[str, Process]]:
    """(host's name, process) of everything started as a host of the lab in this directory, in a quick look: both the
    hosts' processes 1 and the `unshare` around each."""
    found = []
    for number in _numbers():
        with suppress(OSError):
            argv = Path(f"/proc/{number}/cmdline").read_bytes().decode(errors="replace").split("\0")
            name = _carried(argv, directory)
            if name is not None and (process := read(number)) is not None:
                found.append((name, process))
    return found


def inits(directory: Path) -> dict[str, Process]:
    """The process 1 of each running host, by the host's name."""
    return {name: process for name, process in carriers(directory) if process.inner == 1 and process.pid != 1}


def inside(init: Process) -> list[Process]:
    """All processes of a host that are alive, its process 1 first."""
    found = [process for process in every() if process.space == init.space and process.alive]
    return sorted(found, key=lambda process: process.inner)


@contextmanager
def held(pids: Iterable[int]) -> Iterator[dict[int, int]]:
    """pidfds of those processes that exist."""
    fds: dict[int, int] = {}
    try:
        for pid in pids:
            with suppress(ProcessLookupError):
                fds[pid] = os.pidfd_open(pid)
        yield fds
    finally:
        for fd in fds.values():
            os.close(fd)


def kill(pids: Iterable[int], timeout: float = 5.0) -> list[int]:
    """SIGKILL, all as close together as can be; those that are not dead after `timeout` s."""
    with held(pids) as fds:
        for fd in fds.values():
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(fd, signal.SIGKILL)
        return ended(fds, timeout)


def ended(held_: Mapping[int, int], timeout: float) -> list[int]:
    """Wait for the end of these; those that live on after `timeout` s."""
    deadline, waiting = time.monotonic() + timeout, dict(held_)
    while waiting and (left := deadline - time.monotonic()) > 0:
        dead, _, _ = select.select(list(waiting.values()), [], [], left)
        waiting = {pid: fd for pid, fd in waiting.items() if fd not in dead}
    return list(waiting)


def freeze(find: Callable[[], list[Process]], timeout: float = 2.0) -> list[Process]:
    """SIGSTOP to all that `find` finds, again until none of them runs (they may start others meanwhile); those that
    are stopped now."""
    return _until(find, signal.SIGSTOP, lambda process: process.state in "Tt", timeout)


def thaw(find: Callable[[], list[Process]], timeout: float = 2.0) -> list[Process]:
    """SIGCONT to all that `find` finds; those that run now."""
    return _until(find, signal.SIGCONT, lambda process: process.state not in "Tt", timeout)


def _until(
    find: Callable[[], list[Process]], number: int, done: Callable[[Process], bool], timeout: float
) -> list[Process]:
    deadline = time.monotonic() + timeout
    while True:
        found = find()
        left = [process for process in found if not done(process)]
        if not left or time.monotonic() > deadline:
            return [process for process in found if done(process)]
        with held(process.pid for process in left) as fds:
            for fd in fds.values():
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(fd, number)
        time.sleep(0.002)


def _carried(argv: list[str], directory: Path) -> str | None:
    if HOST_MODULE not in argv or "--lab" not in argv or "--host" not in argv[:-1]:
        return None
    return argv[argv.index("--host") + 1] if argv[argv.index("--lab") + 1] == str(directory) else None


def _numbers() -> list[str]:
    return [name for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - thousands of times a run


def _program(place: Path) -> str:
    try:
        return str((place / "exe").readlink())
    except OSError:
        return ""
