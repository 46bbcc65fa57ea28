"""The hosts' times of day: each can be set, for luigi-ha, Patroni and PostgreSQL, while they run (clock.c)."""

import shutil
import struct
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from luigi_ha.appliance import clock
from luigi_ha.appliance.lab.errors import LabError, NoBite, WrongUse
from luigi_ha.appliance.lab.plan import PORT, Host, Plan

if TYPE_CHECKING:
    from luigi_ha.appliance.lab.lab import Lab

SOURCE = Path(__file__).with_name("clock.c")
COMPILER = "cc"
SAID_WITHIN = 20.0  # s; a node may just be starting


def check() -> None:
    """WrongUse unless this machine can build what moves a clock."""
    if shutil.which(COMPILER) is None:
        raise WrongUse("hosts with clocks of their own need a C compiler: apt-get install gcc libc6-dev")


def build(plan: Plan) -> None:
    """What is preloaded, and each host's clock, which agrees with the machine's."""
    command = [COMPILER, "-shared", "-fPIC", "-O2", "-o", str(_library(plan)), str(SOURCE), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"{COMPILER}: {done.stderr.strip()}")
    for host in plan.nodes:
        put(plan, host, 0.0)


def environ(plan: Plan, host: Host) -> dict[str, str]:
    """The variables of a service that sees the host's clock."""
    return {"LD_PRELOAD": str(_library(plan)), "LAB_CLOCK": str(_file(plan, host))} if plan.clocks else {}


def put(plan: Plan, host: Host, ahead: float) -> None:
    """From now on the host's time of day is so many seconds ahead of the machine's."""
    if not plan.clocks:
        raise WrongUse("the hosts of this lab have no clocks of their own; expected one that was brought up with them")
    with _file(plan, host).open("r+b" if _file(plan, host).exists() else "wb", buffering=0) as out:
        out.write(struct.pack("d", ahead))


def said(lab: "Lab", host: Host, expected: float) -> float:
    """By how many seconds the host's luigi-ha says that its time of day is ahead. NoBite if it is not what is expected,
    for some seconds."""
    deadline, found = time.monotonic() + SAID_WITHIN, None
    while found is None or abs(found - expected) > 1.0:
        if time.monotonic() > deadline:
            raise NoBite(f"{host.name} says that its time of day is {found} s ahead, and not {expected:+g} s")
        time.sleep(0.05)
        with suppress(OSError, KeyError, TypeError):
            found = float(lab.ask(host.name, host.address, PORT, "/health")[1]["time"]) - clock.wall()
    return found


def ahead(plan: Plan, host: Host) -> float:
    """By how many seconds it is."""
    return float(struct.unpack("d", _file(plan, host).read_bytes())[0])


def _library(plan: Plan) -> Path:
    return plan.directory / "clock.so"


def _file(plan: Plan, host: Host) -> Path:
    return plan.of(host) / "clock"
