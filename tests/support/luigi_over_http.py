"""pytest plugin: wherever Luigi's tests make a scheduler, they get Luigi's client to a new one of ours, over HTTP.

A test that replaces `time.time` sets the scheduler's clock too. After each test its schedulers are ended.
"""

import dataclasses
import http.client
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import luigi.configuration
import luigi.contrib
import luigi.rpc
import luigi.scheduler
import luigi.worker
import pytest

from luigi_ha.appliance.engine import Settings
from tests.support.patience import patient

_OPTIONS = {field.name for field in dataclasses.fields(Settings)}
_REAL_TIME = time.time
_ROOT = Path(__file__).resolve().parents[2]


class Control:
    """The server process."""

    def __init__(self) -> None:
        # In memory where that is possible: the speed of the disk is not what luigi's tests are about.
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self._directory = tempfile.TemporaryDirectory(prefix="luigi-suite-", dir=memory)
        command = [sys.executable, "-m", "tests.support.luigi_server", self._directory.name]
        self._process = subprocess.Popen(
            command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        assert self._process.stdout is not None
        self._port = int(self._process.stdout.readline())

    def ask(self, path: str, **asked: Any) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=patient(60))
        try:
            connection.request("POST", path, json.dumps(asked))
            reply = connection.getresponse()
            body = reply.read()
            assert reply.status == 200, body
            return json.loads(body)
        finally:
            connection.close()

    def end(self) -> None:
        """Its nodes have ended. (Closing its input is not enough: a process that a test has forked, and that hangs, has
        it too.)"""
        self._process.kill()
        self._process.communicate(timeout=patient(30))
        self._directory.cleanup()


class RemoteFacade(luigi.rpc.RemoteScheduler):
    """Luigi's client, made like Luigi's Scheduler."""

    control: Control

    def __init__(
        self,
        config: Any = None,
        resources: Mapping[str, int] | None = None,
        task_history_impl: Any = None,
        **kwargs: Any,
    ) -> None:
        config = config or luigi.scheduler.scheduler(**kwargs)
        options = {name: getattr(config, name) for name in _OPTIONS if hasattr(config, name)}
        resources = resources or luigi.configuration.get_config().getintdict("resources")
        self._port = self.control.ask("/new", options=options, resources=dict(resources))["port"]
        self._set_to: float | None = None
        super().__init__(f"http://127.0.0.1:{self._port}/")
        self._rpc_retry_wait = 0.1

    def _request(self, *args: Any, **kwargs: Any) -> Any:
        now = None if time.time is _REAL_TIME else time.time()
        if now != self._set_to:
            self.control.ask("/time", port=self._port, now=now)
            self._set_to = now
        return super()._request(*args, **kwargs)

    def load(self) -> None:
        """The server has loaded before it listened."""

    def dump(self) -> None:
        """The server has kept everything already."""


@pytest.fixture(autouse=True)
def _fresh_schedulers() -> Iterator[None]:
    yield
    RemoteFacade.control.ask("/reset")


def _stand_in_for_missing_module() -> None:
    """luigi 3.8.1 is distributed without luigi.contrib.mrrunner; a test file imports what imports it, and no more."""
    name = "luigi.contrib.mrrunner"
    if importlib.util.find_spec(name) is None:
        luigi.contrib.mrrunner = sys.modules[name] = types.ModuleType(name)


def pytest_configure(config: pytest.Config) -> None:
    _stand_in_for_missing_module()
    RemoteFacade.control = Control()
    luigi.scheduler.Scheduler = RemoteFacade
    luigi.worker.Scheduler = RemoteFacade


def pytest_unconfigure(config: pytest.Config) -> None:
    RemoteFacade.control.end()
