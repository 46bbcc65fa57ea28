"""A whole cluster of a test's own: real etcd, Patroni, PostgreSQL and luigi-ha on three hosts in namespaces."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from luigi_ha.appliance.lab.errors import WrongUse
from luigi_ha.appliance.lab.lab import READY_SECONDS, Lab
from luigi_ha.appliance.lab.plan import check_machine
from tests.support.patience import patient


@contextlib.contextmanager
def lab_up(name: str, **options: Any) -> Iterator[Lab]:
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
            lab.up(print, **{"quick": False, "environ": _defect(), **options})
            yield lab
        finally:
            lab.down()


def _defect() -> dict[str, str]:
    """What switches a defect on (tests/defects), if one is on here."""
    return {name: os.environ[name] for name in ("DEFECT", "PYTHONPATH")} if "DEFECT" in os.environ else {}
