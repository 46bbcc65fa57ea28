"""One cluster for all of these tests: real etcd, Patroni, PostgreSQL and luigi-ha on three hosts in namespaces."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from luigi_ha.appliance.lab.errors import WrongUse
from luigi_ha.appliance.lab.lab import Lab
from luigi_ha.appliance.lab.plan import check_machine


@pytest.fixture(scope="package")
def lab() -> Iterator[Lab]:
    if os.geteuid() != 0:
        pytest.skip("the cluster's hosts are namespaces: needs root")
    with tempfile.TemporaryDirectory(prefix="lhv-cluster-", dir="/var/tmp") as directory:
        place = Path(directory) / "lab"
        try:
            check_machine(place)
        except WrongUse as error:
            pytest.skip(str(error))
        lab = Lab(place)
        try:
            lab.up(print)
            yield lab
        finally:
            lab.down()
