"""`make run` shows what it promises, and cleans up after itself, also when it is interrupted."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.support.patience import patient

DEMO = Path(__file__).resolve().parents[2] / "examples" / "demo" / "demo.py"


def start(directory: Path) -> "subprocess.Popen[str]":
    environment = {**os.environ, "TMPDIR": str(directory), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, str(DEMO)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def left_behind(directory: Path) -> list[str]:
    """Processes that still mention the directory, and files in it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue  # it has ended
        if str(directory).encode() in words and int(process.name) != os.getpid():
            found.append(process.name)
    return found + [path.name for path in directory.iterdir()]


@pytest.fixture
def directory() -> Path:
    with tempfile.TemporaryDirectory(prefix="demo-test-") as name:
        yield Path(name)


def test_the_demonstration_passes_and_leaves_nothing_behind(directory: Path) -> None:
    process = start(directory)
    output, _ = process.communicate(timeout=patient(200))
    assert process.returncode == 0, output
    assert "kill -9" in output
    assert output.count(" ok ") == 6, output
    assert left_behind(directory) == []


def test_interrupted_it_leaves_nothing_behind(directory: Path) -> None:
    with start(directory) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "tasks done" in line:
                break
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert process.returncode == 130, rest
    deadline = time.monotonic() + patient(10)
    while left_behind(directory) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left_behind(directory) == []
