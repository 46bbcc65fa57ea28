"""Bounds of tests: as tight as they say on a machine that keeps time, and wider by what it is late."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from tests.support import patience
from tests.support.patience import allowed

Tell = Callable[[int], None]
TELLS = """
import time
from tests.support.patience import allowed
began = time.monotonic()
print("begun", flush=True)
input()
print(allowed(0.0, began))
"""


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Tell:
    """Have so many threads run on the machine."""

    def tell(threads: int) -> None:
        monkeypatch.setattr(patience, "running", lambda: threads)
        time.sleep(3 * patience.TICK)  # a look that was under way

    return tell


def test_a_process_that_is_let_run_has_no_more_time(running: Tell) -> None:
    running(1)
    began = time.monotonic()
    time.sleep(0.5)
    assert 1.0 <= allowed(1.0, began) < 1.0 + (time.monotonic() - began)


def test_where_three_share_a_processor_it_takes_three_times_as_long(running: Tell) -> None:
    running(3 * patience.CPUS)
    began = time.monotonic()
    time.sleep(0.5)
    assert 3.0 <= allowed(1.0, began) < 3.0 + (time.monotonic() - began)


def test_a_process_that_could_not_run_has_so_much_more() -> None:
    """Held by a signal as by a scheduler that gives others their turn, but for a known time."""
    command = [sys.executable, "-c", TELLS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as late:
        assert late.stdin is not None
        assert late.stdout is not None
        assert late.stdout.readline() == "begun\n"
        late.send_signal(signal.SIGSTOP)
        time.sleep(1.0)
        late.send_signal(signal.SIGCONT)
        told = float(late.communicate("\n")[0])
    assert told > 0.9


def test_the_kernel_says_how_many_run() -> None:
    """At least who asks."""
    assert patience.running() >= 1
