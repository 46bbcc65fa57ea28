"""Many days with few runs: two ways to keep a long range from becoming thousands of small tasks.

    PYTHONPATH=. luigi --module ranges Summaries --start 2026-01-01 --days 90 --scheduler-url http://localhost:8082
    PYTHONPATH=. luigi --module ranges Archive --start 2025-01-01 --days 365 --scheduler-url http://localhost:8082

*Batches*: each day is a task of its own, so that it can fail and be asked for alone; the scheduler gives a worker up to
31 of those that are waiting as one run. `batch_method` says how their parameters become one.

*Windows*: a hundred days are one task. The scheduler knows a hundredth of the tasks, and a window is done as a whole or
not at all.
"""

import datetime as dt
import json
from collections.abc import Iterable
from pathlib import Path

import luigi

from luigi_ha.targets import LocalTarget

DATA = Path("ranges-data")


def days_from(start: dt.date, days: int) -> list[str]:
    return [str(start + dt.timedelta(number)) for number in range(days)]


def visitors(days: Iterable[str]) -> dict[str, int]:
    """What costs as much for one day as for many: a query, a login, the start of a cluster."""
    DATA.mkdir(exist_ok=True)
    with (DATA / "queries.log").open("a") as log:
        log.write(f"{len(list(days))}\n")
    return {day: dt.date.fromisoformat(day).toordinal() % 1000 for day in days}


class Summary(luigi.Task):
    """A day's visitors; or, in a batch, those of several: `days` is then "2026-01-01,2026-01-02,..."."""

    days = luigi.Parameter(batch_method=",".join)
    max_batch_size = 31

    def output(self) -> list[LocalTarget]:
        return [LocalTarget(DATA / f"{day}.json") for day in self.days.split(",")]

    def run(self) -> None:
        found = visitors(self.days.split(","))
        for day, output in zip(self.days.split(","), self.output(), strict=True):
            if not output.exists():  # a batch that is run again has written some of them
                with output.open("w") as out:
                    json.dump(found[day], out)


class Summaries(luigi.WrapperTask):
    """Each day of a range."""

    start = luigi.DateParameter()
    days = luigi.IntParameter()

    def requires(self) -> list[luigi.Task]:
        return [Summary(day) for day in days_from(self.start, self.days)]


class Window(luigi.Task):
    """A hundred days, or what is left of the range."""

    start = luigi.DateParameter()
    days = luigi.IntParameter(default=100)

    def output(self) -> LocalTarget:
        return LocalTarget(DATA / f"{self.start}+{self.days}.json")

    def run(self) -> None:
        with self.output().open("w") as out:
            json.dump(visitors(days_from(self.start, self.days)), out)


class Archive(luigi.WrapperTask):
    """A range, in windows."""

    start = luigi.DateParameter()
    days = luigi.IntParameter()
    window = luigi.IntParameter(default=100, significant=False)

    def requires(self) -> list[luigi.Task]:
        firsts = range(0, self.days, self.window)
        return [Window(self.start + dt.timedelta(n), min(self.window, self.days - n)) for n in firsts]
