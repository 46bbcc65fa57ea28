"""Bounds of tests: as tight as they say on a machine that keeps time, and wider by what it is late."""

import subprocess
import sys
import time

from tests.support.patience import allowed

BUSY = "import time; end = time.monotonic() + 60\nwhile time.monotonic() < end: pass"
LATE = """
import os, time
from tests.support.patience import allowed
began = time.monotonic()
while time.monotonic() - began < 3: os.sched_yield()
print(allowed(0.0, began))
"""


def test_a_process_that_is_let_run_has_no_more_time() -> None:
    began = time.monotonic()
    time.sleep(0.5)
    assert 1.0 <= allowed(1.0, began) < 1.0 + (time.monotonic() - began)


def test_a_process_that_waits_for_its_turn_has_more() -> None:
    """One processor for all of them, and ours comes last."""
    pinned = ["taskset", "-c", "0", "nice", "-n", "19", sys.executable, "-c"]
    busy = [subprocess.Popen(["taskset", "-c", "0", sys.executable, "-c", BUSY]) for _ in range(2)]
    try:
        told = subprocess.run([*pinned, LATE], capture_output=True, text=True, check=True, timeout=120).stdout
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert float(told) > 0.3
