"""Starting a host: new namespaces, its process 1 in them, and its network before anything runs there."""

import os
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from luigi_ha.appliance.lab import processes
from luigi_ha.appliance.lab.errors import LabError

START_SECONDS = 20.0
_children: set[int] = set()  # hosts that this very process started: reaped here when they have died


def start(directory: Path, name: str, connect: Callable[[int], None]) -> None:
    """Boot a host. `connect` is called with the number of its process 1 when its namespaces are there; its services
    start when that is done. If we die in the middle, the host ends by itself."""
    log = directory / "log" / f"{name}-host.err"
    with log.open("ab") as errors:
        process = subprocess.Popen(
            [
                "unshare", "--net", "--pid", "--fork", "--kill-child=KILL", "--mount", "--mount-proc", "--uts", "--ipc",
                "--", sys.executable, "-m", processes.HOST_MODULE, "--lab", str(directory), "--host", name,
            ],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, start_new_session=True, cwd="/",
        )  # fmt: skip
    with process:
        assert process.stdin is not None  # noqa: S101 - for the type checker
        assert process.stdout is not None  # noqa: S101
        readable, _, _ = select.select([process.stdout], [], [], START_SECONDS)
        if not readable or process.stdout.readline().strip() != b"ready":
            process.kill()
            raise LabError(f"host {name} did not start: {log.read_text()[-1000:]}")
        try:
            connect(processes.inits(directory)[name].pid)
            process.stdin.write(b"go\n")
            process.stdin.flush()
        except BaseException:
            process.kill()  # --kill-child takes the host with it
            raise
        _children.add(process.pid)
        process.returncode = 0  # it goes on without us; reap() looks after it


def reap() -> None:
    """Collect hosts that this process has started and that have died."""
    for pid in list(_children):
        try:
            if os.waitpid(pid, os.WNOHANG)[0] == 0:
                continue
        except ChildProcessError:
            pass
        _children.discard(pid)
