"""A small pipeline of Luigi's usual kind: extract, transform, load; and a report that asks for its days as it runs.

Nothing in it knows which scheduler it runs on. Besides its output each task appends one line to the effects log when it
does its work: the demonstration counts these lines, so it does not have to believe any scheduler.
"""

import csv
import os
import random
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import luigi

WORK = Path(os.environ.get("DEMO_DIRECTORY", "demo-data"))
REGIONS = ("north", "south", "west")
DAYS = ("2024-05-01", "2024-05-02")


def take_effect(task: luigi.Task, seconds: float) -> None:
    """Work for a while, and say so in the effects log. The append of a short line is atomic."""
    time.sleep(seconds)
    line = f"{task.task_id} {os.getpid()}\n"
    log = os.open(WORK / "effects.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(log, line.encode())
    finally:
        os.close(log)


class Extract(luigi.Task):
    """Sales of one region on one day, as they come."""

    day = luigi.Parameter()
    region = luigi.Parameter()
    resources = {"source": 1}  # noqa: RUF012 - luigi's way

    def output(self) -> luigi.LocalTarget:
        return luigi.LocalTarget(WORK / f"{self.day}-{self.region}.csv")

    def run(self) -> None:
        take_effect(self, 0.5)
        dice = random.Random(self.task_id)  # noqa: S311 - sample data
        with self.output().open("w") as out:
            csv.writer(out).writerows((f"item {n}", dice.randrange(1, 100)) for n in range(20))


class Transform(luigi.Task):
    """Their sum."""

    day = luigi.Parameter()
    region = luigi.Parameter()

    def requires(self) -> luigi.Task:
        return Extract(self.day, self.region)

    def output(self) -> luigi.LocalTarget:
        return luigi.LocalTarget(WORK / f"{self.day}-{self.region}.sum")

    def run(self) -> None:
        take_effect(self, 0.7)
        with self.input().open() as rows, self.output().open("w") as out:
            out.write(str(sum(int(amount) for _item, amount in csv.reader(rows))))


class Load(luigi.Task):
    """One day's sums, into the warehouse."""

    day = luigi.Parameter()

    def requires(self) -> list[luigi.Task]:
        return [Transform(self.day, region) for region in REGIONS]

    def output(self) -> luigi.LocalTarget:
        return luigi.LocalTarget(WORK / f"{self.day}.loaded")

    def run(self) -> None:
        take_effect(self, 0.6)
        rows = [(self.day, *self._read(source)) for source in self.input()]
        with sqlite3.connect(WORK / "warehouse.db") as warehouse:
            warehouse.execute("CREATE TABLE IF NOT EXISTS sales (day TEXT, source TEXT, amount INTEGER)")
            warehouse.executemany("INSERT INTO sales VALUES (?, ?, ?)", rows)
        with self.output().open("w") as out:
            out.write(f"{len(rows)} rows")

    @staticmethod
    def _read(source: luigi.LocalTarget) -> tuple[str, int]:
        with source.open() as text:
            return Path(source.path).stem, int(text.read())


class Calendar(luigi.Task):
    """Which days there are."""

    def output(self) -> luigi.LocalTarget:
        return luigi.LocalTarget(WORK / "calendar.txt")

    def run(self) -> None:
        take_effect(self, 0.3)
        with self.output().open("w") as out:
            out.write("\n".join(DAYS))


class Report(luigi.Task):
    """The total. Which days it needs it learns while it runs: they are asked for by `yield`."""

    def requires(self) -> luigi.Task:
        return Calendar()

    def output(self) -> luigi.LocalTarget:
        return luigi.LocalTarget(WORK / "report.txt")

    def run(self) -> Iterator[list[luigi.Task]]:
        with self.input().open() as calendar:
            days = calendar.read().split()
        yield [Load(day) for day in days]
        take_effect(self, 0.3)
        with sqlite3.connect(WORK / "warehouse.db") as warehouse:
            total, rows = warehouse.execute("SELECT sum(amount), count(*) FROM sales").fetchone()
        with self.output().open("w") as out:
            out.write(f"{rows} rows, {total} in all")
