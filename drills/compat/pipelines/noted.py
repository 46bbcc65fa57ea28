"""What a task of these pipelines writes down when it begins and ends, as luigi_ha.appliance.drill.pipeline_tasks does.

Imported beside a pipeline in an environment that has nothing of ours.
"""

import os
import time
from pathlib import Path

DIRECTORY = Path(os.environ["PIPELINE_DIRECTORY"])
TARGETS = DIRECTORY / "targets"


def work(name: str, seconds: float) -> None:
    """Take so long, and say so."""
    _tell("start", name)
    time.sleep(seconds)
    _tell("end", name)


def _tell(what: str, name: str) -> None:
    log = os.open(DIRECTORY / "effects.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(log, f"{what} {time.clock_gettime(time.CLOCK_BOOTTIME):.6f} {name} {os.getpid()}\n".encode())
    finally:
        os.close(log)
