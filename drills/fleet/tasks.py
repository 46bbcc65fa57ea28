"""The tasks that the fleet runs, and what they write down.

Each run appends a line to one file when it begins and one when it is over (O_APPEND, one write each): what happened is
read there, and no scheduler or worker is believed. A line is a JSON list: what, CLOCK_BOOTTIME s, task, attempt,
run_id, worker, process id. Where the file is, and which worker this is, comes from the environment; the run from
`luigi-ha worker`, which tells each task process what it runs.

A task asks nothing of those it needs: that they are over is the scheduler's affair, and is judged by the file.
"""

import json
import os
import time

import luigi

EFFECTS = "FLEET_EFFECTS"  # the file
WORKER = "FLEET_WORKER"  # whose process this is: also how the drill finds it
MODULE = __name__


def tell(what: str) -> None:
    """One line."""
    told = os.environ
    line = [
        what, time.clock_gettime(time.CLOCK_BOOTTIME), told.get("LUIGI_HA_TASK_ID"),
        int(told.get("LUIGI_HA_ATTEMPT", "0")), told.get("LUIGI_HA_RUN_ID"), told.get(WORKER), os.getpid(),
    ]  # fmt: skip
    log = os.open(told[EFFECTS], os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        os.write(log, (json.dumps(line) + "\n").encode())
    finally:
        os.close(log)


class Step(luigi.Task):
    """Takes `seconds`. Nobody can ask it whether it is complete: if it runs twice, that is seen."""

    task_namespace = "fleet"
    name = luigi.Parameter()
    seconds = luigi.FloatParameter()

    def complete(self) -> bool:
        return False

    def run(self) -> None:
        tell("begin")
        time.sleep(self.seconds)
        tell("end")
