"""Partitions that a task learns of while it runs, and asks for with `yield`.

    PYTHONPATH=. luigi --module partitions Measurements --day 2026-05-01 --workers 2 --scheduler-url http://localhost:8082

`Measurements` stops at its `yield`, gives its place to others, and is run again from its beginning when the partitions
are done. So what stands before the `yield` must be quick and have no effect. All of them are asked for in one `yield`:
one after the other, only one would run at a time.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import luigi

from luigi_ha.targets import LocalTarget

DATA = Path("partitions-data")


class Stations(luigi.Task):
    """Which stations have measured on that day."""

    day = luigi.DateParameter()

    def output(self) -> LocalTarget:
        return LocalTarget(DATA / f"{self.day}" / "stations.json")

    def run(self) -> None:
        with self.output().open("w") as out:
            json.dump([f"station-{number}" for number in range(self.day.day % 3 + 3)], out)


class Partition(luigi.Task):
    """The measurements of one station."""

    day = luigi.DateParameter()
    station = luigi.Parameter()

    def output(self) -> LocalTarget:
        return LocalTarget(DATA / f"{self.day}" / f"{self.station}.csv")

    def run(self) -> None:
        with self.output().open("w") as out:
            out.writelines(f"{self.station},{hour},{(hour * 7) % 24}\n" for hour in range(24))


class Measurements(luigi.Task):
    """All of them in one file."""

    day = luigi.DateParameter()

    def requires(self) -> luigi.Task:
        return Stations(self.day)

    def output(self) -> LocalTarget:
        return LocalTarget(DATA / f"{self.day}.csv")

    def run(self) -> Iterator[list[luigi.Task]]:
        with self.input().open() as found:
            stations = json.load(found)
        parts = yield [Partition(self.day, station) for station in stations]
        with self.output().open("w") as out:
            for part in parts:
                with part.open() as lines:
                    out.writelines(lines)
