"""The chain of bench.chain: each task takes a moment, and writes down when it began and ended."""

import os
import time
from pathlib import Path

import luigi

DIRECTORY = Path(os.environ.get("CHAIN_DIRECTORY", "/nonexistent"))


class Link(luigi.Task):
    """Number n of a chain."""

    n = luigi.IntParameter()
    milliseconds = luigi.FloatParameter(default=10.0, significant=False)

    def requires(self) -> list["Link"]:
        return [Link(self.n - 1, self.milliseconds)] if self.n else []

    def output(self) -> luigi.LocalTarget:
        return luigi.LocalTarget(str(DIRECTORY / f"{self.n}.txt"))

    def run(self) -> None:
        began = time.time()
        time.sleep(self.milliseconds / 1000)
        with self.output().open("w") as out:
            out.write(f"{began} {time.time()}")
