"""A pipeline whose tasks outlive a failover: started, listened to, and what is to be known of it afterwards.

Stock luigi runs it, or `luigi-ha submit` gives it to `luigi-ha worker`s (luigi_ha.appliance.drill.fleet).
"""

import shutil
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from luigi_ha.appliance.drill import effects, records
from luigi_ha.appliance.drill.pipeline_tasks import DIRECTORY, LOG, TARGETS, required
from luigi_ha.appliance.drill.place import BIN, Breakable, DrillError, now

LAYERS, WORKERS = "4,2,1", 2
MODULE = "luigi_ha.appliance.drill.pipeline_tasks"
SECONDS = {"pair": 2.0, "lab": 3.0, "hosts": 2.0}  # each task takes; asking a lab who has which role takes a while
LATEST = 120.0  # s after which luigi is ended
STARTS_WITHIN = 90.0
WORKS_WITHIN = 5.0


class Pipeline:
    """Stock luigi, with tasks that outlive a failover."""

    who = "luigi"

    def __init__(self, place: Breakable, directory: Path, seconds: float | None, retry_wait: float) -> None:
        self.seconds = SECONDS[place.kind] if seconds is None else seconds
        self._directory = directory
        self._lot = f"l{time.time_ns() // 1_000_000}"
        self._words = directory / "luigi.txt"
        config = directory / "luigi.cfg"
        options = {"autoload_range": "false", "lock_pid_dir": directory / "lock"}
        options["rpc-retry-wait"] = f"{retry_wait:g}"
        config.write_text("[core]\n" + "".join(f"{name}={value}\n" for name, value in options.items()))
        self._environ = {DIRECTORY: str(directory), "LUIGI_CONFIG_PATH": str(config), "PYTHONUNBUFFERED": "1"}
        words = {"lot": self._lot, "layers": LAYERS, "seconds": self.seconds, "number": 0, "layer": LAYERS.count(",")}
        self._began = now()
        argv = self._argv(place, ["Piece", *(f"--{name}={value}" for name, value in words.items())])
        self._process = place.popen(argv, self._environ, directory, self._words)
        self._heard: list[tuple[float, str]] = []
        self._over = threading.Event()
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()

    def _argv(self, place: Breakable, task: list[str]) -> list[str]:
        """The program that ends when the pipeline is done."""
        more = [f"--scheduler-url={place.url}", f"--workers={WORKERS}"]
        return [str(BIN / "luigi"), "--module", MODULE, *task, *more]

    def wait_for_starts(self, count: int) -> None:
        """DrillError if so many tasks do not begin."""
        until = time.monotonic() + STARTS_WITHIN
        while sum(effect.what == "start" for effect in self._effects()) < count:
            if self._process.poll() is not None or time.monotonic() > until:
                raise DrillError(f"{self.who} began fewer than {count} tasks: {self._words.read_text()[-600:]}")
            time.sleep(0.01)

    def wait_for_work(self) -> None:
        """Until a task is at work, or for as long as it takes that one begins as a rule."""
        until = time.monotonic() + WORKS_WITHIN
        while time.monotonic() < until and self._process.poll() is None:
            seen = self._effects()
            if 2 * sum(effect.what == "start" for effect in seen) > len(seen):
                return
            time.sleep(0.01)

    def finish(self) -> dict[str, Any]:
        """Wait for luigi's end; what is to be known of it."""
        code: int | None = None
        with suppress(subprocess.TimeoutExpired):
            code = self._process.wait(LATEST)
        ended = now()
        if code is None:
            self._process.kill()
            self._process.wait()
        self._over.set()
        self._listening.join()
        records.write_lines(self._directory / records.WORDS, self._heard)
        targets = self._directory / TARGETS
        there = sorted(path.name for path in targets.iterdir()) if targets.exists() else []
        shutil.rmtree(targets, ignore_errors=True)
        return {
            "lot": self._lot, "layers": LAYERS, "tasks": len(required(LAYERS)), "exit_code": code, "targets": there,
            "began": self._began, "ended": ended,
        }  # fmt: skip

    def _effects(self) -> list[effects.Effect]:
        log = self._directory / LOG
        return effects.read(log.read_text()) if log.exists() else []

    def _listen(self) -> None:
        """Note luigi's words when they come."""
        with self._words.open() as words:
            while True:
                over = self._over.is_set()
                for line in words:
                    self._heard.append((now(), line.rstrip()))
                if over:
                    return
                time.sleep(0.02)
