"""One lab for the whole run: real etcd, Patroni, PostgreSQL and luigi-ha on three hosts. Tests leave it whole."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from luigi_ha.appliance.lab.lab import Lab
from luigi_ha.appliance.lab.plan import NEEDED, POSTGRES_BIN
from tests.support.labs import lab_up
from tests.support.patience import patient

if os.geteuid() != 0:
    pytest.skip("the lab makes namespaces: needs root", allow_module_level=True)
if missing := [program for program in (*NEEDED, str(POSTGRES_BIN / "postgres")) if shutil.which(program) is None]:
    pytest.skip(f"the lab needs {missing}: .ci/databases installs them", allow_module_level=True)


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A directory for a lab of the test's own; what is there at the end is ended."""
    with tempfile.TemporaryDirectory(prefix="lhv-lab-", dir="/var/tmp") as directory:
        place = Path(directory) / "lab"
        try:
            yield place
        finally:
            Lab(place).down()


@pytest.fixture(scope="package")
def _lab() -> Iterator[Lab]:
    with lab_up("lab") as lab:
        yield lab


@pytest.fixture
def lab(_lab: Lab) -> Lab:
    """Whole at the start: everybody plugged in, no cut, somebody leads."""
    for host in _lab.plan.hosts:
        if host.name not in _lab.inits():
            _lab.faults.plug(host.name)
    _lab.faults.heal()
    _lab.wait_until_ready(serve=False)
    deadline = time.monotonic() + patient(30)
    while _lab.leader() is None:
        assert time.monotonic() < deadline, "nobody leads"
        time.sleep(0.1)
    return _lab
