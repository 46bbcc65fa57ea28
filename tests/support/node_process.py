"""`luigi-ha serve` as a process of its own, on SQLite and a free port of the loopback address.

with node_process(directory) as node:
    node.url
    node.get("/api/queue")
    node.kill(), node.start()
"""

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from luigi_ha.appliance.lab.ports import free_port
from tests.support.patience import patient

START_SECONDS = 90.0


class NodeProcess:
    """One scheduler; `options` are more of those of `luigi-ha serve`, by name."""

    def __init__(self, directory: Path, options: Mapping[str, str]) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.directory = directory
        self.token: str | None = None  # sent with what is asked here
        self.log = directory / "serve.log"
        self._command = [
            str(Path(sys.executable).with_name("luigi-ha")), "serve", "--database", f"sqlite:///{directory}/luigi.db",
            "--host", "127.0.0.1", "--port", str(self.port),
        ]  # fmt: skip
        self._environment = {**os.environ, **{f"LUIGI_HA_{name.upper()}": value for name, value in options.items()}}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it leads."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self.directory,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + patient(START_SECONDS)
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(self.log.read_text())
            time.sleep(0.1)

    @property
    def pid(self) -> int | None:
        """Of the process that was started."""
        return None if self._process is None else self._process.pid

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(patient(60))
            self._process = None

    def get(self, path: str) -> Any:
        """A JSON document."""
        return self.send("GET", path)

    def send(self, method: str, path: str, body: Any = None) -> Any:
        """One call; its answer, if any."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=patient(30)) as reply:
            found = reply.read()
            return json.loads(found) if found else None

    def metric(self, name: str) -> float:
        """A number of /metrics that has no labels."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=patient(30)) as reply:
            lines = reply.read().decode().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/leader", timeout=patient(5)) as reply:
                return bool(reply.status == 200)
        except urllib.error.HTTPError as error:
            error.close()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            pass
        return False


@contextlib.contextmanager
def node_process(directory: Path, **options: str) -> Iterator[NodeProcess]:
    """A running node that is stopped afterwards."""
    node = NodeProcess(directory, options)
    try:
        node.start()
        yield node
    finally:
        node.stop()
