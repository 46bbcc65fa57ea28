"""One cluster for all of these tests: real etcd, Patroni, PostgreSQL and luigi-ha on three hosts in namespaces."""

from collections.abc import Iterator

import pytest

from luigi_ha.appliance.lab.lab import Lab
from tests.support.labs import lab_up


@pytest.fixture(scope="package")
def lab() -> Iterator[Lab]:
    with lab_up("cluster", clocks=True) as lab:
        yield lab
