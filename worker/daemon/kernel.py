"""What the kernel knows of processes: sessions, when they began, who dies with whom. Linux."""

import ctypes
import os
import signal
from pathlib import Path

PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)  # loaded before anybody forks


def lead_session_and_die_with(parent: int) -> None:
    """In a process just forked: a session of its own, the default signals, and SIGKILL when `parent` dies.

    The kernel sends it when the thread that forked ends, so only a main thread may fork.
    """
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.setsid()
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before it was asked for
        os._exit(1)


def kill_session(leader: int | None, number: signal.Signals) -> None:
    """Signal every process of a session, whatever group it moved to. Its leader may have ended."""
    if leader is None:
        return
    for pid in sessions().get(leader, [leader]):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
        except PermissionError:  # a program that changed its user
            continue


def sessions() -> dict[int, list[int]]:
    """The processes of each session."""
    found: dict[int, list[int]] = {}
    for pid, fields in processes():
        found.setdefault(int(fields[3]), []).append(pid)
    return found


def processes() -> list[tuple[int, list[str]]]:
    """All processes of this machine, with what the kernel says of them: the fields of proc(5) stat from `state` on."""
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208 - thousands of names, several times a second
        if name.isdecimal():
            try:
                text = Path(f"/proc/{name}/stat").read_text(errors="replace")
            except OSError:
                continue  # it has ended
            found.append((int(name), text.rpartition(")")[2].split()))
    return found


def born(pid: int) -> int:
    """When a process began, in ticks since boot; 0: there is none."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19])
    except OSError:
        return 0
