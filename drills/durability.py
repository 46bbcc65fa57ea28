"""Durability drill: the scheduler, or its database, is killed again and again under load; nothing may be lost.

    python -m drills.durability --database sqlite --kills 200
    python -m drills.durability --database postgresql --kills 200 --seed 7
    python -m drills.durability --database postgresql --fault database --kills 50
    python -m drills.durability --self-test

A throw-away database is made (PostgreSQL with fsync on), the scheduler is started as a process of its own, and clients
call it without ever repeating a call. After every restart its state is compared with the clients' ledger; at the end
the database is audited by SQL. Exit codes: 0 passed, 1 failed, 3 inconclusive (the faults are not proven to have
bitten, or too little was at stake).

Not covered: a machine that loses power (SIGKILL leaves the page cache), and a disk that lies.
"""

import argparse
import asyncio
import contextlib
import json
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from drills import selftest
from drills.audit import audit
from drills.comparison import ComparisonError
from drills.ledger import Kind, Ledger
from drills.report import EXIT_CODES, Meter, Report, Verdict
from drills.rounds import DATABASE, Rounds, schedule
from drills.scheduler import Scheduler, SchedulerFailedError
from drills.wire import BrokenError, NotSentError
from tests.support.servers import PostgresServer, postgres_server


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m drills.durability", description=(__doc__ or "").split("\n\n")[0])
    made.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    made.add_argument("--fault", choices=("scheduler", "database"), default="scheduler", help="who is killed")
    made.add_argument("--kills", type=int, default=200)
    made.add_argument("--rate", type=float, default=500.0, help="calls per second")
    made.add_argument("--seed", type=int, help="of everything random in the drill [a random one, which is shown]")
    made.add_argument("--longest-load", type=float, default=0.9, help="seconds of load before a kill, at most")
    made.add_argument("--long-outages", type=int, help="database outages longer than calls are parked [kills / 25]")
    made.add_argument("--keep", type=Path, help="keep scheduler log, ledger and SQLite file in this directory")
    made.add_argument("--json", action="store_true", help="print the figures as JSON")
    made.add_argument("--self-test", action="store_true", help="show the checker broken systems, which it must reject")
    return made


@contextlib.contextmanager
def _place(options: argparse.Namespace) -> Iterator[tuple[str, Path, PostgresServer | None]]:
    """A database URL, a directory for everything, and the server if there is one."""
    with contextlib.ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="drill-"))
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        if options.database == "sqlite":
            yield f"sqlite:///{directory}/drill.db", directory, None
        else:
            server = stack.enter_context(postgres_server())
            # A killed server comes back quickly, and is small.
            server.options += ["-c", "max_wal_size=256MB"]
            yield server.url(), directory, server
        if options.keep is not None:
            shutil.copytree(directory, options.keep, dirs_exist_ok=True)


async def _run(rounds: Rounds, options: argparse.Namespace, report: Report, rng: random.Random) -> None:
    meter = Meter(report.name, options.kills)
    try:
        if options.fault == "database":
            await rounds.kill_database(options.kills, _long_outages(options), report, meter)
        else:
            faults = schedule(options.kills, rng)
            report.wanted = Counter(faults)
            await rounds.kill_scheduler(faults, report, meter)
    except (SchedulerFailedError, ComparisonError, BrokenError, NotSentError) as error:
        rounds.ledger.violate(Kind.WRONG, "serve", "starts, and answers", f"{type(error).__name__}: {error}")
    finally:
        meter.close()


def _long_outages(options: argparse.Namespace) -> int:
    return int(options.kills // 25 if options.long_outages is None else options.long_outages)


def drill(options: argparse.Namespace) -> Verdict:
    """Run it, print what it found."""
    seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    rng = random.Random(seed)
    killed = "the database" if options.fault == "database" else "the scheduler"
    report = Report(f"SIGKILL of {killed}, {options.database}", seed, Counter({DATABASE: options.kills}))
    with _place(options) as (url, directory, server):
        scheduler = Scheduler(url, directory)
        rounds = Rounds(scheduler, server, rng, options.rate, options.longest_load)
        try:
            asyncio.run(_run(rounds, options, report, rng))
        finally:
            scheduler.end()
        report.events = audit(url, rounds.ledger)
        verdict, _ = report.verdict(rounds.ledger)
        if verdict is Verdict.FAILED and options.keep is None:
            options.keep = Path(tempfile.mkdtemp(prefix="drill-failed-"))
        if options.keep is not None:
            _write(rounds.ledger, directory / "ledger.txt")
            print(f"evidence is kept in {options.keep}", file=sys.stderr)
    if options.json:
        print(json.dumps(report.figures(rounds.ledger), indent=2))
    else:
        report.show(rounds.ledger)
        print(verdict.value)
    return verdict


def _write(ledger: Ledger, path: Path) -> None:
    with path.open("w") as lines:
        lines.writelines(f"{call}\n" for call in ledger.calls)


def main(arguments: Sequence[str] | None = None) -> int:
    """The program."""
    options = parser().parse_args(arguments)
    # Whoever ends us, the database and the scheduler that we started end too.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    if options.fault == "database" and options.database != "postgresql":
        parser().error("--fault database needs --database postgresql")
    if options.self_test:
        return selftest.main(as_json=options.json)
    return EXIT_CODES[drill(options)]


if __name__ == "__main__":
    sys.exit(main())
