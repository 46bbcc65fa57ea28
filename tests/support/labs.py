"""A whole cluster of a test's own: real etcd, Patroni, PostgreSQL and luigi-ha on three hosts in namespaces."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from luigi_ha.appliance.lab.errors import WrongUse
from luigi_ha.appliance.lab.lab import READY_SECONDS, Lab
from luigi_ha.appliance.lab.plan import check_machine
from tests.support.patience import patient


@contextlib.contextmanager
def lab_up(name: str, **options: bool) -> Iterator[Lab]:
    """Bring one up (`options`: those of its plan), and leave nothing of it; skip where there can be none."""
    if os.geteuid() != 0:
        pytest.skip("the cluster's hosts are namespaces: needs root")
    with tempfile.TemporaryDirectory(prefix=f"lhv-{name}-", dir="/var/tmp") as directory:
        place = Path(directory) / "lab"
        try:
            check_machine(place)
        except WrongUse as error:
            pytest.skip(str(error))
        lab = Lab(place, ready_seconds=patient(READY_SECONDS))
        try:
            lab.up(print, **{"quick": False, **options})
            yield lab
        finally:
            lab.down()
