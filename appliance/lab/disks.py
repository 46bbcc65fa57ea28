"""Disks that are full: what fills one, and how PostgreSQL is made to need room on it."""

from typing import TYPE_CHECKING

from luigi_ha.appliance.lab.errors import LabError, NoBite, WrongUse
from luigi_ha.appliance.lab.plan import Host

if TYPE_CHECKING:
    from luigi_ha.appliance.lab.lab import Lab

MARGIN = 4 << 20  # bytes that are filled one block after the other: files need room for themselves
FILLERS = ("filler", "filler.rest")
SEGMENTS = 40  # of WAL; more than are kept for use again
_SWITCH = "CREATE TABLE IF NOT EXISTS full_disk (n int); INSERT INTO full_disk VALUES (1); SELECT pg_switch_wal()"


def fill(lab: "Lab", host: Host) -> str:
    """Fill it to the last byte, and let PostgreSQL ask for more; how that was answered."""
    if not lab.plan.disks:
        raise WrongUse("the hosts of this lab have no disks of their own; expected one that was brought up with them")
    place = lab.plan.of(host) / "postgres"
    free = lab.run(host.name, ["df", "--output=avail", "--block-size=1", str(place)]).stdout.split()[-1]
    lab.run(host.name, ["fallocate", "--length", str(int(free) - MARGIN), str(place / "filler")])
    lab.run(host.name, ["sh", "-c", f"dd if=/dev/zero of={place / 'filler.rest'} bs=4k 2>/dev/null || true"])
    local = ["psql", "-h", "/run/postgresql", "-U", "postgres", "-d", "postgres", "-Atqc"]
    for _ in range(SEGMENTS):
        try:
            lab.run(host.name, [*local, f"SET synchronous_commit = local; {_SWITCH}"], timeout=20.0)
        except LabError as error:
            return f"{int(free) >> 20} MiB are filled, and none is free; {str(error).splitlines()[-1]}"
    raise NoBite(f"{host.name}: PostgreSQL writes {SEGMENTS} segments to a disk that is full")


def free(lab: "Lab", host: Host) -> None:
    """There is room again."""
    lab.run(host.name, ["rm", "-f", *(str(lab.plan.of(host) / "postgres" / name) for name in FILLERS)])
