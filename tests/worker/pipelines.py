"""Tasks whose effects can be counted: each run appends a line to a file of the directory LEDGER.

Imported by workers that the tests start, and run there.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import luigi

from tests.support.patience import patient

LEDGER = Path(os.environ.get("LEDGER", "/nonexistent"))


def note(text: str) -> None:
    """One line, with one system call."""
    with (LEDGER / "ledger").open("ab", buffering=0) as out:
        out.write(f"{text}\n".encode())


def await_gate(n: int, seconds: float) -> None:
    """Until it is opened, or for so long."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and not (LEDGER / f"gate-{n}").exists():
        time.sleep(0.02)


class Noted(luigi.Task):
    """Its run is in the ledger; it is complete when its file is there."""

    n = luigi.IntParameter(default=0)

    def output(self) -> Any:
        return luigi.LocalTarget(str(LEDGER / self.task_id))

    def done(self) -> None:
        Path(self.output().path).write_text("done")

    def run(self) -> Any:
        note(f"{self.task_family} {self.n}")
        self.done()


class Link(Noted):
    """A chain of n."""

    def requires(self) -> Any:
        return Link(n=self.n - 1) if self.n else []


class Dynamic(Noted):
    """Asks for its parts when it runs, in two rounds."""

    def run(self) -> Any:
        note(f"Dynamic {self.n}")
        yield [Noted(n=100 + part) for part in range(3)]
        note("Dynamic between")
        yield Noted(n=200)
        self.done()


class Held(Dynamic):
    """Asks for its parts once its gate is open."""

    def run(self) -> Any:
        await_gate(self.n, 60.0)
        yield from super().run()


class Slow(Noted):
    """Runs until its gate is opened, or for `seconds`."""

    seconds = luigi.FloatParameter(default=60.0)

    def run(self) -> Any:
        note(f"Slow {self.n} {os.getpid()}")
        await_gate(self.n, self.seconds)
        note(f"Slow {self.n} over")
        self.done()


class Stubborn(Noted):
    """Does not end by SIGTERM, and has started a program that does not either."""

    def run(self) -> Any:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen(["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"])
        note(f"Stubborn {os.getpid()} {child.pid}")
        time.sleep(120)


class Failing(Noted):
    def run(self) -> Any:
        print("about to fail")
        raise ValueError("no luck today" + "!" * self.n)


class Exiting(Noted):
    def run(self) -> Any:
        os._exit(self.n)


class Hungry(Noted):
    """Takes memory in a program it starts."""

    def run(self) -> Any:
        code = "import time; taken = bytearray(300_000_000); time.sleep(120)"
        note("Hungry")
        subprocess.run([sys.executable, "-c", code], check=True)


class Talking(Noted):
    """Says everything that a task can say."""

    accepts_messages = True

    def run(self) -> Any:
        self.set_status_message("half-way")
        self.set_progress_percentage(50)
        self.set_tracking_url("http://tracking.example/1")
        note("Talking")
        message = self.scheduler_messages.get(timeout=patient(30))
        note(f"heard {message}")
        message.respond("understood")
        self.done()


class Scarce(Noted):
    """Two of these never run at once."""

    resources = {"licence": 1}  # noqa: RUF012 - as luigi's users write it

    def run(self) -> Any:
        note(f"Scarce {self.n} begins")
        time.sleep(0.3)
        note(f"Scarce {self.n} ends")
        self.done()


class Ranked(Noted):
    @property
    def priority(self) -> int:  # type: ignore[override]
        return self.n


class Dates(luigi.Task):
    """Runs in batches."""

    day = luigi.Parameter(batch_method=lambda days: ",".join(sorted(days)))
    max_batch_size = 10

    def output(self) -> Any:
        return [luigi.LocalTarget(str(LEDGER / f"day-{day}")) for day in self.day.split(",")]

    def run(self) -> Any:
        note(f"Dates {self.day}")
        for target in self.output():
            Path(target.path).write_text("done")


class Chatty(Noted):
    """Writes a lot, by itself and by a program."""

    def run(self) -> Any:
        print("first words")
        for number in range(2000):
            print(f"line {number} " + "x" * 100)
        subprocess.run(["sh", "-c", "echo from a program; echo aside >&2"], check=True)
        print("last words")
        self.done()


class Eventful(Noted):
    """Its events are in the ledger."""

    fails = luigi.BoolParameter(default=False)

    def run(self) -> Any:
        if self.fails:
            raise ValueError("on purpose")
        self.done()


class BadParts(Noted):
    """What it asks for cannot be scheduled."""

    def run(self) -> Any:
        yield Broken(n=self.n)


class Broken(Noted):
    def requires(self) -> Any:
        return luigi.LocalTarget("a target is no task")

    def complete(self) -> bool:
        return False


@Eventful.event_handler(luigi.Event.START)
def _began(task: Any) -> None:
    note("event START")


@Eventful.event_handler(luigi.Event.SUCCESS)
def _succeeded(task: Any) -> None:
    note("event SUCCESS")


@Eventful.event_handler(luigi.Event.FAILURE)
def _failed(task: Any, error: BaseException) -> None:
    note(f"event FAILURE {error}")


@luigi.Task.event_handler(luigi.Event.PROCESS_FAILURE)
def _died(task: Any, error: str) -> None:
    note(f"event PROCESS_FAILURE {task.task_family}")


class Missing(luigi.ExternalTask):
    """Somebody else's file."""

    def output(self) -> Any:
        return luigi.LocalTarget(str(LEDGER / "missing"))


class Needing(Noted):
    """Has one of each kind below it, as `needs` says."""

    needs = luigi.Parameter(default="")
    wait = luigi.IntParameter(default=0)  # the name of an option of `luigi-ha submit`

    def requires(self) -> Any:
        kinds: dict[str, Any] = {
            "noted": lambda: Noted(n=1), "failing": lambda: Failing(n=1), "missing": Missing,
            "chain": lambda: Link(n=3), "slow": lambda: Slow(n=1), "dynamic": lambda: Dynamic(n=5),
            "broken": lambda: Unsure(n=1),
            "target": lambda: Broken(n=1), "batch": lambda: [Dates(day="2024-01-01"), Dates(day="2024-01-02")],
        }  # fmt: skip
        return [kinds[kind]() for kind in self.needs.split(",") if kind]


class Unsure(Noted):
    """Nobody can say whether it is complete."""

    def complete(self) -> bool:
        raise RuntimeError("the warehouse does not answer")


class Wordless(Noted):
    """Fails, and does not say why by itself."""

    how = luigi.Parameter()

    def run(self) -> Any:
        print("working")
        if self.how == "interrupted":
            raise KeyboardInterrupt
        raise {"system exit": SystemExit(), "assertion": AssertionError()}.get(str(self.how), ValueError("no bread"))

    def on_failure(self, exception: BaseException) -> Any:
        if self.how == "on_failure raises":
            raise RuntimeError("mail is down")
        if self.how.startswith("says "):
            return {"says nothing": None, "says blank": "  ", "says empty": {}}[str(self.how)]
        return super().on_failure(exception)


class Secret(Noted):
    """Has a parameter that no scheduler is told."""

    password = luigi.Parameter(visibility=luigi.parameter.ParameterVisibility.PRIVATE)

    def run(self) -> Any:
        note(f"Secret {self.n} {self.password}")
        self.done()


class Impatient(Noted):
    """Somebody presses Ctrl-C while it is asked whether it is complete."""

    def complete(self) -> bool:
        raise KeyboardInterrupt
