"""Process 1 of a host: makes the host's own file systems, waits for its network, then keeps its services running.

    python -m luigi_ha.appliance.lab.host --lab DIRECTORY --host NAME       (started by the lab, inside of `unshare`)

It reads DIRECTORY/NAME/host.json; says "ready" on its standard output when the host's mounts are there; and boots when
a line comes in on its standard input. If the lab's command dies before, standard input ends and so does the host.
SIGKILL to this process is the plug: the kernel kills all of the host with it. SIGTERM shuts down in order.

What it does is written to DIRECTORY/log/NAME-host.log, one JSON object a line with `at` = CLOCK_BOOTTIME s, and the
services as they are now to DIRECTORY/NAME/services.json. Standard library only; it must start fast.
"""

import argparse
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from luigi_ha.appliance.lab.services import Phase, Recipe, Service

TICK = 0.05  # s between two looks at what is held back or due; deaths are noticed at once
SHUTDOWN_SECONDS = 60.0


class Init:
    """The host's process 1."""

    def __init__(self, lab: Path, name: str) -> None:
        self._name, self._place = name, lab / name
        self._logs = lab / "log"
        self._journal = (self._logs / f"{name}-host.log").open("a", buffering=1)
        self._spec: dict[str, Any] = json.loads((self._place / "host.json").read_text())
        self._services = [self._service(recipe) for recipe in self._spec["services"]]
        self._down = False

    def prepare(self) -> None:
        """What a host has of its own: name, /run, /dev/shm, /etc/hosts, perhaps a disk, of which the content stays when
        all of this vanishes with the host."""
        socket.sethostname(self._name)
        for place in ("/run", "/dev/shm"):  # noqa: S108 - a mount point
            _mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", place)
        _mount("--bind", self._spec["hosts_file"], "/etc/hosts")
        for image, place in self._spec["disks"]:
            _mount("-o", "loop", image, place)
        sockets = Path("/run/postgresql")
        sockets.mkdir()
        sockets.chmod(0o1777)

    def boot(self) -> None:
        """Clean up after the host's earlier life, as a boot does: none of its processes can be left."""
        for stale in self._spec["stale"]:
            Path(stale).unlink(missing_ok=True)
        self.tell("booted")

    def run(self) -> None:
        """Until SIGTERM has stopped all services. Reaps whatever dies on this host."""
        wake, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._shut_down)
        deadline = float("inf")
        while not (self._down and self._all_stopped()) and time.monotonic() < deadline:
            changed = self._reap()
            for service in self._services:
                changed |= service.tick()
            if changed:
                self._publish()
            if self._down and deadline == float("inf"):
                deadline = time.monotonic() + SHUTDOWN_SECONDS
            if select.select([wake], [], [], TICK)[0]:
                os.read(wake, 4096)
        self.tell("shut_down")

    def tell(self, event: str, **fields: object) -> None:
        """One line of the host's own log."""
        line = {"at": round(time.clock_gettime(time.CLOCK_BOOTTIME), 4), "event": event, **fields}
        self._journal.write(json.dumps(line) + "\n")

    def _reap(self) -> bool:
        changed = False
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return changed
            if pid == 0:
                return changed
            code = os.waitstatus_to_exitcode(status)
            changed |= any(service.reaped(pid, code) for service in self._services)

    def _shut_down(self, *_: object) -> None:
        self._down = True
        for service in self._services:
            service.shutting_down = True

    def _all_stopped(self) -> bool:
        return all(service.phase is Phase.WAITING for service in self._services)

    def _publish(self) -> None:
        services = {
            service.recipe.name: {
                "phase": service.phase.value, "inner": service.pid, "since": service.since, "starts": service.starts,
                "last_end": service.last_end, "held_back": service.held_back,
            }
            for service in self._services
        }  # fmt: skip
        fresh = self._place / "services.json.new"
        fresh.write_text(json.dumps(services))
        fresh.replace(self._place / "services.json")

    def _service(self, recipe: dict[str, Any]) -> Service:
        log = self._logs / f"{self._name}-{recipe['name']}.log"
        fields = {**recipe, "argv": tuple(recipe["argv"]), "hook": tuple(recipe["hook"])}
        return Service(Recipe(**fields), self._place, log, self.tell)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--lab", type=Path, required=True)
    parser.add_argument("--host", required=True)
    arguments = parser.parse_args()
    init = Init(arguments.lab, arguments.host)
    init.prepare()
    print("ready", flush=True)  # noqa: T201 - the lab waits for it
    if not sys.stdin.readline():
        return
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    init.boot()
    init.run()


if __name__ == "__main__":
    main()
