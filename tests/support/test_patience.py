"""Bounds of tests: as tight as they say on a machine that keeps time, and wider by what it is late."""

import signal
import subprocess
import sys
import time

from tests.support.patience import allowed

TELLS = """
import time
from tests.support.patience import allowed
began = time.monotonic()
print("begun", flush=True)
input()
print(allowed(0.0, began))
"""


def test_a_process_that_is_let_run_has_no_more_time() -> None:
    began = time.monotonic()
    time.sleep(0.5)
    assert 1.0 <= allowed(1.0, began) < 1.0 + (time.monotonic() - began)


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
