"""Extract, transform, load: orders of one day from a source to S3, as parquet with pandas, into a database.

    PYTHONPATH=. luigi --module etl Load --date 2026-05-01 --scheduler-url http://localhost:8082

Where the files go is `[etl] files` in luigi.cfg: s3://warehouse (S3 as luigi's own `[s3]` section has it), or, to try
it without S3, a directory:

    PYTHONPATH=. luigi --module etl Load --date 2026-05-01 --etl-files etl-data --scheduler-url http://localhost:8082

Each stage can be repeated at any time without harm. The files are written once and verified (luigi_ha.targets). The
load is one transaction: the rows, and the note that they are there, which is what `Load` looks for to see if it is
done.
"""

import contextlib
import random
import sqlite3

import luigi
import pandas as pd

from luigi_ha.targets import LocalTarget, S3Target

SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (day TEXT, id INTEGER, country TEXT, amount REAL, vat REAL);
CREATE TABLE IF NOT EXISTS loaded (day TEXT PRIMARY KEY, rows INTEGER);
"""


class etl(luigi.Config):  # noqa: N801 - luigi names the section of luigi.cfg by it
    """Where things are; `[etl]` in luigi.cfg."""

    files = luigi.Parameter(default="s3://warehouse")
    database = luigi.Parameter(default="warehouse.db")
    vat = luigi.FloatParameter(default=0.2)


def stored(name: str) -> LocalTarget | S3Target:
    """A file: on S3, or below a directory."""
    path = f"{etl().files}/{name}"
    return S3Target(path) if path.startswith("s3://") else LocalTarget(path)


class Extract(luigi.Task):
    """The day's orders, as the shop has them."""

    date = luigi.DateParameter()

    def output(self) -> LocalTarget | S3Target:
        return stored(f"raw/orders-{self.date}.csv")

    def run(self) -> None:
        shop = random.Random(str(self.date))  # noqa: S311 - stands for the shop's API
        orders = pd.DataFrame(
            {
                "id": range(500),
                "country": shop.choices(["AT", "CH", "DE"], k=500),
                "amount": [round(shop.uniform(5, 500), 2) for _ in range(500)],
            }
        )
        with self.output().open("w") as out:
            orders.to_csv(out, index=False)


class Transform(luigi.Task):
    """The same, checked and with the tax."""

    date = luigi.DateParameter()

    def requires(self) -> luigi.Task:
        return Extract(self.date)

    def output(self) -> LocalTarget | S3Target:
        return stored(f"clean/orders-{self.date}.parquet")

    def run(self) -> None:
        with self.input().open("r") as source:
            orders = pd.read_csv(source)
        if orders["id"].duplicated().any():
            raise ValueError(f"{self.input().path}: an order is there twice")
        orders["vat"] = (orders["amount"] * etl().vat).round(2)
        with self.output().open("wb") as out:
            orders.to_parquet(out, index=False)


class Loaded(luigi.Target):
    """The note in the database that a day is there."""

    def __init__(self, database: str, day: str) -> None:
        self.database = database
        self.day = day

    def exists(self) -> bool:
        with contextlib.closing(connect(self.database)) as database:
            return database.execute("SELECT 1 FROM loaded WHERE day = ?", (self.day,)).fetchone() is not None


class Load(luigi.Task):
    """Into the database. `resources`: how many do so at once is the scheduler's to say ([resources] database=2)."""

    date = luigi.DateParameter()
    resources = {"database": 1}  # noqa: RUF012 - luigi's way

    def requires(self) -> luigi.Task:
        return Transform(self.date)

    def output(self) -> Loaded:
        return Loaded(etl().database, str(self.date))

    def run(self) -> None:
        with self.input().open("rb") as source:
            orders = pd.read_parquet(source)
            self.set_status_message(f"{len(orders)} orders from {source.name}")
        day = str(self.date)
        rows = [(day, *row) for row in orders[["id", "country", "amount", "vat"]].itertuples(index=False)]
        with contextlib.closing(connect(etl().database)) as database, database:
            database.execute("INSERT INTO loaded VALUES (?, ?)", (day, len(rows)))  # the second of two runs ends here
            database.executemany("INSERT INTO orders VALUES (?, ?, ?, ?, ?)", rows)


def connect(path: str) -> sqlite3.Connection:
    """The database, with its tables."""
    database = sqlite3.connect(path, timeout=30)
    database.executescript(SCHEMA)
    return database
