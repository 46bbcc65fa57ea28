"""Where a drill happens: made for it or found, well before anything is broken, and gone afterwards."""

import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import typer

from luigi_ha.appliance.cli.errors import CommandError
from luigi_ha.appliance.cli.sharing import configured
from luigi_ha.appliance.drill.cluster import InLab
from luigi_ha.appliance.drill.fault import Fault
from luigi_ha.appliance.drill.hosts import OnHosts
from luigi_ha.appliance.drill.pair import OnLoopback
from luigi_ha.appliance.drill.place import Breakable, DrillError
from luigi_ha.appliance.exit_codes import ExitCode
from luigi_ha.appliance.lab.errors import LabError, WrongUse
from luigi_ha.appliance.lab.lab import Lab

LABS = Path("/var/tmp")  # noqa: S108 - the lab's own directory is in it, and it refuses what is not its own
PREFIX = "luigi-ha-drill-"
SETTLES_WITHIN = 20.0  # s for a place that has just been made


@contextmanager
def somewhere(on: str, config: Path | None, plan: Sequence[Fault], say: Callable[[str], object]) -> Iterator[Breakable]:
    """Where it happens; made for it, with what these faults need, and gone afterwards."""
    if on == "hosts":
        with configured(), OnHosts(config) as hosts:
            yield hosts
        return
    if on == "pair":
        with tempfile.TemporaryDirectory(prefix=PREFIX) as directory, OnLoopback(Path(directory)) as pair:
            yield pair
        return
    lab = Lab(LABS / f"{PREFIX}{os.getpid()}")  # nobody else's
    try:
        lab.up(say, clocks=any(fault.clocks for fault in plan), disks=any(fault.disks for fault in plan))
        yield InLab(lab)
    finally:
        lab.down()


@contextmanager
def told_as_sentences() -> Iterator[None]:
    """What keeps a drill from going on says nothing of what is drilled: inconclusive, and no traceback."""
    try:
        yield
    except WrongUse as error:
        raise CommandError(str(error), ExitCode.CONFIG) from error
    except (DrillError, LabError) as error:
        raise CommandError(f"the drill could not go on: {error}", ExitCode.INCONCLUSIVE) from error


def require_well(place: Breakable) -> None:
    """CommandError with what is less than it should be, before anything is broken. Nodes hear of each other a moment
    after they are ready."""
    until = time.monotonic()
    if place.kind != "hosts":
        place.wait_until_ready()
        until = time.monotonic() + SETTLES_WITHIN
    while (degraded := place.degraded()) and time.monotonic() < until:
        time.sleep(0.1)
    if degraded:
        raise CommandError(f"not begun: {'; '.join(degraded)}; expected a place where all is well")


def ask_first(plan: Sequence[Fault]) -> None:
    """CommandError unless a person agrees."""
    said = ", ".join(f"{count} x {name}" for name, count in Counter(fault.name for fault in plan).items())
    if not sys.stdin.isatty():
        raise CommandError(f"not begun: {said} on your own hosts; expected --yes, or a person to ask", ExitCode.CONFIG)
    if not typer.confirm(f"Strike your own hosts: {said} (PostgreSQL's primary may move along)?", err=True):
        raise CommandError("not begun")
