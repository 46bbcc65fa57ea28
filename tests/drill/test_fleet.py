"""A drill's worker: what it ended with is known, unless the drill itself ended it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from luigi_ha.appliance.drill.fleet import Daemon
from luigi_ha.appliance.drill.place import DrillError

DRAINS = """
import signal, sys, time
signal.signal(15, lambda *_: sys.exit(0))
print("ready", flush=True)
time.sleep(600)
"""


class Place:
    """Where any command is a program that drains."""

    url = "http://127.0.0.1:5"

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[bytes]] = []

    def popen(self, *_words: object) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen([sys.executable, "-c", DRAINS], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        self.started.append(process)
        return process


@pytest.fixture
def place() -> Iterator[Place]:
    made = Place()
    yield made
    for process in made.started:
        process.kill()
        process.communicate()


def worker(place: Any, directory: Path) -> Daemon:
    return Daemon(place, directory, {}, "lot", "worker-1", list)


def test_what_the_drill_ends_is_no_failure(place: Place, tmp_path: Path) -> None:
    daemon = worker(place, tmp_path)
    assert "gone" in daemon.kill()
    daemon.heal()
    assert "exit code 0" in daemon.stop()
    daemon.heal()
    assert daemon.end() == 0
    assert len(place.started) == 3


@pytest.mark.parametrize("healed", [True, False])
@pytest.mark.parametrize("frozen", [True, False])
def test_a_worker_that_ends_by_itself_is_noted(place: Place, tmp_path: Path, *, frozen: bool, healed: bool) -> None:
    daemon = worker(place, tmp_path)
    if frozen:
        daemon.freeze()
        daemon.heal()
    os.kill(place.started[0].pid, signal.SIGSEGV)
    place.started[0].wait()
    if healed:
        daemon.heal()
    assert daemon.end() == -signal.SIGSEGV


def test_what_is_gone_is_not_struck(place: Place, tmp_path: Path) -> None:
    daemon = worker(place, tmp_path)
    daemon.kill()
    for deed in (daemon.kill, daemon.stop, daemon.freeze):
        with pytest.raises(DrillError, match="has ended already"):
            deed()
