"""Being on a host without being there: sockets, questions and programs inside of a host's namespaces.

A socket belongs to the network namespace it was made in, whoever uses it. So a measuring program stays one process on
the machine and speaks as the client, the observer or a node.
"""

import ctypes
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from luigi_ha.appliance.lab import processes
from luigi_ha.appliance.lab.errors import LabError
from luigi_ha.appliance.lab.plan import POSTGRES_BIN

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def socket_in(
    pid: int, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM, protocol: int = 0
) -> socket.socket:
    """A new socket in the network namespace of process `pid`; OSError if that is gone."""
    made: list[socket.socket | OSError] = []

    def make() -> None:  # in a thread of its own, which alone changes its namespace and then ends
        try:
            fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                if _libc.setns(fd, _CLONE_NEWNET) != 0:
                    number = ctypes.get_errno()
                    raise OSError(number, os.strerror(number))
            finally:
                os.close(fd)
            made.append(socket.socket(family, kind, protocol))
        except OSError as error:
            made.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if isinstance(made[0], OSError):
        raise made[0]
    return made[0]


def connect(pid: int, address: str, port: int, timeout: float) -> socket.socket:
    """A connection from where process `pid` is; OSError if there is none within `timeout` s."""
    made = socket_in(pid, socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        made.settimeout(timeout)
        made.connect((address, port))
    except OSError:
        made.close()
        raise
    return made


class _Connection(http.client.HTTPConnection):
    def __init__(self, pid: int, address: str, port: int, timeout: float) -> None:
        super().__init__(address, port, timeout=timeout)
        self._pid, self._limit = pid, timeout

    def connect(self) -> None:
        self.sock = connect(self._pid, self.host, self.port, self._limit)


def ask(
    pid: int, address: str, port: int, path: str, *, method: str = "GET", body: Any = None, timeout: float = 2.0
) -> tuple[int, Any]:
    """(status, JSON or text) of an HTTP question asked from where process `pid` is; OSError if nobody answers."""
    connection = _Connection(pid, address, port, timeout)
    try:
        headers = {} if body is None else {"Content-Type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        with connection.getresponse() as response:  # closed too when its body is cut off
            text = response.read().decode(errors="replace")
    except http.client.HTTPException as error:
        raise ConnectionError(f"{address}:{port}{path}: {error!r}") from None
    finally:
        connection.close()
    try:
        return response.status, json.loads(text)
    except ValueError:
        return response.status, text


def entering(pid: int, argv: Sequence[str], directory: Path | None = None) -> list[str]:
    """The command that runs `argv` on the host whose process 1 is `pid`, and dies with whoever waits for it."""
    where = directory or Path.cwd()
    into = ["nsenter", f"--target={pid}", "--net", "--pid", "--mount", "--uts", "--ipc", f"--wd={where}", "--"]
    return [*into, "setpriv", "--pdeathsig=KILL", "--", *argv]


def environ(url: str, more: Mapping[str, str]) -> dict[str, str]:
    """The environment of a program on a host: our programs and PostgreSQL's in the path, and where the scheduler is."""
    path = os.pathsep.join([str(Path(sys.executable).parent), str(POSTGRES_BIN), os.environ.get("PATH", os.defpath)])
    ours = {name: value for name, value in os.environ.items() if not name.startswith("LUIGI_HA_")}
    return {**ours, "PATH": path, "ETCDCTL_API": "3", "LUIGI_HA_SCHEDULER_URL": url, **more}


class Inside(subprocess.Popen[Any]):
    """A program on a host. Signals go to the program itself, not to the `nsenter` that waits for it."""

    def inner(self) -> int | None:
        """The program's number on the machine; None before it started or after it ended."""
        for process in processes.every():
            if process.parent == self.pid and process.alive:
                return process.pid
        return None

    def send_signal(self, sig: int) -> None:
        pid = self.inner()
        if pid is None:
            super().send_signal(sig)
            return
        with processes.held([pid]) as fds:
            for fd in fds.values():
                signal.pidfd_send_signal(fd, sig)


def run(pid: int, argv: Sequence[str], *, timeout: float = 30.0, stdin: str | None = None) -> str:
    """Run a program in the network namespace of `pid` and return what it printed; LabError if it failed."""
    done = subprocess.run(
        ["nsenter", f"--target={pid}", "--net", "--", *argv],
        input=stdin, capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip
    if done.returncode:
        raise LabError(f"{' '.join(argv)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout
