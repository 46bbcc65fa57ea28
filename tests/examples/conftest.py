"""A node for each file, and stock luigi to run pipelines with."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.node_process import NodeProcess, node_process
from tests.support.patience import patient

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
LUIGI_CFG = """
[core]
autoload_range=false
lock_pid_dir={directory}/lock
[worker]
wait_interval=0.1
wait_jitter=0
max_reschedules=10
[retcode]
already_running=10
missing_data=20
not_run=25
task_failed=30
scheduling_error=35
unhandled_exception=40
"""
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    with node_process(tmp_path_factory.mktemp("node")) as running:
        yield running


@pytest.fixture
def run_luigi(node: NodeProcess, tmp_path: Path) -> Run:
    """`run_luigi(folder, "module", "Task", ...)`: stock luigi, in an empty directory."""
    (tmp_path / "luigi.cfg").write_text(LUIGI_CFG.format(directory=tmp_path))

    def run(folder: str, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        command = [str(Path(sys.executable).with_name("luigi")), "--module", *words, "--scheduler-url", node.url]
        surroundings = {
            **os.environ, "PYTHONPATH": str(EXAMPLES / folder), "LUIGI_CONFIG_PATH": str(tmp_path / "luigi.cfg"),
            **environment,
        }  # fmt: skip
        done = subprocess.run(
            command, cwd=tmp_path, env=surroundings, capture_output=True, text=True, timeout=patient(200), check=False
        )
        assert done.returncode == 0, done.stderr
        return done

    return run
