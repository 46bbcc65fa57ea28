"""A host's time of day: moved for programs that ask the C library, while they run; every other clock is left alone."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from luigi_ha.appliance.lab import clocks
from luigi_ha.appliance.lab.errors import WrongUse
from luigi_ha.appliance.lab.plan import Host, Plan

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler: .ci/databases installs it")
# Answers each line with what the clocks say.
SAYS = """
import datetime, json, sys, time
for _ in sys.stdin:
    said = [time.time(), time.time_ns() / 1e9, datetime.datetime.now().timestamp(), time.monotonic(),
            time.clock_gettime(time.CLOCK_BOOTTIME)]
    print(json.dumps(said), flush=True)
"""


class Program:
    """One that runs on a host with a clock of its own."""

    def __init__(self, plan: Plan, host: Host) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SAYS], env=clocks.environ(plan, host), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip

    def ahead(self) -> list[float]:
        """By how many seconds each of its clocks is ahead of the test's, within what asking takes."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        before = [time.time()] * 3 + [time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME)]
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return [said - own for said, own in zip(json.loads(self.process.stdout.readline()), before, strict=True)]


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    made = Plan(tmp_path, clocks=True)
    for host in made.nodes:
        made.of(host).mkdir()
    clocks.build(made)
    return made


@pytest.fixture
def program(plan: Plan) -> Iterator[Program]:
    made = Program(plan, plan.nodes[0])
    yield made
    made.process.kill()
    made.process.communicate()


@pytest.mark.parametrize("ahead", [0.0, 3600.0, -3600.0, 0.75, -0.75, 1e9])
def test_it_is_moved_while_the_program_runs_and_steady_clocks_are_not(
    plan: Plan, program: Program, ahead: float
) -> None:
    began = time.monotonic()
    assert all(each > -0.001 for each in program.ahead())
    clocks.put(plan, plan.nodes[0], ahead)
    assert clocks.ahead(plan, plan.nodes[0]) == ahead
    *days, monotonic, boot = program.ahead()
    took = time.monotonic() - began
    assert all(ahead - 0.001 < each < ahead + took for each in days), days
    assert -0.001 < monotonic < took
    assert -0.001 < boot < took


def test_each_host_has_its_own(plan: Plan, program: Program) -> None:
    clocks.put(plan, plan.nodes[1], 3600.0)
    assert abs(program.ahead()[0]) < 1800


def test_a_lab_without_clocks_says_so(tmp_path: Path) -> None:
    without = Plan(tmp_path)
    assert clocks.environ(without, without.nodes[0]) == {}
    with pytest.raises(WrongUse, match="have no clocks of their own"):
        clocks.put(without, without.nodes[0], 1.0)
