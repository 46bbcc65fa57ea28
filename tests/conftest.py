"""A temporary directory of their own for all that the tests start: processes that they kill leave files behind."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

_MADE = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:  # has it from the process that started it
        return
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())  # pytest's own, of which it keeps three
    made = config.stash[_MADE] = Path(tempfile.mkdtemp(prefix="luigi-ha-tests-"))
    made.chmod(0o1777)  # some servers run as users of their own
    os.environ["TMPDIR"] = str(made)
    tempfile.tempdir = None


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    made = session.config.stash.get(_MADE, None)
    if made is not None and exitstatus == pytest.ExitCode.OK:  # what failed has its evidence there
        shutil.rmtree(made)
