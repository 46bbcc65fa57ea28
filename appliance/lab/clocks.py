"""The hosts' times of day: each can be set, for luigi-ha, Patroni and PostgreSQL, while they run (clock.c)."""

import shutil
import struct
import subprocess
from pathlib import Path

from luigi_ha.appliance.lab.errors import LabError, WrongUse
from luigi_ha.appliance.lab.plan import Host, Plan

SOURCE = Path(__file__).with_name("clock.c")
COMPILER = "cc"


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


def ahead(plan: Plan, host: Host) -> float:
    """By how many seconds it is."""
    return float(struct.unpack("d", _file(plan, host).read_bytes())[0])


def _library(plan: Plan) -> Path:
    return plan.directory / "clock.so"


def _file(plan: Plan, host: Host) -> Path:
    return plan.of(host) / "clock"
