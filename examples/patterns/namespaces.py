"""Pipelines of several teams on one scheduler, told apart by namespaces.

    PYTHONPATH=. luigi --module namespaces board.Report --week 18 --scheduler-url http://localhost:8082

A task of namespace `marketing` is `marketing.Clicks` everywhere: on the command line, in the visualiser, in
`GET /api/task?namespace=marketing`, in the metrics (label `namespace`). What the scheduler does with it:

* `luigi-ha worker --namespaces marketing` runs only those (and what is below, `marketing.web`);
* `namespace_limits = { marketing = 10 }` in the scheduler's configuration: no more of them at once.

Nothing keeps tasks of one from needing those of another, as `board.Report` does.
"""

import os
from pathlib import Path

import luigi

from luigi_ha.targets import LocalTarget

DATA = Path(os.environ.get("NAMESPACES_DATA", "namespaces-data"))


class Clicks(luigi.Task):
    """What marketing counts."""

    task_namespace = "marketing"
    week = luigi.IntParameter()

    def output(self) -> LocalTarget:
        return LocalTarget(DATA / "marketing" / f"clicks-{self.week}.txt")

    def run(self) -> None:
        with self.output().open("w") as out:
            out.write(str(self.week * 1000))


class Invoices(luigi.Task):
    """What finance counts."""

    task_namespace = "finance"
    week = luigi.IntParameter()

    def output(self) -> LocalTarget:
        return LocalTarget(DATA / "finance" / f"invoices-{self.week}.txt")

    def run(self) -> None:
        with self.output().open("w") as out:
            out.write(str(self.week * 10))


class Report(luigi.Task):
    """What the board reads."""

    task_namespace = "board"
    week = luigi.IntParameter()

    def requires(self) -> list[luigi.Task]:
        return [Clicks(week=self.week), Invoices(week=self.week)]

    def output(self) -> LocalTarget:
        return LocalTarget(DATA / f"report-{self.week}.txt")

    def run(self) -> None:
        clicks, invoices = (int(self._read(source)) for source in self.input())
        with self.output().open("w") as out:
            out.write(f"one invoice in {clicks / invoices:g} clicks\n")

    @staticmethod
    def _read(source: LocalTarget) -> str:
        with source.open() as text:
            content: str = text.read()
        return content
